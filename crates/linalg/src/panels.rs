//! Products of tall f32 matrices carried out in f64, a panel of rows at a time: no f64 copy of a tall matrix exists.
//!
//! Rows are split into groups and panels whose sizes depend on the shape alone, and partial results are added in the
//! order of the groups: the same numbers whatever the number of threads. Scratch: a partial result per group, at most
//! about [`PARTIAL_BYTES`] or four of them, and a panel per thread ([`gram_scratch`], [`times_scratch`]).

use std::ops::Range;

use crate::gemm::{Accum, Par, matmul};
use crate::load::{load, load_all};
use crate::mat::{MatMut, MatRef};
use crate::owned::Mat;
use crate::pool::{Slots, for_each, threads};
use crate::simd::dispatch;
use crate::work::Work;

/// Groups of rows with a partial sum of their own, at most.
const MAX_GROUPS: usize = 8;
/// Fewer rows are not worth a group.
const LEAST_GROUP: usize = 128;
/// Partial sums take no more than this, as long as four groups remain: fresh memory costs as much as a pass over it.
const PARTIAL_BYTES: usize = 1 << 20;
/// Rows of a panel.
pub(crate) const PANEL: usize = 128;
/// Columns of a triangular product that skip what is zero together, at least, and blocks of columns at most.
const LEAST_BLOCK: usize = 32;
const MAX_BLOCKS: usize = 8;

/// Rows per group of n rows with partial sums of `partial` numbers.
fn group_rows(n: usize, partial: usize) -> usize {
    let affordable = (PARTIAL_BYTES / (8 * partial.max(1))).clamp(4, MAX_GROUPS);
    n.div_ceil((n / LEAST_GROUP).clamp(1, affordable)).next_multiple_of(8).max(8)
}

/// Columns per block of k columns, of which a triangle is wanted.
fn block_cols(k: usize) -> usize {
    k.div_ceil(MAX_BLOCKS).next_multiple_of(32).max(LEAST_BLOCK)
}

/// Numbers that the blocks of the upper triangle of a k×k matrix take, one after another.
fn triangle(k: usize) -> usize {
    let step = block_cols(k);
    (0..k).step_by(step).map(|start| step.min(k - start) * (k - start)).sum()
}

/// f64 numbers that the partial sums and panels of a sum over n rows take at most, for any sum of up to `size` numbers.
fn sum_scratch(n: usize, size: usize, width: usize, threads: usize) -> usize {
    let groups = (n / LEAST_GROUP).clamp(1, MAX_GROUPS);
    let partials = (groups * size).min((4 * size).max(PARTIAL_BYTES / 8));
    partials + groups.min(threads) * PANEL.min(n) * width
}

/// f64 numbers of scratch of [`Panels::gram`] for n×k, or fewer columns.
pub(crate) fn gram_scratch(n: usize, k: usize, threads: usize) -> usize {
    sum_scratch(n, triangle(k), k, threads)
}

/// f64 numbers of scratch of [`Panels::inner`] for n rows, `size` numbers in the result and `width` columns in all.
pub(crate) fn inner_scratch(n: usize, size: usize, width: usize, threads: usize) -> usize {
    sum_scratch(n, size, width, threads)
}

/// f64 numbers of scratch of [`Panels::times`] for n rows, `depth` columns by depth×cols.
pub(crate) fn times_scratch(n: usize, depth: usize, cols: usize, threads: usize) -> usize {
    n.div_ceil(PANEL).min(threads) * PANEL.min(n) * (depth + cols)
}

/// Whether a small factor has zeros below its diagonal that can be skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// No zeros.
    Full,
    /// Upper triangle.
    Upper,
}

/// Who computes, and scratch that one product leaves to the next.
pub(crate) struct Panels {
    par: Par,
    scratch: Vec<f64>,
}

impl Panels {
    pub(crate) fn new(par: Par) -> Self {
        Self { par, scratch: Vec::new() }
    }

    /// Sums `add(rows, panel, accum, partial)` over the panels of n rows, `size` numbers; `panel` has `width` numbers a row.
    fn accumulate(
        &mut self,
        n: usize,
        size: usize,
        width: usize,
        add: impl Fn(Range<usize>, &mut [f64], Accum, &mut [f64]) + Sync,
    ) -> &[f64] {
        let step = group_rows(n, size);
        let (groups, panel) = (n.div_ceil(step), PANEL.min(step).min(n) * width);
        let scratch = at_least(&mut self.scratch, groups * size + groups.min(threads(self.par)) * panel);
        let (partials, panels) = scratch.split_at_mut(groups * size);
        let panels = Slots::new(&mut panels[..groups.min(threads(self.par)) * panel], panel);
        for_each(self.par, partials.chunks_exact_mut(size).collect(), |g, part| {
            panels.with(|panel| {
                let end = ((g + 1) * step).min(n);
                for start in (g * step..end).step_by(PANEL) {
                    let rows = start..(start + PANEL).min(end);
                    let accum = if start == g * step { Accum::Replace } else { Accum::Add };
                    let size = rows.len() * width;
                    add(rows, &mut panel[..size], accum, part);
                }
            });
        });
        let (total, others) = partials.split_at_mut(size);
        for part in others.chunks_exact(size) {
            dispatch(|| total.iter_mut().zip(part).for_each(|(x, y)| *x += y));
        }
        total
    }

