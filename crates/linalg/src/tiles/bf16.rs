//! Products of numbers of bf16, summed in f32, by the processor's own instructions: of operands rounded to bf16, and of f32.
//!
//! A number of f32 is rounded to one of bf16, or split into [`EXACT`] of them, its parts: the nearest, the nearest to what that
//! leaves over, and the rest, whose sum is the number (Henry, Tang and Heinecke, "Leveraging the bfloat16 artificial intelligence
//! datatype for higher-precision computations", 2019). A number of up to 16 bits is two parts, one of bf16 a single one. Of the
//! products of the parts of x and w all are summed but low·mid, mid·low and low·low: what is left out is nothing if w is one
//! part, below 2⁻²³·|x·w| otherwise. That is three products, five if w is two parts, six if it is three.
//!
//! Below 10⁻³¹ low parts can be lost, and products and sums below 10⁻³⁸ are 0. Infinities, and numbers that round to one (from
//! 3.396·10³⁸ on), become NaN.
//!
//! Two neighbours in depth are a pair, the halves of a number of 32 bits. A depth d is filled up with zeros to a multiple of
//! [`BLOCK`]. For each block of the depth and each part of its numbers a panel is 16 rows of N pairs, a strip M rows of 16 pairs:
//! what AMX reads, which AVX-512 can read as well.

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx512;

use std::ops::Range;

use bytemuck::cast_slice_mut;

use crate::mat::MatRef;
use crate::product::F32_BITS;
use crate::tiles::{Sweep, Tile};

/// Numbers of the depth that belong together.
pub(crate) const BLOCK: usize = 32;
/// Numbers of 32 bits that they take.
const PAIRS: usize = BLOCK / 2;

/// Blocks of a row that are packed in turn: what becomes of each is as many bytes further on as let few of them stay in the nearest
/// cache until their neighbours of the next row come.
#[cfg(target_arch = "x86_64")]
const GROUP: usize = 4;

/// Rows that the processor is told of beforehand, while strips are packed.
#[cfg(target_arch = "x86_64")]
const AHEAD: usize = 4;

/// The bits of `x` rounded to bf16, to nearest, ties to even; those of an f32, whose lower half is 0.
#[inline(always)]
fn rounded(x: u32) -> u32 {
    let nearest = x.wrapping_add(0x7fff + (x >> 16 & 1)) & 0xffff_0000;
    // A NaN stays one: its payload could be in the lower half, or overflow.
    if x & 0x7fff_ffff > 0x7f80_0000 { (x | 0x0040_0000) & 0xffff_0000 } else { nearest }
}

/// Numbers of bf16 that one of f32 is the sum of.
pub(crate) const EXACT: usize = 3;

crate::simd::vectorised! {
    /// Every number rounded to bf16.
    pub(crate) fn round<'a>(numbers: &'a mut [f32]) -> () {
        let numbers: &mut [u32] = cast_slice_mut(numbers);
        numbers.iter_mut().for_each(|x| *x = rounded(*x));
    }

    /// The sums of the first `parts` parts of `numbers`, in which what they leave over stays.
    pub(crate) fn take<'a>(numbers: &'a mut [f32], parts: usize, out: &'a mut [f32]) -> () {
        out.fill(0.0);
        for _ in 0..parts {
            for (x, out) in numbers.iter_mut().zip(&mut *out) {
                let nearest = f32::from_bits(rounded(x.to_bits()));
                *out += nearest;
                *x -= nearest;
            }
        }
    }
}

/// The row of a panel, of `parts` parts, where a part of a pair of rows is.
pub(crate) fn row_of_pair(pair: usize, part: usize, parts: usize) -> usize {
    (pair / PAIRS * parts + part) * PAIRS + pair % PAIRS
}

/// Instructions that multiply pairs.
#[derive(Clone, Copy)]
#[cfg(target_arch = "x86_64")]
pub(crate) enum Bf16 {
    /// Of whole tiles, by AMX.
    Tiles(amx::Amx),
    /// The same of all parts of numbers of f32.
    Split(amx::Amx),
    /// Of vectors, by AVX512-BF16.
    Vectors(avx512::Vectors),
}

