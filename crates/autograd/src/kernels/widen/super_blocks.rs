//! Blocks of 256 numbers with scales within scales (llama.cpp's "K-quants").
//!
//! With e the place of a number in its block, the line n = e / 32 and the place in it i = e mod 32:
//!
//! | type | bytes, in order | code of e | its scale |
//! |---|---|---|---|
//! | Q2_K | s and t 16, q 64, d, m | two bits of byte 32·(n/4) + i of q, shifted by 2·(n mod 4) | nibbles of byte e/16: s low, t high |
//! | Q3_K | high 32, q 64, s 12, d | the same, above it bit n of byte i of high | number e/16, see [`signed_six_bits`] |
//! | Q4_K | d, m, s and t 12, q 128 | nibble n mod 2 of byte 32·(n/2) + i of q | number n, see [`six_bits`] |
//! | Q5_K | d, m, s and t 12, high 32, q 128 | the same, above it bit n of byte i of high | the same |
//! | Q6_K | q 128, high 64, s 16, d | nibble n/2 mod 2 of byte 64·(n/4) + e mod 64 of q, above it two bits of high as in Q2_K | byte e/16 |
//!
//! A line is worked at once: it has one shift, and one scale or two. Products are taken in the order of ggml's
//! `dequantize_row_*`, and all but the last are exact, so the numbers are ggml's to the bit.

use super::{bytes, centred, half_at, scaled};

/// Numbers with one shift.
type Line = [f32; 32];

/// The lines of a block, numbered. A macro for the reason that `each!` is one.
macro_rules! lines {
    ($out:ident, |$n:ident, $line:ident| $one:block) => {
        for ($n, $line) in $out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            $one
        }
    };
}

#[inline(always)]
pub(super) fn q2_k(block: &[u8; 84], out: &mut [f32; 256]) {
    let (d, m) = (half_at(block, 80), half_at(block, 82));
    lines!(out, |n, line| {
        let codes = shifted(bytes(block, 16 + 32 * (n / 4)), 2 * (n % 4), 3);
        for (half, out) in line.as_chunks_mut().0.iter_mut().enumerate() {
            let both = block[2 * n + half];
            let (s, t) = (f32::from(both & 15), f32::from(both >> 4));
            scaled::<16>(d * s, -(m * t), bytes(&codes, 16 * half), out);
        }
    });
}

#[inline(always)]
pub(super) fn q3_k(block: &[u8; 110], out: &mut [f32; 256]) {
    let (d, scales) = (half_at(block, 108), signed_six_bits(bytes(block, 96)));
    lines!(out, |n, line| {
        let low = shifted(bytes(block, 32 + 32 * (n / 4)), 2 * (n % 4), 3);
        let codes = joined(low, shifted(bytes(block, 0), n, 1), 2);
        centred_halves([d * f32::from(scales[2 * n]), d * f32::from(scales[2 * n + 1])], 4, codes, line);
    });
}

#[inline(always)]
pub(super) fn q4_k(block: &[u8; 144], out: &mut [f32; 256]) {
    let (d, m, (scales, minima)) = (half_at(block, 0), half_at(block, 2), six_bits(bytes(block, 4)));
    // Two lines at once: shifts that are constants are faster here.
    for (i, pair) in out.as_chunks_mut::<64>().0.iter_mut().enumerate() {
        let q = bytes(block, 16 + 32 * i);
        for (half, line) in pair.as_chunks_mut().0.iter_mut().enumerate() {
            let (codes, n) = (shifted(q, 4 * half, 15), 2 * i + half);
            scaled(d * f32::from(scales[n]), -(m * f32::from(minima[n])), codes, line);
        }
    }
}

#[inline(always)]
pub(super) fn q5_k(block: &[u8; 176], out: &mut [f32; 256]) {
    let (d, m, (scales, minima)) = (half_at(block, 0), half_at(block, 2), six_bits(bytes(block, 4)));
    lines!(out, |n, line| {
        let low = shifted(bytes(block, 48 + 32 * (n / 2)), 4 * (n % 2), 15);
        let codes = joined(low, shifted(bytes(block, 16), n, 1), 4);
        scaled(d * f32::from(scales[n]), -(m * f32::from(minima[n])), codes, line);
    });
}

#[inline(always)]
pub(super) fn q6_k(block: &[u8; 210], out: &mut [f32; 256]) {
    let d = half_at(block, 208);
    lines!(out, |n, line| {
        let low = shifted(bytes(block, 64 * (n / 4) + 32 * (n % 2)), 4 * (n / 2 % 2), 15);
        let codes = joined(low, shifted(bytes(block, 128 + 32 * (n / 4)), 2 * (n % 4), 3), 4);
        let [first, second] = bytes(block, 192 + 2 * n);
        centred_halves([d * f32::from(first as i8), d * f32::from(second as i8)], 32, codes, line);
    });
}

/// A field of each byte.
#[inline(always)]
fn shifted(mut q: [u8; 32], shift: usize, mask: u8) -> [u8; 32] {
    for q in &mut q {
        *q = *q >> shift & mask;
    }
    q
}

/// Codes whose bits from `at` on are in `high`.
#[inline(always)]
fn joined(mut low: [u8; 32], high: [u8; 32], at: usize) -> [u8; 32] {
    for (low, high) in low.iter_mut().zip(high) {
        *low |= high << at;
    }
    low
}

