//! Products of tall f32 matrices carried out in f64, a panel of rows at a time: no f64 copy of a tall matrix exists.
//!
//! Rows are split into groups and panels whose sizes depend on the shape alone, and partial results are added in the
//! order of the groups: the same numbers whatever the number of threads. Scratch: a partial result per group but at most
//! about [`PARTIAL_BYTES`] or two of them, and a panel per thread.

use std::ops::Range;

use rayon::prelude::*;

use crate::gemm::{Accum, Par, matmul};
use crate::mat::{MatMut, MatRef};
use crate::owned::Mat;
use crate::simd::dispatch;
use crate::work::Work;

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

/// `f` for every item, in order or in parallel.
pub(crate) fn for_each<I: Send>(par: Par, items: Vec<I>, f: impl Fn(usize, I) + Sync) {
    match par {
        Par::Serial => items.into_iter().enumerate().for_each(|(i, item)| f(i, item)),
        Par::Rayon => items.into_par_iter().enumerate().for_each(|(i, item)| f(i, item)),
    }
}

/// Rows `rows` and columns `order` of `source`, row-major.
fn load<T: Copy + Into<f64>, P: Work>(source: MatRef<'_, T>, rows: Range<usize>, order: &[usize], panel: &mut [P]) {
    let width = order.len().max(1);
    if source.col_stride() == 1 {
        for (row, out) in rows.filter_map(|i| source.row(i)).zip(panel.chunks_exact_mut(width)) {
            dispatch(|| out.iter_mut().zip(order).for_each(|(x, &j)| *x = P::of(row[j].into())));
        }
        return;
    }
    for (p, &j) in order.iter().enumerate() {
        for (at, i) in rows.clone().enumerate() {
            panel[at * width + p] = P::of(source.get(i, j).into());
        }
    }
}

/// Rows `rows` of `source` as f64, row-major.
fn load_all<T: Copy + Into<f64>>(source: MatRef<'_, T>, rows: Range<usize>, panel: &mut [f64]) {
    let width = source.cols().max(1);
    if source.col_stride() == 1 {
        for (row, out) in rows.filter_map(|i| source.row(i)).zip(panel.chunks_exact_mut(width)) {
            dispatch(|| out.iter_mut().zip(row).for_each(|(x, &y)| *x = y.into()));
        }
        return;
    }
    for j in 0..source.cols() {
        for (at, i) in rows.clone().enumerate() {
            panel[at * width + j] = source.get(i, j).into();
        }
    }
}

/// Whether a small factor has zeros below its diagonal that can be skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// No zeros.
    Full,
    /// Upper triangle.
    Upper,
}

/// Who computes, and scratch that one product leaves to the next: fresh memory costs as much as a pass over it.
pub(crate) struct Panels {
    par: Par,
    partials: Vec<f64>,
    tasks: Vec<f64>,
}

impl Panels {
    pub(crate) fn new(par: Par) -> Self {
        Self { par, partials: Vec::new(), tasks: Vec::new() }
    }

    /// Sums `add(rows, panel, accum, partial)` over the panels of n rows into a rows×cols matrix; `panel` has `width` numbers
    /// a row.
    fn accumulate(
        &mut self,
        n: usize,
        (rows, cols): (usize, usize),
        width: usize,
        add: impl Fn(Range<usize>, &mut [f64], Accum, &mut [f64]) + Sync,
    ) -> Mat<f64> {
        let size = rows * cols;
        if n == 0 || size == 0 {
            return Mat::zeros(rows, cols);
        }
        let step = n.div_ceil(groups(n, size)).next_multiple_of(8);
        let (count, panel) = (n.div_ceil(step), PANEL.min(step) * width);
        let partials = at_least(&mut self.partials, count * size);
        let tasks = at_least(&mut self.tasks, count * panel);
        let items = partials.chunks_exact_mut(size).zip(tasks.chunks_exact_mut(panel)).take(count).collect();
        for_each(self.par, items, |g, (part, panel)| {
            let end = ((g + 1) * step).min(n);
            for start in (g * step..end).step_by(PANEL) {
                let rows = start..(start + PANEL).min(end);
                let accum = if start == g * step { Accum::Replace } else { Accum::Add };
                let size = rows.len() * width;
                add(rows, &mut panel[..size], accum, part);
            }
        });
        let (total, others) = partials[..count * size].split_at_mut(size);
        for part in others.chunks_exact(size) {
            dispatch(|| total.iter_mut().zip(part).for_each(|(x, y)| *x += y));
        }
        Mat::from_vec(total.to_vec(), rows, cols)
    }

    /// The upper triangle of YᵀY (k×k) for Y n×k; what is below may be anything. About 5/8 of 2nk² operations in f64.
    pub(crate) fn gram<T: Copy + Into<f64> + Sync>(&mut self, y: MatRef<'_, T>) -> Mat<f64> {
        let k = y.cols();
        let step = block_cols(k);
        self.accumulate(y.rows(), (k, k), k, |rows, panel, accum, part| {
            load_all(y, rows.clone(), panel);
            let panel = MatRef::row_major(panel, rows.len(), k);
            for start in (0..k).step_by(step) {
                let end = (start + step).min(k);
                let block = MatMut::with_strides(&mut part[start * k + start..], end - start, k - start, k, 1);
                let lhs = panel.col_range(start..end).t();
                matmul(block, accum, lhs, panel.col_range(start..k), 1.0, Par::Serial);
            }
        })
    }

    /// XᵀY (k×l) for X n×k and Y n×l, in f64.
    pub(crate) fn inner<S, T>(&mut self, x: MatRef<'_, S>, y: MatRef<'_, T>) -> Mat<f64>
    where
        S: Copy + Into<f64> + Sync,
        T: Copy + Into<f64> + Sync,
    {
        let (k, l) = (x.cols(), y.cols());
        self.accumulate(x.rows(), (k, l), k + l, |rows, panel, accum, part| {
            let (left, right) = panel.split_at_mut(rows.len() * k);
            load_all(x, rows.clone(), left);
            load_all(y, rows.clone(), right);
            let left = MatRef::row_major(left, rows.len(), k);
            let right = MatRef::row_major(right, rows.len(), l);
            matmul(MatMut::row_major(part, k, l), accum, left.t(), right, 1.0, Par::Serial);
        })
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
        // Rows do not depend on each other: as many tasks as keep the threads busy.
        let most = if self.par == Par::Rayon { 2 * rayon::current_num_threads() } else { 1 };
        let rows_per_task = n.div_ceil(most).next_multiple_of(PANEL);
        let scratch = PANEL * (depth + cols);
        let tasks = at_least(&mut self.tasks, n.div_ceil(rows_per_task) * scratch);
        let items = out.data_mut().chunks_mut(rows_per_task * cols).zip(tasks.chunks_exact_mut(scratch)).collect();
        for_each(self.par, items, |t, (task, scratch)| {
            let scratch: &mut [P] = bytemuck::cast_slice_mut(scratch);
            let (panel, wide) = scratch.split_at_mut(PANEL * depth);
            for (p, chunk) in task.chunks_mut(PANEL * cols).enumerate() {
                let (first, height) = (t * rows_per_task + p * PANEL, chunk.len() / cols);
                let panel = &mut panel[..height * depth];
                load(first..first + height, panel, chunk);
                panel_times(panel, small, shape, &mut wide[..chunk.len()], chunk);
            }
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
        *scratch = vec![0.0; size];
    }
    &mut scratch[..size]
}