#[cfg(target_arch = "x86_64")]
impl Bf16 {
    /// What this processor has for operands that are rounded, the fastest first.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        amx::Amx::new().map(Bf16::Tiles).into_iter().chain(avx512::Vectors::new().map(Bf16::Vectors))
    }

    /// That of this processor which is faster than f32.
    pub(crate) fn new() -> Option<Self> {
        Self::all().find(|kind| match kind {
            Bf16::Tiles(_) | Bf16::Split(_) => true,
            Bf16::Vectors(vectors) => vectors.are_fast(),
        })
    }

    /// What is as exact as f32, and faster where one operand is in two parts or one.
    pub(crate) fn exact() -> Option<Self> {
        amx::Amx::new().map(Bf16::Split)
    }

    /// Of a number with so many significant bits: as many parts as have them all, unless it is rounded.
    pub(crate) fn parts(self, bits: usize) -> usize {
        match self {
            Bf16::Tiles(_) | Bf16::Vectors(_) => 1,
            Bf16::Split(_) => bits.div_ceil(8).clamp(1, EXACT),
        }
    }

    /// Of the operands that [`Self::sweep`] takes.
    pub(crate) fn tile(self) -> Tile {
        match self {
            Bf16::Tiles(_) | Bf16::Split(_) => amx::TILE,
            Bf16::Vectors(_) => avx512::TILE,
        }
    }

    fn vectors(self) -> avx512::Vectors {
        match self {
            Bf16::Tiles(tiles) | Bf16::Split(tiles) => tiles.vectors(),
            Bf16::Vectors(vectors) => vectors,
        }
    }

    /// Pairs of a row and the next one, which are as wide as all `panels` together, into row `at` of these; what they leave over
    /// stays.
    pub(crate) fn pair(self, row: &mut [f32], next: &mut [f32], at: usize, panels: &mut [&mut [f32]]) {
        self.vectors().pair(row, next, at, panels);
    }

    /// Pairs of a column's neighbours, block by block and part by part. The column is a whole number of blocks.
    pub(crate) fn pair_neighbours(self, column: &[f32], parts: usize, out: &mut [f32]) {
        self.vectors().pair_neighbours(column, parts, out);
    }

    /// A panel of columns that lie one after the other, each `depth` pairs, a multiple of 16.
    pub(crate) fn pack_columns(self, columns: &[f32], depth: usize, panel: &mut [f32]) {
        self.vectors().pack_columns(columns, depth, panel);
    }

    /// Columns `columns` of `lhs`, then zeros, in all their parts, as strips with room for `room` rows of pairs, from row `at` on.
    /// A last strip is filled up with the last row.
    pub(crate) fn pack_strips(self, lhs: MatRef<'_>, columns: Range<usize>, at: usize, room: usize, out: &mut [f32]) {
        let (strip, parts) = (self.tile().rows, self.parts(F32_BITS));
        for (s, out) in out.chunks_exact_mut(strip * room).enumerate() {
            for (group, start) in columns.clone().step_by(GROUP * BLOCK).enumerate() {
                let columns = start..(start + GROUP * BLOCK).min(columns.end);
                let at = at + group * GROUP * PAIRS * parts;
                for i in 0..strip {
                    let [row, ahead] = [0, AHEAD].map(|rows| (s * strip + i + rows).min(lhs.rows() - 1));
                    if let Some(ahead) = lhs.row(ahead) {
                        ahead[columns.clone()].iter().step_by(16).for_each(crate::tiles::prefetch);
                    }
                    let out = &mut out[at * strip + i * PAIRS..];
                    self.vectors().pack_row(lhs, row, columns.clone(), parts, strip * PAIRS, out);
                }
            }
        }
    }

    /// A sweep over operands of pairs, whose `depth` and `room` count rows of pairs, of all parts.
    pub(crate) fn sweep(self, sweep: Sweep<'_, '_>) {
        match self {
            Bf16::Tiles(tiles) | Bf16::Split(tiles) => tiles.sweep(sweep),
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

    pub(crate) fn exact() -> Option<Self> {
        None
    }

    pub(crate) fn parts(self, _: usize) -> usize {
        match self {}
    }

    pub(crate) fn tile(self) -> Tile {
        match self {}
    }

    pub(crate) fn pair(self, _: &mut [f32], _: &mut [f32], _: usize, _: &mut [&mut [f32]]) {
        match self {}
    }

    pub(crate) fn pair_neighbours(self, _: &[f32], _: usize, _: &mut [f32]) {
        match self {}
    }

    pub(crate) fn pack_columns(self, _: &[f32], _: usize, _: &mut [f32]) {
        match self {}
    }

    pub(crate) fn pack_strips(self, _: MatRef<'_>, _: Range<usize>, _: usize, _: usize, _: &mut [f32]) {
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

    /// Part `part` of `x`.
    fn part_of(mut x: f32, part: usize) -> half::bf16 {
        for _ in 0..part {
            x -= half::bf16::from_f32(x).to_f32();
        }
        half::bf16::from_f32(x)
    }

    fn pair_of(low: f32, high: f32, part: usize) -> u32 {
        u32::from(part_of(low, part).to_bits()) | u32::from(part_of(high, part).to_bits()) << 16
    }

    #[test]
    fn a_number_is_the_sum_of_its_parts() {
        let all = (0..=u32::MAX).step_by(0x10_001 * 3 + 0x1234).map(f32::from_bits);
        let numbers: Vec<f32> = all.filter(|x| (1e-30..3.39e38).contains(&x.abs())).collect();
        assert!(numbers.len() > 10_000, "{}", numbers.len());
        for parts in [1, 2, EXACT] {
            let (mut rest, mut out) = (numbers.clone(), vec![0.0; numbers.len()]);
            let mut sums = vec![0.0; numbers.len()];
            for term in 0..EXACT.div_ceil(parts) {
                take(&mut rest, parts, &mut out);
                sums.iter_mut().zip(&out).for_each(|(sum, x)| *sum += f64::from(*x));
                for (x, &of) in out.iter().zip(&numbers) {
                    let want: f32 = (term * parts..(term + 1) * parts).map(|part| part_of(of, part).to_f32()).sum();
                    assert_eq!(*x, want, "term {term} of {of} in {parts} parts");
                }
            }
            assert!(sums.iter().zip(&numbers).all(|(&sum, &x)| sum == f64::from(x)), "in {parts} parts");
        }
    }

    #[test]
    fn pairs_are_of_two_rows_or_of_neighbours() {
        for kind in Bf16::all().chain(Bf16::exact()) {
            let row: Vec<f32> = (0..128).map(|x| x as f32 * 0.37).collect();
            let next: Vec<f32> = (0..128).map(|x| x as f32 * -1.23).collect();
            let (mut low, mut high, mut panels) = (row.clone(), next.clone(), vec![[7.0; 64]; 4]);
            for part in 0..EXACT {
                let mut outs: Vec<&mut [f32]> = panels.iter_mut().map(<[f32; 64]>::as_mut_slice).collect();
                kind.pair(&mut low, &mut high, 1, &mut outs);
                let got = panels.iter().flat_map(|panel| &panel[32..]).map(|x| x.to_bits());
                assert!(got.eq(row.iter().zip(&next).map(|(&x, &y)| pair_of(x, y, part))), "part {part}");
                assert!(panels.iter().all(|panel| panel[..32] == [7.0; 32]));
            }
            for parts in 1..=EXACT {
                let mut out = vec![0.0; 64 * parts];
                kind.pair_neighbours(&row, parts, &mut out);
                for (at, word) in out.iter().enumerate() {
                    let (block, part, p) = (at / PAIRS / parts, at / PAIRS % parts, at % PAIRS);
                    let first = block * BLOCK + 2 * p;
                    assert_eq!(word.to_bits(), pair_of(row[first], row[first + 1], part), "at {at} in {parts} parts");
                    assert_eq!(row_of_pair(first / 2, part, parts), at);
                }
            }
        }
    }

    #[test]
    fn strips_are_blocks_of_the_depth_filled_up_with_zeros() {
        let a = crate::Mat::from_fn(37, 50, |i, j| (i * 100 + j) as f32 * 0.3);
        let turned = crate::Mat::from_fn(50, 37, |i, j| a[(j, i)]);
        for kind in Bf16::all().chain(Bf16::exact()) {
            let (rows, parts) = (kind.tile().rows, kind.parts(F32_BITS));
            for lhs in [a.view(), turned.view().t()] {
                // Strips of which the last is not whole, for blocks 1 and 2 of three.
                let room = 48 * parts;
                let mut out = vec![7.0; 37usize.div_ceil(rows) * rows * room];
                kind.pack_strips(lhs, 3..43, 16 * parts, room, &mut out);
                for (at, word) in out.iter().enumerate() {
                    let (strip, at) = (at / (rows * room), at % (rows * room));
                    let (block, part) = (at / PAIRS / rows / parts, at / PAIRS / rows % parts);
                    let (i, p) = (at / PAIRS % rows, at % PAIRS);
                    let number = |j: usize| if j < 40 { a[((strip * rows + i).min(36), 3 + j)] } else { 0.0 };
                    let want = if block == 0 {
                        7f32.to_bits()
                    } else {
                        pair_of(number((block - 1) * 32 + 2 * p), number((block - 1) * 32 + 2 * p + 1), part)
                    };
                    assert_eq!(word.to_bits(), want, "at {at} of strip {strip} in {parts} parts");
                }
            }
        }
    }
}