/// d·(q − c), with a d for each half.
#[inline(always)]
fn centred_halves(d: [f32; 2], c: i8, codes: [u8; 32], line: &mut Line) {
    for (half, (out, d)) in line.as_chunks_mut().0.iter_mut().zip(d).enumerate() {
        centred::<16>(d, c, bytes(&codes, 16 * half), out);
    }
}

/// Eight scales and eight minima of 6 bits. Of those numbered 0–3 the scales are in the low bits of bytes 0–3, the minima
/// in those of bytes 4–7; of those numbered 4–7 the low nibbles are in bytes 8–11 (scales low, minima high), the upper two
/// bits in those of bytes 0–7.
#[inline(always)]
fn six_bits(packed: [u8; 12]) -> ([u8; 8], [u8; 8]) {
    let (mut scales, mut minima) = ([0; 8], [0; 8]);
    for i in 0..4 {
        let (s, t, both) = (packed[i], packed[4 + i], packed[8 + i]);
        (scales[i], minima[i]) = (s & 63, t & 63);
        (scales[4 + i], minima[4 + i]) = (both & 15 | s >> 6 << 4, both >> 4 | t >> 6 << 4);
    }
    (scales, minima)
}

/// Sixteen scales of 6 bits, less 32: low nibbles in bytes 0–7 (0–7 low, 8–15 high), the upper two bits of number j in byte
/// 8 + j mod 4, shifted by 2·(j/4).
#[inline(always)]
fn signed_six_bits(packed: [u8; 12]) -> [i8; 16] {
    let mut scales = [0; 16];
    for (j, scale) in scales.iter_mut().enumerate() {
        let (low, high) = (packed[j % 8] >> (4 * (j / 8)) & 15, packed[8 + j % 4] >> (2 * (j / 4)) & 3);
        *scale = (low | high << 4) as i8 - 32;
    }
    scales
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number of these bits of `packed`, the lowest first.
    fn field(packed: &[u8], bits: &[usize]) -> u8 {
        bits.iter().rev().fold(0, |value, &bit| value << 1 | packed[bit / 8] >> (bit % 8) & 1)
    }

    #[test]
    fn scales_of_six_bits_by_the_bit() {
        let packed: [u8; 12] = std::array::from_fn(|i| (i as u8).wrapping_mul(197).wrapping_add(91));
        let (scales, minima) = six_bits(packed);
        for i in 0..4 {
            let low = |byte: usize| (0..6).map(|bit| 8 * byte + bit).collect::<Vec<_>>();
            assert_eq!((scales[i], minima[i]), (field(&packed, &low(i)), field(&packed, &low(4 + i))));
            let split = |from: usize, top: usize| [from, from + 1, from + 2, from + 3, top, top + 1];
            assert_eq!(scales[4 + i], field(&packed, &split(8 * (8 + i), 8 * i + 6)));
            assert_eq!(minima[4 + i], field(&packed, &split(8 * (8 + i) + 4, 8 * (4 + i) + 6)));
        }
        let signed = signed_six_bits(packed);
        for (j, scale) in signed.into_iter().enumerate() {
            let (low, top) = (8 * (j % 8) + 4 * (j / 8), 8 * (8 + j % 4) + 2 * (j / 4));
            assert_eq!(scale + 32, field(&packed, &[low, low + 1, low + 2, low + 3, top, top + 1]) as i8);
        }
    }

    /// Codes are those that their table says, one at a time.
    #[test]
    fn codes_by_the_table() {
        let filled = |i: usize| (i as u8).wrapping_mul(151).wrapping_add(29);
        let one = 0x3c00u16.to_le_bytes();
        let nibble_of = |byte: u8, n: usize| byte >> (4 * (n % 2)) & 15;

        let mut block: [u8; 84] = std::array::from_fn(filled);
        (block[80], block[81], block[82], block[83]) = (one[0], one[1], 0, 0);
        let mut out = [0.0; 256];
        q2_k(&block, &mut out);
        for (e, x) in out.into_iter().enumerate() {
            let code = block[16 + 32 * (e / 128) + e % 32] >> (2 * (e / 32 % 4)) & 3;
            assert_eq!(x, f32::from(code * (block[e / 16] & 15)), "Q2_K {e}");
        }

        let mut block: [u8; 176] = std::array::from_fn(filled);
        (block[0], block[1], block[2], block[3]) = (one[0], one[1], 0, 0);
        let scales = six_bits(bytes(&block, 4)).0;
        q5_k(&block, &mut out);
        for (e, x) in out.into_iter().enumerate() {
            let code =
                nibble_of(block[48 + 32 * (e / 64) + e % 32], e / 32) | (block[16 + e % 32] >> (e / 32) & 1) << 4;
            assert_eq!(x, f32::from(code) * f32::from(scales[e / 32]), "Q5_K {e}");
        }

        let mut block: [u8; 210] = std::array::from_fn(filled);
        (block[208], block[209]) = (one[0], one[1]);
        q6_k(&block, &mut out);
        for (e, x) in out.into_iter().enumerate() {
            let low = nibble_of(block[64 * (e / 128) + e % 64], e / 64);
            let code = low | (block[128 + 32 * (e / 128) + e % 32] >> (2 * (e / 32 % 4)) & 3) << 4;
            assert_eq!(x, f32::from(code as i8 - 32) * f32::from(block[192 + e / 16] as i8), "Q6_K {e}");
        }
    }
}