    /// The upper triangle of YᵀY (k×k) for Y n×k; what is below may be anything. About 5/8 of 2nk² operations in f64.
    pub(crate) fn gram<T: Copy + Into<f64> + Sync>(&mut self, y: MatRef<'_, T>) -> Mat<f64> {
        let (n, k) = (y.rows(), y.cols());
        let step = block_cols(k);
        let mut out: Mat<f64> = Mat::zeros(k, k);
        if n == 0 || k == 0 {
            return out;
        }
        let mut total = self.accumulate(n, triangle(k), k, |rows, panel, accum, mut part| {
            load_all(y, rows.clone(), panel);
            let panel = MatRef::row_major(panel, rows.len(), k);
            for start in (0..k).step_by(step) {
                let end = (start + step).min(k);
                let (block, rest) = part.split_at_mut((end - start) * (k - start));
                let block = MatMut::row_major(block, end - start, k - start);
                let lhs = panel.col_range(start..end).t();
                matmul(block, accum, lhs, panel.col_range(start..k), 1.0, Par::Serial);
                part = rest;
            }
        });
        for (i, row) in out.data_mut().chunks_exact_mut(k).enumerate() {
            let start = i / step * step;
            let (values, rest) = total.split_at(k - start);
            row[start..].copy_from_slice(values);
            total = rest;
        }
        out
    }

    /// XᵀY (k×l) for X n×k and Y n×l, in f64.
    pub(crate) fn inner<S, T>(&mut self, x: MatRef<'_, S>, y: MatRef<'_, T>) -> Mat<f64>
    where
        S: Copy + Into<f64> + Sync,
        T: Copy + Into<f64> + Sync,
    {
        let (n, k, l) = (x.rows(), x.cols(), y.cols());
        if n == 0 || k * l == 0 {
            return Mat::zeros(k, l);
        }
        let total = self.accumulate(n, k * l, k + l, |rows, panel, accum, part| {
            let (left, right) = panel.split_at_mut(rows.len() * k);
            load_all(x, rows.clone(), left);
            load_all(y, rows.clone(), right);
            let left = MatRef::row_major(left, rows.len(), k);
            let right = MatRef::row_major(right, rows.len(), l);
            matmul(MatMut::row_major(part, k, l), accum, left.t(), right, 1.0, Par::Serial);
        });
        Mat::from_vec(total.to_vec(), k, l)
    }

    /// `Y[:, order]·small`, computed in `small`'s type and rounded once.
    pub(crate) fn times<T, P, O>(&mut self, y: MatRef<'_, T>, order: &[usize], small: &Mat<P>, shape: Shape) -> Mat<O>
    where
        T: Copy + Into<f64> + Sync,
        P: Work,
        O: Work,
    {
        let mut out = Mat::zeros(y.rows(), small.cols());
        self.each_task(&mut out, small, shape, |rows, panel, _| load(y, rows, order, panel));
        out
    }

    /// `Q ← Q·small`, in place, computed in `small`'s type.
    pub(crate) fn times_in_place<P: Work, O: Work>(&mut self, q: &mut Mat<O>, small: &Mat<P>, shape: Shape) {
        self.each_task(q, small, shape, |_, panel, old| {
            dispatch(|| panel.iter_mut().zip(old).for_each(|(x, &y)| *x = P::of(y.into())));
        });
    }

    /// Overwrites each panel of `out` with what `load(rows, panel, old content)` puts into `panel`, times `small`.
    fn each_task<P: Work, O: Work>(
        &mut self,
        out: &mut Mat<O>,
        small: &Mat<P>,
        shape: Shape,
        load: impl Fn(Range<usize>, &mut [P], &[O]) + Sync,
    ) {
        let (n, depth, cols) = (out.rows(), small.rows(), small.cols());
        if n == 0 || cols == 0 {
            return;
        }
        let scratch = at_least(&mut self.scratch, times_scratch(n, depth, cols, threads(self.par)));
        let slots = Slots::new(scratch, PANEL.min(n) * (depth + cols));
        for_each(self.par, out.data_mut().chunks_mut(PANEL * cols).collect(), |p, chunk| {
            slots.with(|scratch| {
                let (first, height) = (p * PANEL, chunk.len() / cols);
                let (panel, wide) = bytemuck::cast_slice_mut(scratch).split_at_mut(height * depth);
                load(first..first + height, panel, chunk);
                panel_times(panel, small, shape, &mut wide[..chunk.len()], chunk);
            });
        });
    }

    /// `P ← P − Q·small`, in f64.
    pub(crate) fn subtract_product(&self, p: &mut Mat<f64>, q: MatRef<'_, f64>, small: &Mat<f64>) {
        let cols = p.cols();
        if cols == 0 || q.cols() == 0 {
            return;
        }
        for_each(self.par, p.data_mut().chunks_mut(PANEL * cols).collect(), |g, chunk| {
            let rows = g * PANEL..g * PANEL + chunk.len() / cols;
            let dst = MatMut::row_major(chunk, rows.len(), cols);
            matmul(dst, Accum::Add, q.row_range(rows), small.view(), -1.0, Par::Serial);
        });
    }
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

/// The first `size` numbers of `scratch`, which grows if it must; their values are arbitrary.
fn at_least(scratch: &mut Vec<f64>, size: usize) -> &mut [f64] {
    if scratch.len() < size {
        *scratch = Vec::new();
        *scratch = vec![0.0; size];
    }
    &mut scratch[..size]
}
