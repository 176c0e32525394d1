//! What is kept for backward, and in what form.
//!
//! An op hands a tensor to [`crate::Tape`], which asks the [`Policy`] for a form and returns a [`SavedRef`]. Backward
//! uses the cheapest thing that a form offers: a product with the transpose, a tile of rows, or the dense tensor.

mod policy;
mod site;

pub use policy::{Compress, Form, Policy, Rank, Recompute};
pub use site::Site;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use loract_linalg::{Accum, LowRank, MatMut, Par, matmul};

use crate::kernels;
use crate::ledger::{Category, Claim};
use crate::tensor::{Memory, Tensor};

/// The form of something saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SavedKind {
    /// The tensor itself, f32.
    Exact,
    /// Factors of rank k, f32.
    LowRank,
}

impl fmt::Display for SavedKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            SavedKind::Exact => "exact",
            SavedKind::LowRank => "low_rank",
        })
    }
}

/// A tensor kept for backward.
#[derive(Debug)]
pub(crate) enum Saved {
    /// The tensor itself; its bytes count at the site while this lives.
    Exact(Tensor),
    /// Its factors.
    LowRank { factors: LowRank, _claim: Claim },
}

impl Saved {
    /// Keeps `tensor` itself, counted at `site`.
    pub(crate) fn exact(tensor: &Tensor, site: Site) -> Self {
        tensor.set_category(Category::Saved(site, SavedKind::Exact));
        Saved::Exact(tensor.clone())
    }

    /// Keeps factors, counted at `site`.
    pub(crate) fn low_rank(factors: LowRank, site: Site, memory: &Memory) -> Self {
        let claim = memory.ledger().claim(Category::Saved(site, SavedKind::LowRank), factors.size_bytes());
        Saved::LowRank { factors, _claim: claim }
    }

    fn shape(&self) -> (usize, usize) {
        match self {
            Saved::Exact(t) => (t.rows(), t.cols()),
            Saved::LowRank { factors, .. } => (factors.rows(), factors.cols()),
        }
    }
}

impl Drop for Saved {
    fn drop(&mut self) {
        if let Saved::Exact(tensor) = self {
            // Others may still hold the numbers; they are no longer kept for backward.
            tensor.set_category(Category::Transient);
        }
    }
}

/// A handle to something saved: X, or X·diag(w) where `column_scale` is w (the output of a norm whose x̂ is saved).
///
/// Handles to one tensor share it; the last one frees it.
#[derive(Debug, Clone)]
pub struct SavedRef {
    pub(crate) saved: Arc<Saved>,
    pub(crate) column_scale: Option<Tensor>,
}

impl SavedRef {
    /// m.
    pub fn rows(&self) -> usize {
        self.saved.shape().0
    }
    /// n.
    pub fn cols(&self) -> usize {
        self.saved.shape().1
    }

    /// The form it is in.
    pub fn kind(&self) -> SavedKind {
        match &*self.saved {
            Saved::Exact(_) => SavedKind::Exact,
            Saved::LowRank { .. } => SavedKind::LowRank,
        }
    }

    /// The dense tensor, m×n. Shared, not copied, if that is how it is kept.
    pub fn to_dense(&self, memory: &Memory) -> Tensor {
        let dense = match &*self.saved {
            Saved::Exact(tensor) => tensor.clone(),
            Saved::LowRank { factors, .. } => {
                let mut out = memory.stale(self.rows(), self.cols(), Category::Transient);
                factors.row_tile(0..self.rows(), out.view_mut(), Par::Rayon);
                out
            }
        };
        match &self.column_scale {
            None => dense,
            Some(scale) => {
                let mut out = dense.into_unique(memory);
                kernels::elementwise::scale_columns(out.slice_mut(), scale.data());
                out
            }
        }
    }

    /// dᵀ·X, p×n for d m×p, added to or written over `out`. Factors are never multiplied out: 2kp(m+n) operations.
    pub(crate) fn left_mul(&self, d: &Tensor, out: &mut Tensor, accum: Accum, memory: &Memory) {
        let Some(scale) = &self.column_scale else {
            return self.left_mul_unscaled(d, out.view_mut(), accum);
        };
        let mut product = memory.stale(d.cols(), self.cols(), Category::Transient);
        self.left_mul_unscaled(d, product.view_mut(), Accum::Replace);
        kernels::elementwise::scale_columns(product.slice_mut(), scale.data());
        match accum {
            Accum::Replace => out.slice_mut().copy_from_slice(product.data()),
            Accum::Add => kernels::elementwise::add(out.slice_mut(), product.data()),
        }
    }

    fn left_mul_unscaled(&self, d: &Tensor, out: MatMut<'_>, accum: Accum) {
        match &*self.saved {
            Saved::Exact(x) => matmul(out, accum, d.view().t(), x.view(), 1.0, Par::Rayon),
            Saved::LowRank { factors, .. } => factors.left_mul(d.view(), out, accum, Par::Rayon),
        }
    }

    /// Element access a tile of rows at a time. Not for a scaled handle's scale: tiles are of X.
    pub(crate) fn tiles(&self) -> Tiles<'_> {
        match &*self.saved {
            Saved::Exact(tensor) => Tiles::Dense { data: tensor.data(), cols: tensor.cols() },
            Saved::LowRank { factors, .. } => Tiles::Factors(factors),
        }
    }
}

/// Rows of something saved, rebuilt a tile at a time by whichever thread needs them.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Tiles<'a> {
    /// Already dense.
    Dense {
        /// Rows side by side.
        data: &'a [f32],
        /// n.
        cols: usize,
    },
    /// To be multiplied out.
    Factors(&'a LowRank),
}

impl<'a> Tiles<'a> {
    /// Rows `rows`, in place or rebuilt in `scratch` (at least rows.len()·n long).
    pub(crate) fn get<'b>(&self, rows: Range<usize>, scratch: &'b mut [f32]) -> &'b [f32]
    where
        'a: 'b,
    {
        match *self {
            Tiles::Dense { data, cols } => &data[rows.start * cols..rows.end * cols],
            Tiles::Factors(factors) => {
                let (len, cols) = (rows.len(), factors.cols());
                factors.row_tile(rows, MatMut::row_major(scratch, len, cols), Par::Serial);
                &scratch[..len * cols]
            }
        }
    }
}
