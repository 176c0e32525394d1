//! Loops over numbers that look at one element at a time.

use std::ops::Range;

use half::bf16;
use rayon::prelude::*;

use super::simd::{self, vectorised};

/// Numbers a task works on: enough to be worth a task, few enough for the first-level cache.
pub(crate) const GRAIN: usize = 1 << 13;

/// x += y.
pub(crate) fn add(x: &mut [f32], y: &[f32]) {
    add_scaled(x, y, 1.0);
}

/// x += scale·y.
pub(crate) fn add_scaled(x: &mut [f32], y: &[f32], scale: f32) {
    x.par_chunks_mut(GRAIN).zip(y.par_chunks(GRAIN)).for_each(|(x, y)| {
        add_scaled_here(x, y, scale);
    });
}

/// x *= factor.
pub(crate) fn scale(x: &mut [f32], factor: f32) {
    x.par_chunks_mut(GRAIN).for_each(|x| scale_here(x, factor));
}

/// x = factor·y.
pub(crate) fn scaled_copy(x: &mut [f32], y: &[f32], factor: f32) {
    x.par_chunks_mut(GRAIN).zip(y.par_chunks(GRAIN)).for_each(|(x, y)| {
        scaled_copy_here(x, y, factor);
    });
}

/// Matrices of as many rows (numbers and columns of each), side by side in `out`.
pub(crate) fn join_columns(parts: &[(&[f32], usize)], out: &mut [f32]) {
    let width = parts.iter().map(|(_, cols)| cols).sum::<usize>().max(1);
    let tile = rows_per_task(width);
    out.par_chunks_mut(tile * width).enumerate().for_each(|(at, out)| {
        for (row, mut out) in out.chunks_exact_mut(width).enumerate() {
            let row = at * tile + row;
            for (numbers, cols) in parts {
                let (part, rest) = out.split_at_mut(*cols);
                part.copy_from_slice(&numbers[row * cols..(row + 1) * cols]);
                out = rest;
            }
        }
    });
}

/// The columns `range` of x, of `cols` columns in all.
pub(crate) fn copy_columns(x: &[f32], cols: usize, range: Range<usize>, out: &mut [f32]) {
    let tile = rows_per_task(cols);
    out.par_chunks_mut(tile * range.len()).zip(x.par_chunks(tile * cols)).for_each(|(out, x)| {
        for (out, x) in out.chunks_exact_mut(range.len()).zip(x.chunks_exact(cols)) {
            out.copy_from_slice(&x[range.clone()]);
        }
    });
}

/// y added to the columns `range` of x, of `cols` columns in all.
pub(crate) fn add_to_columns(x: &mut [f32], cols: usize, range: Range<usize>, y: &[f32]) {
    let tile = rows_per_task(cols);
    x.par_chunks_mut(tile * cols).zip(y.par_chunks(tile * range.len())).for_each(|(x, y)| {
        for (x, y) in x.chunks_exact_mut(cols).zip(y.chunks_exact(range.len())) {
            add_scaled_here(&mut x[range.clone()], y, 1.0);
        }
    });
}

/// Rows of x, each multiplied by `scale` element by element.
pub(crate) fn scale_columns(x: &mut [f32], scale: &[f32]) {
    x.par_chunks_mut(rows_per_task(scale.len()) * scale.len().max(1)).for_each(|rows| scale_rows_here(rows, scale));
}

/// Rows of x, each multiplied by `scale` and added to `shift` element by element; one may be a part of a row, used again
/// and again.
pub(crate) fn map_columns(x: &mut [f32], scale: Option<&[f32]>, shift: Option<&[f32]>) {
    let row = scale.map_or(0, <[f32]>::len).max(shift.map_or(0, <[f32]>::len)).max(1);
    x.par_chunks_mut(rows_per_task(row) * row).for_each(|rows| map_rows_here(rows, scale, shift));
}

