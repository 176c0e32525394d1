//! Block quantisation: each block of a row becomes codes of 2, 3, 4, 5, 6 or 8 bits and one bf16 scale or two.
//!
//! A number x of a block is kept as the code c with x ≈ lo + c·step. Min/max: lo and step cover the block's least and
//! largest number (bf16 rounded outwards, so nothing is cut off). Symmetric: lo = −step·(2^(bits−1) − 1), and step alone is
//! kept. The last block of a row may be short; it takes the room of a whole one. Numbers beyond [`LARGEST`] are refused.
//!
//! Packing is by planes: a plane of width w holds w bits of every code, 8/w groups of codes beside each other, so both
//! directions are plain loops over bytes. 3, 5 and 6 bits are two planes: 2 and 1, 4 and 1, 4 and 2.

use std::ops::{Add, Range};
use std::sync::Mutex;

use bytemuck::cast_slice_mut;
use half::bf16;
use loract_linalg::{Rng, with_buffers};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::simd::vectorised;
use crate::saved::{Quant, QuantRange, Rounding};

/// Calls `f::<BITS, BLOCK>`.
macro_rules! for_size {
    ($quant:expr, $f:ident($($arg:expr),*)) => {
        match ($quant.bits, $quant.block) {
            (2, 32) => $f::<2, 32>($($arg),*),
            (2, 64) => $f::<2, 64>($($arg),*),
            (2, _) => $f::<2, 128>($($arg),*),
            (3, 32) => $f::<3, 32>($($arg),*),
            (3, 64) => $f::<3, 64>($($arg),*),
            (3, _) => $f::<3, 128>($($arg),*),
            (4, 32) => $f::<4, 32>($($arg),*),
            (4, 64) => $f::<4, 64>($($arg),*),
            (4, _) => $f::<4, 128>($($arg),*),
            (5, 32) => $f::<5, 32>($($arg),*),
            (5, 64) => $f::<5, 64>($($arg),*),
            (5, _) => $f::<5, 128>($($arg),*),
            (6, 32) => $f::<6, 32>($($arg),*),
            (6, 64) => $f::<6, 64>($($arg),*),
            (6, _) => $f::<6, 128>($($arg),*),
            (_, 32) => $f::<8, 32>($($arg),*),
            (_, 64) => $f::<8, 64>($($arg),*),
            (_, _) => $f::<8, 128>($($arg),*),
        }
    };
}

/// Rows that are quantised together.
const TILE: usize = 32;

/// Blocks whose squares are summed in f32: the error of a sum does not grow with the row.
const SHORT: usize = 16;

/// A block of smaller steps, whose inverse could overflow, is kept as its least number (min/max) or as zeros.
const NARROW: f32 = 1e-36;

/// Differences of larger numbers could overflow.
pub(crate) const LARGEST: f32 = f32::MAX / 4.0;

/// What became of the numbers: Σ(x − x̃)² and Σx².
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Sums {
    pub error: f64,
    pub energy: f64,
}

impl Add for Sums {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self { error: self.error + other.error, energy: self.energy + other.energy }
    }
}

/// Where the numbers come from.
pub(crate) trait Rows: Sync {
    /// Rows `rows`, in place or computed in `scratch`.
    fn get<'s>(&'s self, rows: Range<usize>, scratch: &'s mut [f32]) -> &'s [f32];
}

