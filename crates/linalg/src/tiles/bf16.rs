//! Products of operands rounded to bf16, summed in f32, by the processor's own instructions.
//!
//! Two neighbours in depth are a pair, the halves of a number of 32 bits. A depth d is filled up with zeros to a multiple of
//! [`BLOCK`]. A panel is d/2 rows of N pairs; a strip is, for each block of the depth, M rows of 16 pairs: what AMX reads, which
//! AVX-512 can read as well.

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx512;

use bytemuck::cast_slice_mut;

use crate::mat::MatRef;
use crate::tiles::{Sweep, Tile};

/// Numbers of the depth that belong together.
pub(crate) const BLOCK: usize = 32;
/// Numbers of 32 bits that they take.
const PAIRS: usize = BLOCK / 2;

/// The bits of `x` rounded to bf16, to nearest, ties to even; those of an f32, whose lower half is 0.
#[inline(always)]
fn rounded(x: u32) -> u32 {
    let nearest = x.wrapping_add(0x7fff + (x >> 16 & 1)) & 0xffff_0000;
    // A NaN stays one: its payload could be in the lower half, or overflow.
    if x & 0x7fff_ffff > 0x7f80_0000 { (x | 0x0040_0000) & 0xffff_0000 } else { nearest }
}

/// A block as pairs.
#[inline(always)]
fn halve(numbers: &[f32; BLOCK], out: &mut [f32]) {
    let out: &mut [u16] = cast_slice_mut(out);
    out.iter_mut().zip(numbers).for_each(|(out, x)| *out = (rounded(x.to_bits()) >> 16) as u16);
}

crate::simd::vectorised! {
    /// Every number rounded to bf16.
    pub(crate) fn round<'a>(numbers: &'a mut [f32]) -> () {
        let numbers: &mut [u32] = cast_slice_mut(numbers);
        numbers.iter_mut().for_each(|x| *x = rounded(*x));
    }

    /// Pairs of a row of a panel and the next one, in the former's place.
    pub(crate) fn pair<'a>(row: &'a mut [f32], next: &'a [f32]) -> () {
        row.iter_mut().zip(next).for_each(|(x, y)| *x = f32::from_bits(rounded(x.to_bits()) >> 16 | rounded(y.to_bits())));
    }

    /// Pairs of a row's neighbours, in its first half. The row is a whole number of blocks.
    pub(crate) fn pair_neighbours<'a>(row: &'a mut [f32]) -> () {
        let mut numbers = [0.0; BLOCK];
        for at in 0..row.len() / BLOCK {
            numbers.copy_from_slice(&row[at * BLOCK..(at + 1) * BLOCK]);
            halve(&numbers, &mut row[at * PAIRS..(at + 1) * PAIRS]);
        }
    }

    /// Rows of `lhs` as strips of `strip` rows with room for `room` rows of pairs, from the pair `at` on: columns
    /// `first..first + depth`, then zeros. A last strip is filled up with the last row.
    pub(crate) fn pack_strips<'a>(
        lhs: MatRef<'a>,
        first: usize,
        depth: usize,
        strip: usize,
        at: usize,
        room: usize,
        out: &'a mut [f32],
    ) -> () {
        let last = lhs.rows() - 1;
        for (s, out) in out.chunks_exact_mut(strip * room).enumerate() {
            for i in 0..strip {
                let row = (s * strip + i).min(last);
                let to = |block: usize| (at + block * PAIRS) * strip + i * PAIRS;
                let whole = if lhs.col_stride() == 1 { depth / BLOCK } else { 0 };
                if whole > 0 {
                    let numbers = &lhs.data()[row * lhs.row_stride() + first..][..whole * BLOCK];
                    for (block, numbers) in numbers.as_chunks().0.iter().enumerate() {
                        halve(numbers, &mut out[to(block)..][..PAIRS]);
                    }
                }
                for block in whole..depth.div_ceil(BLOCK) {
                    let mut numbers = [0.0; BLOCK];
                    let columns = block * BLOCK..depth.min((block + 1) * BLOCK);
                    numbers.iter_mut().zip(columns).for_each(|(x, j)| *x = lhs.get(row, first + j));
                    halve(&numbers, &mut out[to(block)..][..PAIRS]);
                }
            }
        }
    }
}

/// Instructions that multiply pairs.
#[derive(Clone, Copy)]
#[cfg(target_arch = "x86_64")]
pub(crate) enum Bf16 {
    /// Of whole tiles, by AMX.
    Tiles(amx::Amx),
    /// Of vectors, by AVX512-BF16.
    Vectors(avx512::Vectors),
}