/// The same, by the calling thread.
pub(crate) fn map_rows_here(rows: &mut [f32], scale: Option<&[f32]>, shift: Option<&[f32]>) {
    if let Some(scale) = scale {
        scale_rows_here(rows, scale);
    }
    if let Some(shift) = shift {
        add_to_rows_here(rows, shift);
    }
}

/// x += column·row, for x of as many rows and columns.
pub(crate) fn add_outer(x: &mut [f32], column: &[f32], row: &[f32]) {
    x.par_chunks_mut(row.len()).zip(column).for_each(|(x, &factor)| add_scaled_here(x, row, factor));
}

/// Rows of `cols` numbers, packed at the start of x, each get a one behind them and fill x.
pub(crate) fn append_ones(x: &mut [f32], cols: usize) {
    for row in (0..x.len() / (cols + 1)).rev() {
        x.copy_within(row * cols..(row + 1) * cols, row * (cols + 1));
        x[row * (cols + 1) + cols] = 1.0;
    }
}

/// out_j = ⟨x_j, y_j⟩ for rows of `cols` numbers.
pub(crate) fn row_dots(x: &[f32], y: &[f32], cols: usize, out: &mut [f32]) {
    let tile = rows_per_task(cols);
    out.par_chunks_mut(tile).zip(x.par_chunks(tile * cols)).zip(y.par_chunks(tile * cols)).for_each(|((out, x), y)| {
        row_dots_here(x, y, cols, out);
    });
}

/// `bias` added to each row of x.
pub(crate) fn add_bias(x: &mut [f32], bias: &[f32]) {
    x.par_chunks_mut(rows_per_task(bias.len()) * bias.len()).for_each(|rows| add_to_rows_here(rows, bias));
}

vectorised! {
    /// [`row_dots`], by the calling thread.
    pub(crate) fn row_dots_here<'a>(x: &'a [f32], y: &'a [f32], cols: usize, out: &'a mut [f32]) -> () {
        for ((out, x), y) in out.iter_mut().zip(x.chunks_exact(cols)).zip(y.chunks_exact(cols)) {
            *out = simd::sum2(x, y, |x, y| x * y);
        }
    }

    /// [`add_scaled`], by the calling thread.
    pub(crate) fn add_scaled_here<'a>(x: &'a mut [f32], y: &'a [f32], scale: f32) -> () {
        x.iter_mut().zip(y).for_each(|(x, &y)| *x += scale * y);
    }

    /// [`scale`], by the calling thread.
    fn scale_here<'a>(x: &'a mut [f32], factor: f32) -> () {
        x.iter_mut().for_each(|x| *x *= factor);
    }

    /// [`scaled_copy`], by the calling thread.
    fn scaled_copy_here<'a>(x: &'a mut [f32], y: &'a [f32], factor: f32) -> () {
        x.iter_mut().zip(y).for_each(|(x, &y)| *x = factor * y);
    }

    /// Rows of x, each multiplied by `scale`, by the calling thread.
    pub(crate) fn scale_rows_here<'a>(x: &'a mut [f32], scale: &'a [f32]) -> () {
        for row in x.chunks_exact_mut(scale.len()) {
            row.iter_mut().zip(scale).for_each(|(x, &s)| *x *= s);
        }
    }

    /// `row` added to each row of x, by the calling thread.
    pub(crate) fn add_to_rows_here<'a>(x: &'a mut [f32], row: &'a [f32]) -> () {
        for x in x.chunks_exact_mut(row.len()) {
            x.iter_mut().zip(row).for_each(|(x, &y)| *x += y);
        }
    }

    /// [`round_to_bf16`], by the calling thread.
    fn round_to_bf16_here<'a>(x: &'a [f32], out: &'a mut [bf16]) -> () {
        out.iter_mut().zip(x).for_each(|(o, &x)| *o = bf16::from_f32(x));
    }

    /// bf16 numbers as f32, by the calling thread.
    pub(crate) fn widen_bf16<'a>(x: &'a [bf16], out: &'a mut [f32]) -> () {
        out.iter_mut().zip(x).for_each(|(o, x)| *o = x.to_f32());
    }

    /// Whether no number is NaN or infinite: 0·x is 0, or NaN.
    fn all_finite_here<'a>(x: &'a [f32]) -> bool {
        simd::sum(x, |x| 0.0 * x) == 0.0
    }

    /// Σx², in f64.
    fn squared_norm_here<'a>(x: &'a [f32]) -> f64 {
        let mut lanes = [0.0f64; 8];
        let chunks = x.chunks_exact(8);
        for (lane, &x) in lanes.iter_mut().zip(chunks.remainder()) {
            *lane += f64::from(x) * f64::from(x);
        }
        for chunk in chunks {
            for (lane, &x) in lanes.iter_mut().zip(chunk) {
                *lane += f64::from(x) * f64::from(x);
            }
        }
        lanes.iter().sum()
    }

    /// Column sums of rows, added to `out`.
    fn add_column_sums_here<'a>(x: &'a [f32], out: &'a mut [f32]) -> () {
        for row in x.chunks_exact(out.len()) {
            out.iter_mut().zip(row).for_each(|(o, &x)| *o += x);
        }
    }
}

