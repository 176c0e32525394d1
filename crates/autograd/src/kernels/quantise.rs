//! Block quantisation: each block of a row becomes codes of 2, 3, 4, 5, 6 or 8 bits and one bf16 scale or two.
//!
//! A number x of a block is kept as the code c with x ≈ lo + c·step. Min/max: lo and step cover the block's least and
//! largest number (bf16 rounded outwards, so nothing is cut off). Symmetric: lo = −step·(2^(bits−1) − 1), and step alone is
//! kept. The last block of a row may be short; it takes the room of a whole one. Numbers beyond [`LARGEST`] are refused.
//!
//! Packing is by planes: a plane of width w holds w bits of every code, 8/w groups of codes beside each other, so both
//! directions are plain loops over bytes. 3, 5 and 6 bits are two planes: 2 and 1, 4 and 1, 4 and 2.

use std::ops::Range;
use std::sync::Mutex;

use half::bf16;
use loract_linalg::{Rng, with_buffer};
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
            let sums = with_buffer(TILE * cols, |buffer| {
                let numbers = source.get(range.clone(), buffer);
                let mut sums = Sums::default();
                let each = numbers.chunks_exact(cols).zip(codes.chunks_exact_mut(code_bytes));
                for ((row, (x, codes)), scales) in range.zip(each).zip(scales.chunks_exact_mut(scale_count)) {
                    let first = (row * cols) as u64;
                    let one = encode_row(quant, x, first, stream, codes, scales)?;
                    sums.error += one.error;
                    sums.energy += one.energy;
                }
                Some(sums)
            });
            parts.lock().unwrap_or_else(std::sync::PoisonError::into_inner)[at] = sums;
        });
    // In order, so that the sum does not depend on who finished first.
    let parts = parts.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    parts.into_iter().try_fold(Sums::default(), |sum, part| {
        part.map(|p| Sums { error: sum.error + p.error, energy: sum.energy + p.energy })
    })
}

vectorised! {
    /// Writes one row of `cols` numbers, or adds it to `out`.
    pub(crate) fn widen_row<'a>(quant: Quant, codes: &'a [u8], scales: &'a [bf16], out: &'a mut [f32], add: bool) -> () {
        for_size!(quant, decode_row(quant, codes, scales, out, add))
    }

    /// The codes of one row, whose first number is the `first` of the tensor.
    fn encode_row<'a>(
        quant: Quant,
        x: &'a [f32],
        first: u64,
        stream: Rng,
        codes: &'a mut [u8],
        scales: &'a mut [bf16],
    ) -> Option<Sums> {
        for_size!(quant, encode_blocks(quant, x, first, stream, codes, scales))
    }
}

#[inline(always)]
fn encode_blocks<const BITS: usize, const B: usize>(
    quant: Quant,
    x: &[f32],
    first: u64,
    stream: Rng,
    codes: &mut [u8],
    scales: &mut [bf16],
) -> Option<Sums> {
    let per_block = quant.scales_a_block();
    let mut sums = Sums::default();
    let blocks = x.chunks(B).zip(codes.chunks_exact_mut(B * BITS / 8)).zip(scales.chunks_exact_mut(per_block));
    for (at, ((x, codes), scale)) in blocks.enumerate() {
        let mut block = [x[x.len() - 1]; B];
        block[..x.len()].copy_from_slice(x);
        let mut shift = [0.0f32; B];
        if quant.rounding == Rounding::Stochastic {
            let start = first + (at * B) as u64;
            for (i, shift) in shift.iter_mut().enumerate() {
                // Uniform in [−1/2, 1/2): rounding to nearest then goes up with the fraction as probability.
                *shift = (stream.at(start + i as u64) >> 40) as f32 * (1.0 / 16_777_216.0) - 0.5;
            }
        }
        let (error, energy) = encode_block::<BITS, B>(quant.range, &block, &shift, codes, scale);
        // An infinity or NaN anywhere makes this sum NaN or infinite; so may squares. What pads a short block counts not.
        if x.len() < B || !energy.is_finite() {
            if !x.iter().all(|x| x.abs() <= LARGEST) {
                return None;
            }
            let own = block_sums::<BITS, B>(quant, x, codes, scale);
            sums.error += own.error;
            sums.energy += own.energy;
        } else {
            sums.error += f64::from(error);
            sums.energy += f64::from(energy);
        }
    }
    Some(sums)
}