/// Quantises rows of `cols` numbers; `None` if one is not finite or beyond [`LARGEST`]. `codes` and `scales` hold [`Quant::code_bytes`] and
/// [`Quant::scales`] a row.
pub(crate) fn quantise(
    quant: Quant,
    cols: usize,
    source: &impl Rows,
    stream: Rng,
    codes: &mut [u8],
    scales: &mut [bf16],
) -> Option<Sums> {
    let (code_bytes, scale_count) = (quant.code_bytes(cols), quant.scales(cols));
    let rows = codes.len() / code_bytes.max(1);
    let parts = Mutex::new(vec![None; rows.div_ceil(TILE)]);
    codes
        .par_chunks_mut((TILE * code_bytes).max(1))
        .zip(scales.par_chunks_mut((TILE * scale_count).max(1)))
        .enumerate()
        .for_each(|(at, (codes, scales))| {
            let range = at * TILE..(at * TILE + TILE).min(rows);
            // Five for four: an f32 and a byte each.
            let lens = [TILE * cols, cols.next_multiple_of(quant.block) / 4 * 5];
            let sums = with_buffers(lens, |[buffer, scratch]| {
                let numbers = source.get(range.clone(), buffer);
                let mut sums = Sums::default();
                let each = numbers.chunks_exact(cols).zip(codes.chunks_exact_mut(code_bytes));
                for ((row, (x, codes)), scales) in range.zip(each).zip(scales.chunks_exact_mut(scale_count)) {
                    let first = (row * cols) as u64;
                    sums = sums + Arch::new().dispatch(Encode { quant, x, first, stream, codes, scales, scratch })?;
                }
                Some(sums)
            });
            parts.lock().unwrap_or_else(std::sync::PoisonError::into_inner)[at] = sums;
        });
    // In order, so that the sum does not depend on who finished first.
    let parts = parts.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    parts.into_iter().try_fold(Sums::default(), |sum, part| Some(sum + part?))
}

vectorised! {
    /// Writes one row of `cols` numbers, or adds it to `out`.
    pub(crate) fn widen_row<'a>(quant: Quant, codes: &'a [u8], scales: &'a [bf16], out: &'a mut [f32], add: bool) -> () {
        for_size!(quant, decode_row(quant, codes, scales, out, add))
    }
}

/// The codes of a row of numbers.
struct Encode<'a> {
    quant: Quant,
    x: &'a [f32],
    /// The number of the tensor that the row begins with.
    first: u64,
    stream: Rng,
    codes: &'a mut [u8],
    scales: &'a mut [bf16],
    /// 5/4 as many numbers as whole blocks of the row have.
    scratch: &'a mut [f32],
}

impl WithSimd for Encode<'_> {
    type Output = Option<Sums>;
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Option<Sums> {
        for_size!(self.quant, encode_blocks(simd, self))
    }
}

#[inline(always)]
fn encode_blocks<const BITS: usize, const B: usize>(simd: impl Simd, row: Encode<'_>) -> Option<Sums> {
    let Encode { quant, x, first, stream, codes, scales, scratch } = row;
    let (per_block, block_bytes) = (quant.scales_a_block(), B * BITS / 8);
    let (rounded, bytes) = scratch.split_at_mut(scratch.len() / 5 * 4);
    let (whole, short) = x.as_chunks::<B>();
    let zeros = [simd.splat_f32s(0.0); 2];
    let (mut lanes, mut sums) = (zeros, Sums::default());
    let outs = rounded.as_chunks_mut::<B>().0.iter_mut().zip(scales.chunks_exact_mut(per_block));
    for (at, (x, (out, scale))) in whole.iter().zip(outs).enumerate() {
        let shift = shift(quant.rounding, stream, first + (at * B) as u64);
        lanes = encode_block(simd, quant, x, shift.as_ref(), out, scale, lanes);
        if (at + 1) % SHORT == 0 || at + 1 == whole.len() {
            let [error, energy] = lanes.map(|lanes| f64::from(simd.reduce_sum_f32s(lanes)));
            (lanes, sums) = (zeros, sums + Sums { error, energy });
        }
    }
    if let Some(&last) = short.last() {
        // What fills up a short block does not count.
        let (mut block, at) = ([last; B], whole.len());
        block[..short.len()].copy_from_slice(short);
        let (out, scale) = (&mut rounded.as_chunks_mut().0[at], &mut scales[at * per_block..]);
        let shift = shift(quant.rounding, stream, first + (at * B) as u64);
        encode_block(simd, quant, &block, shift.as_ref(), out, scale, zeros);
    }
    // In loops of their own: together the compiler makes no vectors of bytes.
    let bytes: &mut [u8] = cast_slice_mut(bytes);
    bytes.iter_mut().zip(&*rounded).for_each(|(code, x)| *code = x.to_bits() as u8);
    let blocks = bytes.as_chunks::<B>().0.iter().zip(codes.chunks_exact_mut(block_bytes));
    blocks.for_each(|(code, out)| pack::<BITS, B>(code, out));
    // An infinity or NaN in whole blocks makes this sum NaN or infinite; so may squares.
    let (counted, sums) = if sums.energy.is_finite() { (whole.len(), sums) } else { (0, Sums::default()) };
    let rest = &x[counted * B..];
    if !rest.iter().all(|x| x.abs() <= LARGEST) {
        return None;
    }
    let codes = codes[counted * block_bytes..].chunks_exact(block_bytes);
    let scales = scales[counted * per_block..].chunks_exact(per_block);
    let each = rest.chunks(B).zip(codes).zip(scales);
    Some(each.fold(sums, |sums, ((x, codes), scale)| sums + block_sums::<BITS, B>(quant, x, codes, scale)))
}

