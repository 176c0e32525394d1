//! Products with a weight W (out×in), frozen in its stored form or trained.
//!
//! A stored form other than f32 is widened a panel of output rows at a time, so f32 copies of whole models never exist.

use std::ops::Range;

use loract_linalg::{Accum, MatMut, MatRef, Par, matmul};
use rayon::prelude::*;

use super::simd::vectorised;
use super::{scratch, simd};
use crate::ledger::Category;
use crate::param::Weight;
use crate::profile::{self, Product};
use crate::tensor::{Memory, Tensor};

/// Numbers in a widened panel: 4 MB, about a core's share of the last cache level.
const PANEL: usize = 1 << 20;

/// The same of a product with one row: 16 KB, half of the nearest cache.
const ROW_PANEL: usize = 1 << 12;

/// Panels that a thread takes at a time, at least, in a product with one row.
const ROW_PANELS: usize = 8;

/// Calls `f` with each panel of W in turn: its output rows, and the numbers (rows×in). The panel is scratch of the calling
/// thread, made once for the largest: as a tensor each width of weight would take the place of the last one's.
fn for_panels(w: &Weight, mut f: impl FnMut(Range<usize>, MatRef<'_>)) {
    let (rows, cols) = (w.rows(), w.cols());
    let frozen = match w {
        Weight::Trained(p) => return f(0..rows, p.value().view()),
        Weight::Frozen(frozen) => match frozen.as_f32() {
            Some(numbers) => return f(0..rows, MatRef::row_major(numbers, rows, cols)),
            None => frozen,
        },
    };
    let step = (PANEL / cols.max(1)).max(1).next_multiple_of(64).min(rows.max(1));
    scratch::with(step * cols, |panel| {
        for start in (0..rows).step_by(step) {
            let range = start..(start + step).min(rows);
            let panel = &mut panel[..range.len() * cols];
            frozen.widen_rows(range.clone(), panel);
            f(range.clone(), MatRef::row_major(panel, range.len(), cols));
        }
    });
}

/// Calls `f` with rows of W in turn, in f32, in memory that it may write over.
pub(crate) fn for_rows(w: &Weight, memory: &Memory, mut f: impl FnMut(Range<usize>, &mut [f32])) {
    let (rows, cols) = (w.rows(), w.cols());
    let step = (PANEL / cols.max(1)).max(1).min(rows.max(1));
    let mut panel = memory.stale(step, cols, Category::Transient);
    if memory.is_hollow() {
        return;
    }
    for start in (0..rows).step_by(step) {
        let range = start..(start + step).min(rows);
        let numbers = &mut panel.slice_mut()[..range.len() * cols];
        match w {
            Weight::Trained(p) => numbers.copy_from_slice(&p.value().data()[range.start * cols..range.end * cols]),
            Weight::Frozen(frozen) => frozen.widen_rows(range.clone(), numbers),
        }
        f(range, numbers);
    }
}

/// The columns `range` of a row-major rows×cols matrix.
fn columns(data: &mut [f32], rows: usize, cols: usize, range: Range<usize>) -> MatMut<'_> {
    let len = range.len();
    let start = if rows == 0 { 0 } else { range.start };
    MatMut::with_strides(&mut data[start..], rows, len, cols, 1)
}

/// y (m×out) = x (m×in) · Wᵀ.
pub(crate) fn times_transposed(x: &Tensor, w: &Weight, y: &mut Tensor, memory: &Memory) {
    if !memory.is_hollow() {
        times_transposed_rows(x.view(), w, y.slice_mut());
    }
}

/// The same for some rows of something larger.
pub(crate) fn times_transposed_rows(x: MatRef<'_>, w: &Weight, y: &mut [f32]) {
    let (m, out) = (x.rows(), w.rows());
    let shape = Product { m, n: out, k: w.cols(), left_transposed: false, right_transposed: true };
    let _span = profile::product(shape);
    if m == 0 {
        // An expert that nobody chose: its weights need not be widened.
        return;
    }
    if m == 1
        && let Some(row) = x.row(0).filter(|row| !row.is_empty())
    {
        return times_transposed_row(row, w, y);
    }
    for_panels(w, |range, panel| {
        matmul(columns(y, m, out, range), Accum::Replace, x, panel.t(), 1.0, Par::Rayon);
    });
}

/// The same for one row, as generation has it: bound by reading W, which is widened a few rows at a time, into the
/// nearest cache.
fn times_transposed_row(x: &[f32], w: &Weight, y: &mut [f32]) {
    let cols = x.len();
    let group = (ROW_PANEL / cols.max(1)).max(1);
    let tasks = y[..w.rows()].par_chunks_mut(group).enumerate().with_min_len(ROW_PANELS);
    tasks.for_each(|(i, y)| {
        let rows = i * group..i * group + y.len();
        match w {
            Weight::Trained(p) => dots(&p.value().data()[rows.start * cols..rows.end * cols], x, y),
            Weight::Frozen(frozen) => match frozen.as_f32() {
                Some(numbers) => dots(&numbers[rows.start * cols..rows.end * cols], x, y),
                None => scratch::with(rows.len() * cols, |panel| {
                    frozen.widen_here(rows, panel);
                    dots(panel, x, y);
                }),
            },
        }
    });
}

vectorised! {
    /// y_i = w_i·x for the rows w_i of `panel`.
    fn dots<'a>(panel: &'a [f32], x: &'a [f32], y: &'a mut [f32]) -> () {
        for (y, row) in y.iter_mut().zip(panel.chunks_exact(x.len())) {
            *y = simd::sum2(row, x, |w, x| w * x);
        }
    }
}

/// dx (m×in) = or += dy (m×out) · W.
pub(crate) fn times(dy: &Tensor, w: &Weight, dx: &mut Tensor, accum: Accum, memory: &Memory) {
    if !memory.is_hollow() {
        times_rows(dy.view(), w, dx.slice_mut(), accum);
    }
}

/// The same for some rows of something larger.
pub(crate) fn times_rows(dy: MatRef<'_>, w: &Weight, dx: &mut [f32], accum: Accum) {
    let (m, cols) = (dy.rows(), w.cols());
    let shape = Product { m, n: cols, k: w.rows(), left_transposed: false, right_transposed: false };
    let _span = profile::product(shape);
    if m == 0 {
        return;
    }
    let mut accum = accum;
    for_panels(w, |range, panel| {
        matmul(MatMut::row_major(dx, m, cols), accum, dy.col_range(range), panel, 1.0, Par::Rayon);
        accum = Accum::Add;
    });
}

/// dst = or += alpha · lhs·rhs, on all threads.
pub(crate) fn product(dst: MatMut<'_>, accum: Accum, lhs: MatRef<'_>, rhs: MatRef<'_>, alpha: f32) {
    let _span = profile::product(Product {
        m: dst.rows(),
        n: dst.cols(),
        k: lhs.cols(),
        left_transposed: lhs.col_stride() != 1,
        right_transposed: rhs.col_stride() != 1,
    });
    matmul(dst, accum, lhs, rhs, alpha, Par::Rayon);
}

/// out = or += alpha · aᵀ·b for a m×p, b m×q, out p×q.
pub(crate) fn transposed_times(a: &Tensor, b: &Tensor, out: &mut Tensor, alpha: f32, accum: Accum, memory: &Memory) {
    if !memory.is_hollow() {
        product(out.view_mut(), accum, a.view().t(), b.view(), alpha);
    }
}
