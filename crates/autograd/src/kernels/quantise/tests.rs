//! The format, code by code.

use super::*;

struct Given<'a>(&'a [f32], usize);
impl Rows for Given<'_> {
    fn get<'s>(&'s self, rows: Range<usize>, _: &'s mut [f32]) -> &'s [f32] {
        &self.0[rows.start * self.1..rows.end * self.1]
    }
}

/// Codes written out bit by bit, as the module's contract has them: code i of a block lies in the plane of width w at
/// byte i mod (B·w/8), w·⌊i/(B·w/8)⌋ bits up.
fn unpacked(quant: Quant, codes: &[u8]) -> Vec<u8> {
    let planes: &[(usize, usize)] = match quant.bits {
        3 => &[(2, 0), (1, 2)],
        5 => &[(4, 0), (1, 4)],
        6 => &[(4, 0), (2, 4)],
        bits => &[(bits, 0)],
    };
    let code = |block: &[u8], i: usize| {
        let (mut start, mut code) = (0, 0u32);
        for &(width, to) in planes {
            let group = quant.block * width / 8;
            let byte = u32::from(block[start + i % group]);
            code |= (byte >> (width * (i / group)) & ((1 << width) - 1)) << to;
            start += group;
        }
        code as u8
    };
    let blocks = codes.chunks_exact(quant.block * quant.bits / 8);
    blocks.flat_map(|block| (0..quant.block).map(move |i| code(block, i))).collect()
}

/// Widths from one number on, whatever a policy would do with so narrow a tensor.
#[test]
fn codes_lie_where_the_format_says_and_sums_count_each_number_once() {
    for bits in [2, 3, 4, 5, 6, 8] {
        for (block, range) in [(32, QuantRange::MinMax), (64, QuantRange::Symmetric), (128, QuantRange::MinMax)] {
            let quant = Quant { bits, block, range, rounding: Rounding::Nearest };
            // At 1e19 squares overflow.
            for (cols, size) in [(1, 1.0), (5, 1.0), (31, 1.0), (33, 1e19), (64, 1.0), (130, 1e19), (1500, 1.0)] {
                let rows = 35;
                let mut stream = Rng::new(&[cols as u64]);
                let x: Vec<f32> = (0..rows * cols).map(|_| size * stream.normal()).collect();
                let mut codes = vec![0; rows * quant.code_bytes(cols)];
                let mut scales = vec![bf16::ZERO; rows * quant.scales(cols)];
                let sums = quantise(quant, cols, &Given(&x, cols), stream, &mut codes, &mut scales);
                let (mut error, mut energy) = (0.0, 0.0);
                for (row, x) in x.chunks_exact(cols).enumerate() {
                    let codes = &codes[row * quant.code_bytes(cols)..(row + 1) * quant.code_bytes(cols)];
                    let scales = &scales[row * quant.scales(cols)..(row + 1) * quant.scales(cols)];
                    let mut wide = vec![0.0; cols];
                    widen_row(quant, codes, scales, &mut wide, false);
                    let mut added = x.to_vec();
                    widen_row(quant, codes, scales, &mut added, true);
                    let codes = unpacked(quant, codes);
                    for (i, (&x, &wide)) in x.iter().zip(&wide).enumerate() {
                        let scale = &scales[i / block * quant.scales_a_block()..];
                        let step = scale[quant.scales_a_block() - 1].to_f32();
                        let lo = match range {
                            QuantRange::MinMax => scale[0].to_f32(),
                            QuantRange::Symmetric => -(((1 << (bits - 1)) - 1) as f32) * step,
                        };
                        // With or without a fused multiply-add.
                        let want = f64::from(codes[i]) * f64::from(step) + f64::from(lo);
                        let tolerance = f64::from(f32::EPSILON) * f64::from(lo.abs() + 256.0 * step);
                        assert!((f64::from(wide) - want).abs() <= tolerance, "{quant} {cols} {row} {i}");
                        assert!((f64::from(added[i]) - f64::from(x + wide)).abs() <= 2.0 * tolerance, "{quant}");
                        error += (f64::from(x) - f64::from(wide)).powi(2);
                        energy += f64::from(x).powi(2);
                    }
                }
                // Sums of a few blocks are in f32; the difference of a number and its code is off by the rounding of both.
                let close = |a: f64, b: f64, slack: f64| (a - b).abs() <= block as f64 * 1.2e-7 * a + slack;
                let slack = energy * 1e-6 * (error / energy).sqrt() + energy * 1e-13;
                let found = sums.unwrap_or_default();
                assert!(close(energy, found.energy, 0.0), "{quant} {cols}: {energy} {found:?}");
                assert!(close(error, found.error, slack), "{quant} {cols}: {error} {found:?}");
            }
        }
    }
}

/// Codes do not depend on the processor.
#[test]
fn plain_code_makes_the_same_codes() {
    for (name, cols) in [("q4", 130), ("q5:sr", 576), ("q8:sym", 33), ("q3:b128", 300), ("q2", 64)] {
        let quant: Quant = name.parse().unwrap_or_else(|error| panic!("{error}"));
        let mut stream = Rng::new(&[7]);
        let x: Vec<f32> = (0..cols).map(|_| stream.normal()).collect();
        let made = [Arch::Scalar, Arch::new()].map(|arch| {
            let (mut codes, mut scales) = (vec![0; quant.code_bytes(cols)], vec![bf16::ZERO; quant.scales(cols)]);
            let mut scratch = vec![f32::NAN; cols.next_multiple_of(quant.block) / 4 * 5];
            let (codes_of, scales_of, scratch) = (&mut codes[..], &mut scales[..], &mut scratch[..]);
            let row = Encode { quant, x: &x, first: 11, stream, codes: codes_of, scales: scales_of, scratch };
            assert!(arch.dispatch(row).is_some());
            (codes, scales)
        });
        assert!(made[0] == made[1], "{name}");
    }
}