#[cfg(target_arch = "x86_64")]
impl Bf16 {
    /// What this processor has, the fastest first.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        amx::Amx::new().map(Bf16::Tiles).into_iter().chain(avx512::Vectors::new().map(Bf16::Vectors))
    }

    /// That of this processor which is faster than f32.
    pub(crate) fn new() -> Option<Self> {
        Self::all().find(|kind| match kind {
            Bf16::Tiles(_) => true,
            Bf16::Vectors(vectors) => vectors.are_fast(),
        })
    }

    /// Of the operands that [`Self::sweep`] takes.
    pub(crate) fn tile(self) -> Tile {
        match self {
            Bf16::Tiles(_) => amx::TILE,
            Bf16::Vectors(_) => avx512::TILE,
        }
    }

    /// A panel of columns that lie one after the other, each `stride` pairs, of which `depth`, a multiple of 16, are wanted.
    pub(crate) fn pack_columns(self, columns: &[f32], stride: usize, depth: usize, panel: &mut [f32]) {
        let simd = match self {
            Bf16::Tiles(tiles) => tiles.simd(),
            Bf16::Vectors(vectors) => vectors.simd(),
        };
        avx512::scatter_columns(simd, columns, stride, depth, panel);
    }

    /// A sweep over operands of pairs, whose `depth` and `room` count rows of pairs.
    pub(crate) fn sweep(self, sweep: Sweep<'_, '_>) {
        match self {
            Bf16::Tiles(tiles) => tiles.sweep(sweep),
            Bf16::Vectors(vectors) => vectors.sweep(sweep),
        }
    }
}

/// No processor of this kind has such instructions, or none that are used here.
#[cfg(not(target_arch = "x86_64"))]
#[derive(Clone, Copy)]
pub(crate) enum Bf16 {}

#[cfg(not(target_arch = "x86_64"))]
impl Bf16 {
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        std::iter::empty()
    }

    pub(crate) fn new() -> Option<Self> {
        Self::all().next()
    }

    pub(crate) fn tile(self) -> Tile {
        match self {}
    }

    pub(crate) fn pack_columns(self, _: &[f32], _: usize, _: usize, _: &mut [f32]) {
        match self {}
    }

    pub(crate) fn sweep(self, _: Sweep<'_, '_>) {
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

    fn pair_of(low: f32, high: f32) -> u32 {
        u32::from(half::bf16::from_f32(low).to_bits()) | u32::from(half::bf16::from_f32(high).to_bits()) << 16
    }

    #[test]
    fn pairs_are_of_two_rows_or_of_neighbours() {
        let mut row: Vec<f32> = (0..64).map(|x| x as f32 * 0.37).collect();
        let next: Vec<f32> = (0..64).map(|x| x as f32 * -1.23).collect();
        let of_rows: Vec<u32> = row.iter().zip(&next).map(|(&x, &y)| pair_of(x, y)).collect();
        let of_neighbours: Vec<u32> = row.chunks(2).map(|x| pair_of(x[0], x[1])).collect();
        let mut neighbours = row.clone();
        pair(&mut row, &next);
        assert_eq!(row.iter().map(|x| x.to_bits()).collect::<Vec<_>>(), of_rows);
        pair_neighbours(&mut neighbours);
        assert_eq!(neighbours[..32].iter().map(|x| x.to_bits()).collect::<Vec<_>>(), of_neighbours);
    }

    #[test]
    fn strips_are_blocks_of_the_depth_filled_up_with_zeros() {
        let a = crate::Mat::from_fn(5, 50, |i, j| (i * 100 + j) as f32 * 0.3);
        for lhs in [a.view(), crate::Mat::from_fn(50, 5, |i, j| a[(j, i)]).view().t()] {
            // Two strips of 4 rows, for blocks 1 and 2 of three.
            let mut out = vec![7.0; 2 * 4 * 48];
            pack_strips(lhs, 3, 40, 4, 16, 48, &mut out);
            for (at, word) in out.iter().enumerate() {
                let (strip, block, i, p) = (at / 192, at % 192 / 64, at % 64 / 16, at % 16);
                let number = |j: usize| if j < 40 { a[((strip * 4 + i).min(4), 3 + j)] } else { 0.0 };
                let want = if block == 0 {
                    7f32.to_bits()
                } else {
                    pair_of(number((block - 1) * 32 + 2 * p), number((block - 1) * 32 + 2 * p + 1))
                };
                assert_eq!(word.to_bits(), want, "at {at}");
            }
        }
    }
}
