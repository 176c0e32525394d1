//! Products with a weight W (out×in), frozen in its stored form or trained.
//!
//! A stored form other than f32 is widened a block at a time, so f32 copies of whole models never exist.

use std::ops::Range;

use loract_linalg::{
    Accum, Branch, MatMut, MatRef, Par, Precision, Product as StoredProduct, Rhs, Stored, matmul, with_buffer,
};
use rayon::prelude::*;

use super::simd::vectorised;
use super::{elementwise, simd};
use crate::frozen::DType;
use crate::ledger::Category;
use crate::param::Weight;
use crate::profile::{self, Product};
use crate::tensor::{Memory, Tensor};

/// Numbers in a panel of rows: 4 MB, about a core's share of the last cache level.
const PANEL: usize = 1 << 20;

/// The same of a product with one row: 16 KB, half of the nearest cache.
const ROW_PANEL: usize = 1 << 12;

/// Panels that a thread takes at a time, at least, in a product with one row.
const ROW_PANELS: usize = 8;

impl Stored for Weight {
    fn rows(&self) -> usize {
        self.rows()
    }
    fn cols(&self) -> usize {
        self.cols()
    }
    fn block(&self) -> usize {
        match self {
            Weight::Trained(_) => 1,
            Weight::Frozen(frozen) => frozen.dtype().block_len(),
        }
    }
    fn bits(&self) -> usize {
        match self {
            Weight::Trained(_) => DType::F32.significant_bits(),
            Weight::Frozen(frozen) => frozen.dtype().significant_bits(),
        }
    }
    fn read(&self, row: usize, cols: Range<usize>, out: &mut [f32]) {
        match self {
            Weight::Trained(p) => p.value().view().read(row, cols, out),
            Weight::Frozen(frozen) => frozen.widen_part(row, cols, out),
        }
    }
    fn in_place(&self) -> Option<MatRef<'_>> {
        match self {
            Weight::Trained(p) => Some(p.value().view()),
            Weight::Frozen(frozen) => frozen.as_f32().map(|all| MatRef::row_major(all, self.rows(), self.cols())),
        }
    }
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

/// y (m×out) = x (m×in) · Wᵀ [+ (x·D)·U] [+ b]. Of a y that nobody reads x·D alone.
pub(crate) fn times_transposed(
    x: MatRef<'_>,
    w: &Weight,
    precision: Precision,
    branch: Option<Branch<'_>>,
    bias: Option<&[f32]>,
    y: Option<&mut [f32]>,
) {
    let n = if y.is_some() { w.rows() } else { 0 };
    let shape = Product { m: x.rows(), n, k: w.cols(), ..Product::of_weight(w, &branch, true) };
    let _span = profile::product(shape);
    let row = if x.rows() == 1 && precision == Precision::F32 { x.row(0).filter(|row| !row.is_empty()) } else { None };
    let Some(row) = row else {
        let product = StoredProduct { lhs: x, rhs: Rhs::Transposed(w), branch, bias, precision };
        return match y {
            Some(y) => product.into(y, Accum::Replace),
            None => product.into_mid(),
        };
    };
    let beside = branch.map(|Branch { down, down_scale, up, up_scale, mid }| {
        let mut mid = MatMut::row_major(mid, 1, up.rows());
        matmul(mid.rows_mut(0..1), Accum::Replace, x, down, down_scale, Par::Rayon);
        (mid, up, up_scale)
    });
    let Some(y) = y else { return };
    times_transposed_row(row, w, y);
    if let Some((mid, up, scale)) = beside {
        matmul(MatMut::row_major(y, 1, w.rows()), Accum::Add, mid.as_ref(), up, scale, Par::Rayon);
    }
    bias.into_iter().for_each(|bias| elementwise::add(y, bias));
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
                None => with_buffer(rows.len() * cols, |panel| {
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

/// dx (m×in) = or += dy (m×out) · W [+ (dy·D)·U].
pub(crate) fn times(
    dy: MatRef<'_>,
    w: &Weight,
    precision: Precision,
    branch: Option<Branch<'_>>,
    dx: &mut [f32],
    accum: Accum,
) {
    let shape = Product { m: dy.rows(), n: w.cols(), k: w.rows(), ..Product::of_weight(w, &branch, false) };
    let _span = profile::product(shape);
    StoredProduct { lhs: dy, rhs: Rhs::Plain(w), branch, bias: None, precision }.into(dx, accum);
}

/// dst = or += alpha · lhs·rhs, on all threads.
pub(crate) fn product(dst: MatMut<'_>, accum: Accum, lhs: MatRef<'_>, rhs: MatRef<'_>, alpha: f32) {
    let _span = profile::product(Product {
        m: dst.rows(),
        n: dst.cols(),
        k: lhs.cols(),
        left_transposed: lhs.col_stride() != 1,
        right_transposed: rhs.col_stride() != 1,
        weight: None,
        bits: DType::F32.significant_bits(),
    });
    matmul(dst, accum, lhs, rhs, alpha, Par::Rayon);
}

/// out = or += alpha · aᵀ·b for a m×p, b m×q, out p×q.
pub(crate) fn transposed_times(a: &Tensor, b: &Tensor, out: &mut Tensor, alpha: f32, accum: Accum, memory: &Memory) {
    if !memory.is_hollow() {
        product(out.view_mut(), accum, a.view().t(), b.view(), alpha);
    }
}
