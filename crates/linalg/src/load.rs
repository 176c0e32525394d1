//! Rows of a matrix of any layout, copied side by side into a panel and widened on the way.

use std::ops::Range;

use crate::mat::MatRef;
use crate::simd::dispatch;
use crate::work::Work;

/// Rows `rows` and columns `order` of `source`, row-major.
pub(crate) fn load<T: Copy + Into<f64>, P: Work>(
    source: MatRef<'_, T>,
    rows: Range<usize>,
    order: &[usize],
    panel: &mut [P],
) {
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
pub(crate) fn load_all<T: Copy + Into<f64>>(source: MatRef<'_, T>, rows: Range<usize>, panel: &mut [f64]) {
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
