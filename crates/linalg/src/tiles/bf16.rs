//! Products of operands rounded to bf16, summed in f32, by the processor's own instruction (AVX512-BF16).
//!
//! Packed operands lie as ever; then two rows of a strip or panel become one of pairs, in place: numbers of row 2p and 2p + 1 are the
//! halves of a number of row p. What is read while multiplying is half as much, and an instruction does twice the work.

use bytemuck::cast_slice_mut;

/// The bits of `x` rounded to bf16, to nearest, ties to even; those of an f32, whose lower half is 0.
#[inline(always)]
fn rounded(x: u32) -> u32 {
    let nearest = x.wrapping_add(0x7fff + (x >> 16 & 1)) & 0xffff_0000;
    // A NaN stays one: its payload could be in the lower half, or overflow.
    if x & 0x7fff_ffff > 0x7f80_0000 { (x | 0x0040_0000) & 0xffff_0000 } else { nearest }
}

crate::simd::vectorised! {
    /// Every number rounded to bf16.
    pub(crate) fn round<'a>(numbers: &'a mut [f32]) -> () {
        let numbers: &mut [u32] = cast_slice_mut(numbers);
        numbers.iter_mut().for_each(|x| *x = rounded(*x));
    }

    /// Rows of `width` numbers as rows of pairs, rounded to bf16, in the first half of the rows; a last one alone is paired with
    /// zeros.
    pub(crate) fn pair<'a>(rows: &'a mut [f32], width: usize) -> () {
        let rows: &mut [u32] = cast_slice_mut(rows);
        let (pairs, last) = (rows.len() / (2 * width), rows.len() / width % 2);
        for at in 0..pairs {
            let (before, from) = rows.split_at_mut(2 * at * width);
            let (low, high) = from[..2 * width].split_at_mut(width);
            if at == 0 {
                low.iter_mut().zip(&*high).for_each(|(low, high)| *low = rounded(*low) >> 16 | rounded(*high));
            } else {
                let to = &mut before[at * width..(at + 1) * width];
                let halves = low.iter().zip(&*high);
                to.iter_mut().zip(halves).for_each(|(to, (low, high))| *to = rounded(*low) >> 16 | rounded(*high));
            }
        }
        if last == 1 {
            let (to, from) = (pairs * width, 2 * pairs * width);
            (0..width).for_each(|i| rows[to + i] = rounded(rows[from + i]) >> 16);
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::{__m512, __m512bh, _mm512_dpbf16_ps};
    use std::mem::transmute;

    use pulp::x86::V4;
    use pulp::{Simd, f32x16, u32x16};

    use crate::tiles::{Sweep, Tile};

    const M: usize = 12;
    const V: usize = 2;

    /// Proof of AVX-512 with its bf16 instructions.
    #[derive(Clone, Copy)]
    pub(crate) struct Bf16(V4);

    impl Bf16 {
        pub(crate) fn new() -> Option<Self> {
            V4::try_new().filter(|_| std::arch::is_x86_feature_detected!("avx512bf16")).map(Self)
        }

        /// Of the operands that [`Self::sweep`] takes.
        pub(crate) fn tile(self) -> Tile {
            Tile { rows: M, cols: 16 * V, lanes: 16 }
        }

        /// A sweep over operands of pairs; `depth` and `room` are those before [`super::pair`].
        pub(crate) fn sweep(self, sweep: Sweep<'_, '_>) {
            // SAFETY: the processor has what `on_pairs` is compiled for, as `self` proves.
            unsafe { on_pairs(self.0, sweep) }
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512bf16")]
    fn on_pairs(simd: V4, sweep: Sweep<'_, '_>) {
        let used = sweep.depth.div_ceil(2);
        sweep.with::<V4, M, V>(simd, used, |strip, panel| {
            let mut sums = [[simd.splat_f32s(0.0); V]; M];
            let panel = bytemuck::cast_slice::<f32, u32x16>(panel).as_chunks::<V>().0;
            for (strip, panel) in strip.iter().zip(panel) {
                for i in 0..M {
                    let x = simd.splat_u32s(strip[i].to_bits());
                    for v in 0..V {
                        sums[i][v] = add_products(sums[i][v], x, panel[v]);
                    }
                }
            }
            sums
        });
    }

    /// sum + the products of both halves.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bf16")]
    fn add_products(sum: f32x16, x: u32x16, y: u32x16) -> f32x16 {
        // SAFETY: 64 bytes each, of which any will do.
        let (sum, x, y) = unsafe {
            (transmute::<f32x16, __m512>(sum), transmute::<u32x16, __m512bh>(x), transmute::<u32x16, __m512bh>(y))
        };
        // SAFETY: as above.
        unsafe { transmute::<__m512, f32x16>(_mm512_dpbf16_ps(sum, x, y)) }
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::Bf16;

/// No processor of this kind has such instructions, or none that are used here.
#[cfg(not(target_arch = "x86_64"))]
#[derive(Clone, Copy)]
pub(crate) enum Bf16 {}

#[cfg(not(target_arch = "x86_64"))]
impl Bf16 {
    pub(crate) fn new() -> Option<Self> {
        None
    }

    pub(crate) fn tile(self) -> crate::tiles::Tile {
        match self {}
    }

    pub(crate) fn sweep(self, _: crate::tiles::Sweep<'_, '_>) {
        match self {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_rounded_as_the_half_crate_does() {
        let step = 0x10_001 * 7 + 0x1235;
        let mut numbers: Vec<f32> = (0..=u32::MAX).step_by(step).map(f32::from_bits).collect();
        numbers.extend([
            0.0,
            -0.0,
            1.0,
            f32::MAX,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::NAN,
            f32::from_bits(0x7f80_0001),
        ]);
        numbers.extend([0x3f80_8000, 0x3f81_8000, 0x3f80_8001, 0xffff_ffff].map(f32::from_bits));
        let want: Vec<u32> = numbers.iter().map(|&x| half::bf16::from_f32(x).to_f32().to_bits()).collect();
        round(&mut numbers);
        assert_eq!(numbers.iter().map(|x| x.to_bits()).collect::<Vec<_>>(), want);
    }

    #[test]
    fn pairs_are_two_rows_and_an_odd_one_has_zeros_beside_it() {
        let mut rows: Vec<f32> = (1..=15).map(|x| x as f32).collect();
        pair(&mut rows, 3);
        let halves = |low: f32, high: f32| u32::from(half::bf16::from_f32(low).to_bits()) | high.to_bits();
        let want = [halves(1.0, 4.0), halves(2.0, 5.0), halves(3.0, 6.0), halves(7.0, 10.0), halves(8.0, 11.0)];
        assert_eq!(rows[..5].iter().map(|x| x.to_bits()).collect::<Vec<_>>(), want);
        assert_eq!(
            rows[6..9].iter().map(|x| x.to_bits()).collect::<Vec<_>>(),
            [13.0, 14.0, 15.0].map(|x| halves(x, 0.0))
        );
    }
}