/// What is added to the numbers of a block before they are rounded to nearest, uniform in [−1/2, 1/2): the result then goes up with
/// the fraction as probability.
#[inline(always)]
fn shift<const B: usize>(rounding: Rounding, stream: Rng, first: u64) -> Option<[f32; B]> {
    (rounding == Rounding::Stochastic).then(|| {
        let mut shift = [0.0; B];
        for (i, shift) in shift.iter_mut().enumerate() {
            *shift = (stream.at(first + i as u64) >> 40) as f32 * (1.0 / 16_777_216.0) - 0.5;
        }
        shift
    })
}

/// [`Sums`] of one block from its codes.
fn block_sums<const BITS: usize, const B: usize>(quant: Quant, x: &[f32], codes: &[u8], scale: &[bf16]) -> Sums {
    let mut kept = [0.0f32; B];
    decode_row::<BITS, B>(quant, codes, scale, &mut kept[..x.len()], false);
    let square = |x: f64| x * x;
    let error = x.iter().zip(&kept).map(|(&x, &kept)| square(f64::from(x) - f64::from(kept))).sum();
    Sums { error, energy: x.iter().map(|&x| square(x.into())).sum() }
}

/// The code of x is the nearest integer to (x − lo)/step + shift, which is in the low bits of `rounded`. Returns the sums with
/// (x − x̃)² and x² added.
#[inline(always)]
fn encode_block<const B: usize, S: Simd>(
    simd: S,
    quant: Quant,
    x: &[f32; B],
    shift: Option<&[f32; B]>,
    rounded: &mut [f32; B],
    scale: &mut [bf16],
    [mut error, mut energy]: [S::f32s; 2],
) -> [S::f32s; 2] {
    let x = S::as_simd_f32s(x).0;
    let (mut low, mut high) = (x[0], x[0]);
    for &x in x {
        low = simd.min_f32s(low, x);
        high = simd.max_f32s(high, x);
        energy = simd.mul_add_e_f32s(x, x, energy);
    }
    let (low, high) = (simd.reduce_min_f32s(low), simd.reduce_max_f32s(high));
    let levels = ((1 << quant.bits) - 1) as f32;
    let (lo, step, levels) = match quant.range {
        QuantRange::MinMax => {
            let lo = down(low);
            scale[0] = lo;
            scale[1] = up(high / levels - lo.to_f32() / levels);
            (lo.to_f32(), scale[1].to_f32(), levels)
        }
        QuantRange::Symmetric => {
            let half = ((1 << (quant.bits - 1)) - 1) as f32;
            let step = up(high.max(-low) / half);
            scale[0] = if step.to_f32() > NARROW { step } else { bf16::ZERO };
            let step = scale[0].to_f32();
            (-half * step, step, 2.0 * half)
        }
    };
    let inverse = if step > NARROW { 1.0 / step } else { 0.0 };
    // Adding 1.5·2²³ rounds to the nearest integer, which is then in the low bits.
    let round = simd.splat_f32s(12_582_912.0);
    let [lo, step, inverse, levels, zero] = [lo, step, inverse, levels, 0.0].map(|x| simd.splat_f32s(x));
    for (i, (rounded, &x)) in S::as_mut_simd_f32s(rounded).0.iter_mut().zip(x).enumerate() {
        let mut t = simd.mul_f32s(simd.sub_f32s(x, lo), inverse);
        if let Some(shift) = shift {
            t = simd.add_f32s(t, S::as_simd_f32s(shift).0[i]);
        }
        *rounded = simd.add_f32s(simd.max_f32s(simd.min_f32s(t, levels), zero), round);
        let kept = simd.add_f32s(simd.mul_f32s(simd.sub_f32s(*rounded, round), step), lo);
        let off = simd.sub_f32s(x, kept);
        error = simd.mul_add_e_f32s(off, off, error);
    }
    [error, energy]
}

