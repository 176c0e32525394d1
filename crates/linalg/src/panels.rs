//! Products of tall f32 matrices carried out in f64, a panel of rows at a time: no f64 copy of a tall matrix exists.
//!
//! Rows are split into groups and panels whose sizes depend on the shape alone, and partial results are added in the
//! order of the groups: the same numbers whatever the number of threads. Scratch: a partial result per group but at most
//! about [`PARTIAL_BYTES`] or two of them, and a panel per thread.

use std::ops::Range;

use rayon::prelude::*;

use crate::gemm::{Accum, Par, Real, matmul};
use crate::mat::{MatMut, MatRef};
use crate::owned::Mat;
use crate::simd::dispatch;

/// Groups of rows with a partial sum of their own, at most.
const MAX_GROUPS: usize = 8;
/// Fewer rows are not worth a group.
const LEAST_GROUP: usize = 128;
/// Partial sums take no more than this, as long as two groups remain.
const PARTIAL_BYTES: usize = 2 << 20;
/// Rows of a panel.
pub(crate) const PANEL: usize = 128;
/// Columns of a triangular product that skip what is zero together, at least, and blocks of columns at most.
const LEAST_BLOCK: usize = 32;
const MAX_BLOCKS: usize = 8;

/// Number of groups of n rows with partial sums of `partial` numbers.
pub(crate) fn groups(n: usize, partial: usize) -> usize {
    let affordable = (PARTIAL_BYTES / (8 * partial.max(1))).clamp(2, MAX_GROUPS);
    n.div_ceil(group_rows(n, affordable))
}

fn group_rows(n: usize, groups: usize) -> usize {
    n.div_ceil((n / LEAST_GROUP).clamp(1, groups)).next_multiple_of(8).max(8)
}

/// Columns per block of k columns, of which a triangle is wanted.
fn block_cols(k: usize) -> usize {
    k.div_ceil(MAX_BLOCKS).next_multiple_of(32).max(LEAST_BLOCK)
}

/// The type that a product is carried out in.
pub(crate) trait Work: Real + Default + Send + Sync + Into<f64> {
    /// Its rounding unit.
    const EPSILON: f64;
    /// Nearest number.
    fn of(x: f64) -> Self;
}
impl Work for f32 {
    const EPSILON: f64 = f32::EPSILON as f64;
    #[inline(always)]
    fn of(x: f64) -> Self {
        x as f32
    }
}
impl Work for f64 {
    const EPSILON: f64 = f64::EPSILON;
    #[inline(always)]
    fn of(x: f64) -> Self {
        x
    }
}

/// `f` for every item, in order or in parallel.
pub(crate) fn for_each<I: Send>(par: Par, items: Vec<I>, f: impl Fn(usize, I) + Sync) {
    match par {
        Par::Serial => items.into_iter().enumerate().for_each(|(i, item)| f(i, item)),
        Par::Rayon => items.into_par_iter().enumerate().for_each(|(i, item)| f(i, item)),
    }
}

/// Rows `rows` and columns `order` of `source`, row-major.
fn load<T: Copy + Into<f64>, P: Work>(source: MatRef<'_, T>, rows: Range<usize>, order: &[usize], panel: &mut [P]) {
    for (i, out) in rows.zip(panel.chunks_exact_mut(order.len().max(1))) {
        match source.row(i) {
            Some(row) => dispatch(|| out.iter_mut().zip(order).for_each(|(x, &j)| *x = P::of(row[j].into()))),
            None => out.iter_mut().zip(order).for_each(|(x, &j)| *x = P::of(source.get(i, j).into())),
        }
    }
}

/// Rows `rows` of `source` as f64, row-major.
fn load_all<T: Copy + Into<f64>>(source: MatRef<'_, T>, rows: Range<usize>, panel: &mut [f64]) {
    for (i, out) in rows.zip(panel.chunks_exact_mut(source.cols().max(1))) {
        match source.row(i) {
            Some(row) => dispatch(|| out.iter_mut().zip(row).for_each(|(x, &y)| *x = y.into())),
            None => out.iter_mut().enumerate().for_each(|(j, x)| *x = source.get(i, j).into()),
        }
    }
}

/// Sums `add(rows, panel, partial)` over the panels of n rows into a rows×cols matrix; `panel` has `width` numbers a row.
fn accumulate(
    n: usize,
    shape: (usize, usize),
    width: usize,
    par: Par,
    add: impl Fn(Range<usize>, &mut [f64], &mut Mat<f64>) + Sync,
) -> Mat<f64> {
    let count = groups(n, shape.0 * shape.1).max(1);
    let step = n.div_ceil(count).next_multiple_of(8);
    let mut parts: Vec<Mat<f64>> = (0..count).map(|_| Mat::zeros(shape.0, shape.1)).collect();
    for_each(par, parts.iter_mut().collect(), |g, part| {
        let end = ((g + 1) * step).min(n);
        let mut panel = vec![0.0; PANEL.min(step) * width];
        for start in (g * step..end).step_by(PANEL) {
            let rows = start..(start + PANEL).min(end);
            let size = rows.len() * width;
            add(rows, &mut panel[..size], part);
        }
    });
    let mut parts = parts.into_iter();
    let mut total = parts.next().unwrap_or_else(|| Mat::zeros(shape.0, shape.1));
    for part in parts {
        total.data_mut().iter_mut().zip(part.data()).for_each(|(x, y)| *x += y);
    }
    total
}

