//! What is kept for backward, and in what form.
//!
//! An op hands a tensor to [`crate::Tape`], which asks the [`Policy`] for a form and returns a [`SavedRef`]. Backward
//! uses the cheapest thing that a form offers: a product with the transpose, a tile of rows, or the dense tensor.

mod background;
mod columns;
mod compressed;
mod factored;
mod factors;
mod form;
mod history;
mod policy;
mod quant;
mod record;
mod reference;
mod rows;
mod site;
mod tiles;

pub use background::Workers;
pub(crate) use background::{Background, Compression, Deferred, Done};
pub(crate) use columns::ColumnMap;
pub(crate) use compressed::{Compressed, left_mul_made, left_mul_tiles};
pub use factored::{Compress, FactorType, Factored, Rank};
pub use form::Form;
pub use history::{History, WarmStart};
pub(crate) use history::{Place, Remembered};
pub use policy::{Planned, PlannedFactors, Policy, Recompute};
pub use quant::{Quant, QuantRange, Rounding};
pub use record::{BasisRecord, PlaceRecord};
pub use reference::SavedRef;
pub(crate) use reference::WeakRef;
pub(crate) use rows::RowMap;
pub use site::Site;
pub(crate) use tiles::Tiles;

use std::fmt;

use crate::ledger::Category;
use crate::tensor::Tensor;

/// The form of something saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SavedKind {
    /// The tensor itself, f32.
    Exact,
    /// Rounded to bf16.
    Bf16,
    /// Block-quantised.
    Quantised,
    /// Low-rank factors.
    LowRank,
    /// Low-rank factors and a quantised residual.
    Hybrid,
}

impl SavedKind {
    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            SavedKind::Exact => "exact",
            SavedKind::Bf16 => "bf16",
            SavedKind::Quantised => "quantised",
            SavedKind::LowRank => "low_rank",
            SavedKind::Hybrid => "hybrid",
        }
    }
}

impl fmt::Display for SavedKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A tensor kept for backward.
#[derive(Debug)]
pub(crate) enum Saved {
    /// The tensor itself; its bytes count at the site while this lives.
    Exact(Tensor),
    /// A smaller form.
    Compressed(Deferred),
}

impl Saved {
    /// Keeps `tensor` itself, counted at `site`.
    pub(crate) fn exact(tensor: &Tensor, site: Site) -> Self {
        tensor.set_category(Category::Saved(site, SavedKind::Exact));
        Saved::Exact(tensor.clone())
    }

    fn shape(&self) -> (usize, usize) {
        match self {
            Saved::Exact(t) => (t.rows(), t.cols()),
            Saved::Compressed(c) => c.shape,
        }
    }

    fn kind(&self) -> SavedKind {
        match self {
            Saved::Exact(_) => SavedKind::Exact,
            Saved::Compressed(c) => c.kind,
        }
    }

    /// Where it is kept in a smaller form.
    fn site(&self) -> Option<Site> {
        match self {
            Saved::Exact(_) => None,
            Saved::Compressed(c) => Some(c.site),
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