#[inline(always)]
fn pack<const BITS: usize, const B: usize>(code: &[u8; B], out: &mut [u8]) {
    match BITS {
        8 => out[..B].copy_from_slice(code),
        6 => {
            let (four, two) = out.split_at_mut(B / 2);
            plane::<4, B>(code, 0, four);
            plane::<2, B>(code, 4, two);
        }
        5 => {
            let (four, one) = out.split_at_mut(B / 2);
            plane::<4, B>(code, 0, four);
            plane::<1, B>(code, 4, one);
        }
        4 => plane::<4, B>(code, 0, out),
        3 => {
            let (two, one) = out.split_at_mut(B / 4);
            plane::<2, B>(code, 0, two);
            plane::<1, B>(code, 2, one);
        }
        _ => plane::<2, B>(code, 0, out),
    }
}

/// The W bits of every code from bit `from` on.
#[inline(always)]
fn plane<const W: usize, const B: usize>(code: &[u8; B], from: usize, out: &mut [u8]) {
    let group = B * W / 8;
    let mask = (1u8 << W) - 1;
    let out = &mut out[..group];
    for (i, out) in out.iter_mut().enumerate() {
        let mut byte = 0;
        for j in 0..8 / W {
            byte |= ((code[j * group + i] >> from) & mask) << (W * j);
        }
        *out = byte;
    }
}

#[inline(always)]
fn unplane<const W: usize, const B: usize>(bytes: &[u8], to: usize, code: &mut [u8; B]) {
    let group = B * W / 8;
    let mask = (1u8 << W) - 1;
    let bytes = &bytes[..group];
    for j in 0..8 / W {
        for (i, &byte) in bytes.iter().enumerate() {
            code[j * group + i] |= ((byte >> (W * j)) & mask) << to;
        }
    }
}

#[inline(always)]
fn decode_row<const BITS: usize, const B: usize>(
    quant: Quant,
    codes: &[u8],
    scales: &[bf16],
    out: &mut [f32],
    add: bool,
) {
    let per_block = quant.scales_a_block();
    let blocks = out.chunks_mut(B).zip(codes.chunks_exact(B * BITS / 8)).zip(scales.chunks_exact(per_block));
    for ((out, codes), scale) in blocks {
        let (lo, step) = match quant.range {
            QuantRange::MinMax => (scale[0].to_f32(), scale[1].to_f32()),
            QuantRange::Symmetric => (-(((1 << (BITS - 1)) - 1) as f32) * scale[0].to_f32(), scale[0].to_f32()),
        };
        let mut code = [0u8; B];
        match BITS {
            8 => code.copy_from_slice(&codes[..B]),
            6 => {
                unplane::<4, B>(codes, 0, &mut code);
                unplane::<2, B>(&codes[B / 2..], 4, &mut code);
            }
            5 => {
                unplane::<4, B>(codes, 0, &mut code);
                unplane::<1, B>(&codes[B / 2..], 4, &mut code);
            }
            4 => unplane::<4, B>(codes, 0, &mut code),
            3 => {
                unplane::<2, B>(codes, 0, &mut code);
                unplane::<1, B>(&codes[B / 4..], 2, &mut code);
            }
            _ => unplane::<2, B>(codes, 0, &mut code),
        }
        if add {
            out.iter_mut().zip(&code).for_each(|(o, &c)| *o += f32::from(c) * step + lo);
        } else {
            out.iter_mut().zip(&code).for_each(|(o, &c)| *o = f32::from(c) * step + lo);
        }
    }
}

/// The largest bf16 not above x.
#[inline(always)]
fn down(x: f32) -> bf16 {
    toward(x, x < 0.0)
}

/// The least bf16 not below x (finite: a step that would round to infinity stays the largest number).
#[inline(always)]
fn up(x: f32) -> bf16 {
    toward(x, x > 0.0)
}

/// x cut to bf16, away from zero if `away`.
#[inline(always)]
fn toward(x: f32, away: bool) -> bf16 {
    let bits = x.to_bits();
    let cut = (bits >> 16) as u16;
    let grown = cut + u16::from(away && bits & 0xffff != 0);
    bf16::from_bits(if grown & 0x7f80 == 0x7f80 { cut } else { grown })
}

#[cfg(test)]
mod tests;