/// Fills rows of `cols` numbers, a task's worth at a time, by all threads.
pub(crate) fn fill_rows(out: &mut [f32], cols: usize, fill: impl Fn(Range<usize>, &mut [f32]) + Sync) {
    let tile = rows_per_task(cols).max(16);
    out.par_chunks_mut(tile * cols).enumerate().for_each(|(at, out)| {
        fill(at * tile..at * tile + out.len() / cols, out);
    });
}

/// x rounded to bf16 (nearest, ties to even).
pub(crate) fn round_to_bf16(x: &[f32], out: &mut [bf16]) {
    out.par_chunks_mut(GRAIN).zip(x.par_chunks(GRAIN)).for_each(|(out, x)| {
        round_to_bf16_here(x, out);
    });
}

/// Whether no number is NaN or infinite.
pub(crate) fn all_finite(x: &[f32]) -> bool {
    x.par_chunks(GRAIN).all(all_finite_here)
}

/// Rows of `cols` numbers that make a task.
pub(crate) fn rows_per_task(cols: usize) -> usize {
    (GRAIN / cols.max(1)).max(1)
}

/// Column sums of rows of `cols` numbers, added to `out`.
pub(crate) fn add_column_sums(x: &[f32], out: &mut [f32]) {
    add_column_sums_here(x, out);
}

/// Σx², in f64, the same whatever the thread count.
pub(crate) fn squared_norm(x: &[f32]) -> f64 {
    let parts: Vec<f64> = x.par_chunks(GRAIN).map(squared_norm_here).collect();
    parts.iter().sum()
}

/// Multiplies x by a dropout mask: kept elements by 1/(1−p), the others by 0. Element i of the tensor is kept if the
/// i-th number of `stream` says so; `first` is the place of x[0] in the tensor.
pub(crate) fn dropout(x: &mut [f32], first: usize, probability: f32, stream: loract_linalg::Rng) {
    x.par_chunks_mut(GRAIN).enumerate().for_each(|(chunk, x)| {
        dropout_here(x, first + chunk * GRAIN, probability, stream);
    });
}

/// The same, by the calling thread.
pub(crate) fn dropout_here(x: &mut [f32], first: usize, probability: f32, stream: loract_linalg::Rng) {
    let keep = 1.0 / (1.0 - probability);
    // Compared as 32-bit integers: exact for every probability.
    let threshold = (f64::from(probability) * 4_294_967_296.0) as u64;
    for (i, x) in x.iter_mut().enumerate() {
        let kept = (stream.at((first + i) as u64) >> 32) >= threshold;
        *x *= if kept { keep } else { 0.0 };
    }
}