/// The upper triangle of YᵀY (k×k) for Y n×k; what is below may be anything. About 5/8 of 2nk² operations in f64.
pub(crate) fn gram<T: Copy + Into<f64> + Sync>(y: MatRef<'_, T>, par: Par) -> Mat<f64> {
    let k = y.cols();
    let step = block_cols(k);
    accumulate(y.rows(), (k, k), k, par, |rows, panel, part| {
        load_all(y, rows.clone(), panel);
        let panel = MatRef::row_major(panel, rows.len(), k);
        for start in (0..k).step_by(step) {
            let end = (start + step).min(k);
            let block = MatMut::with_strides(&mut part.data_mut()[start * k + start..], end - start, k - start, k, 1);
            let lhs = panel.col_range(start..end).t();
            matmul(block, Accum::Add, lhs, panel.col_range(start..k), 1.0, Par::Serial);
        }
    })
}

/// XᵀY (k×l) for X n×k and Y n×l, in f64.
pub(crate) fn inner<S, T>(x: MatRef<'_, S>, y: MatRef<'_, T>, par: Par) -> Mat<f64>
where
    S: Copy + Into<f64> + Sync,
    T: Copy + Into<f64> + Sync,
{
    accumulate(x.rows(), (x.cols(), y.cols()), x.cols() + y.cols(), par, |rows, panel, part| {
        let (left, right) = panel.split_at_mut(rows.len() * x.cols());
        load_all(x, rows.clone(), left);
        load_all(y, rows.clone(), right);
        let left = MatRef::row_major(left, rows.len(), x.cols());
        let right = MatRef::row_major(right, rows.len(), y.cols());
        matmul(part.view_mut(), Accum::Add, left.t(), right, 1.0, Par::Serial);
    })
}

/// Whether a small factor has zeros below its diagonal that can be skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// No zeros.
    Full,
    /// Upper triangle.
    Upper,
}

/// `out = panel·small`, rounded; `wide` is scratch of the size of `out`.
fn panel_times<P: Work, O: Work>(panel: &[P], small: &Mat<P>, shape: Shape, wide: &mut [P], out: &mut [O]) {
    let (inner, cols) = (small.rows(), small.cols());
    let rows = out.len() / cols;
    let panel = MatRef::row_major(panel, rows, inner);
    let step = if shape == Shape::Upper { block_cols(cols) } else { cols };
    for start in (0..cols).step_by(step) {
        let end = (start + step).min(cols);
        let depth = if shape == Shape::Upper { end } else { inner };
        let dst = MatMut::with_strides(&mut wide[start..], rows, end - start, cols, 1);
        let rhs = small.view().row_range(0..depth).col_range(start..end);
        matmul(dst, Accum::Replace, panel.col_range(0..depth), rhs, P::ONE, Par::Serial);
    }
    dispatch(|| out.iter_mut().zip(&*wide).for_each(|(x, &y)| *x = O::of(y.into())));
}

/// Rows of a task of [`times`]: a few panels, which share their scratch.
fn task_rows(n: usize) -> usize {
    n.div_ceil(MAX_GROUPS).next_multiple_of(PANEL)
}

/// `Y[:, order]·small`, computed in `small`'s type and rounded once.
pub(crate) fn times<T: Copy + Into<f64> + Sync, P: Work, O: Work>(
    y: MatRef<'_, T>,
    order: &[usize],
    small: &Mat<P>,
    shape: Shape,
    par: Par,
) -> Mat<O> {
    let (n, depth, cols) = (y.rows(), small.rows(), small.cols());
    let mut out = Mat::zeros(n, cols);
    if cols == 0 {
        return out;
    }
    for_each(par, out.data_mut().chunks_mut(task_rows(n) * cols).collect(), |t, task| {
        let (mut panel, mut wide) = (vec![P::default(); PANEL * depth], vec![P::default(); PANEL * cols]);
        for (p, chunk) in task.chunks_mut(PANEL * cols).enumerate() {
            let first = t * task_rows(n) + p * PANEL;
            let rows = first..first + chunk.len() / cols;
            let panel = &mut panel[..rows.len() * depth];
            load(y, rows, order, panel);
            panel_times(panel, small, shape, &mut wide[..chunk.len()], chunk);
        }
    });
    out
}

/// `Q ← Q·small`, in place, computed in `small`'s type.
pub(crate) fn times_in_place<P: Work, O: Work>(q: &mut Mat<O>, small: &Mat<P>, shape: Shape, par: Par) {
    let cols = q.cols();
    if cols == 0 {
        return;
    }
    let step = task_rows(q.rows()) * cols;
    for_each(par, q.data_mut().chunks_mut(step).collect(), |_, task| {
        let (mut panel, mut wide) = (vec![P::default(); PANEL * cols], vec![P::default(); PANEL * cols]);
        for chunk in task.chunks_mut(PANEL * cols) {
            panel.iter_mut().zip(&*chunk).for_each(|(x, &y)| *x = P::of(y.into()));
            panel_times(&panel[..chunk.len()], small, shape, &mut wide[..chunk.len()], chunk);
        }
    });
}

/// `P ← P − Q·small`, in f64.
pub(crate) fn subtract_product(p: &mut Mat<f64>, q: MatRef<'_, f64>, small: &Mat<f64>, par: Par) {
    let (cols, depth) = (p.cols(), q.cols());
    if cols == 0 || depth == 0 {
        return;
    }
    for_each(par, p.data_mut().chunks_mut(PANEL * cols).collect(), |g, chunk| {
        let rows = g * PANEL..g * PANEL + chunk.len() / cols;
        let dst = MatMut::row_major(chunk, rows.len(), cols);
        matmul(dst, Accum::Add, q.row_range(rows), small.view(), -1.0, Par::Serial);
    });
}