/// [`Sums`] of one block from its codes.
#[cold]
fn block_sums<const BITS: usize, const B: usize>(quant: Quant, x: &[f32], codes: &[u8], scale: &[bf16]) -> Sums {
    let mut kept = [0.0f32; B];
    decode_row::<BITS, B>(quant, codes, scale, &mut kept[..x.len()], false);
    let square = |x: f64| x * x;
    let error = x.iter().zip(&kept).map(|(&x, &kept)| square(f64::from(x) - f64::from(kept))).sum();
    Sums { error, energy: x.iter().map(|&x| square(x.into())).sum() }
}

/// The code of x is the nearest integer to (x − lo)/step + shift. Returns Σ(x − x̃)² and Σx².
#[inline(always)]
fn encode_block<const BITS: usize, const B: usize>(
    range: QuantRange,
    x: &[f32; B],
    shift: &[f32; B],
    codes: &mut [u8],
    scale: &mut [bf16],
) -> (f32, f32) {
    const LANES: usize = 16;
    let (mut low, mut high, mut energy) = ([f32::INFINITY; LANES], [f32::NEG_INFINITY; LANES], [0.0f32; LANES]);
    for x in x.chunks_exact(LANES) {
        for i in 0..LANES {
            low[i] = if x[i] < low[i] { x[i] } else { low[i] };
            high[i] = if x[i] > high[i] { x[i] } else { high[i] };
            energy[i] += x[i] * x[i];
        }
    }
    let low = halving(low, |a, b| if b < a { b } else { a });
    let high = halving(high, |a, b| if b > a { b } else { a });
    let levels = ((1 << BITS) - 1) as f32;
    let (lo, step, levels) = match range {
        QuantRange::MinMax => {
            let lo = down(low);
            scale[0] = lo;
            scale[1] = up(high / levels - lo.to_f32() / levels);
            (lo.to_f32(), scale[1].to_f32(), levels)
        }
        QuantRange::Symmetric => {
            let half = ((1 << (BITS - 1)) - 1) as f32;
            let step = up(high.max(-low) / half);
            scale[0] = if step.to_f32() > NARROW { step } else { bf16::ZERO };
            let step = scale[0].to_f32();
            (-half * step, step, 2.0 * half)
        }
    };
    let inverse = if step > NARROW { 1.0 / step } else { 0.0 };
    // Adding 1.5·2²³ rounds to the nearest integer, which is then in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let (mut code, mut error) = ([0u8; B], [0.0f32; LANES]);
    for ((code, x), shift) in code.chunks_exact_mut(LANES).zip(x.chunks_exact(LANES)).zip(shift.chunks_exact(LANES)) {
        for i in 0..LANES {
            let t = (x[i] - lo) * inverse + shift[i];
            let t = if t < levels { t } else { levels };
            let rounded = if t > 0.0 { t } else { 0.0 } + ROUND;
            code[i] = rounded.to_bits() as u8;
            let off = x[i] - ((rounded - ROUND) * step + lo);
            error[i] += off * off;
        }
    }
    pack::<BITS, B>(&code, codes);
    (halving(error, |a, b| a + b), halving(energy, |a, b| a + b))
}

/// All lanes by `f`, two halves at a time: a chain of 4, not of 16.
#[inline(always)]
fn halving(mut lanes: [f32; 16], f: impl Fn(f32, f32) -> f32) -> f32 {
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            lanes[i] = f(lanes[i], lanes[i + half]);
        }
    }
    lanes[0]
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
