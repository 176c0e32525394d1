//! A map of rows: an expert's rows of something saved for all of them, or the rows of something saved, each times a number.

use std::ops::Range;

use crate::kernels::rows as kernel;
use crate::ledger::Category;
use crate::routing::Places;
use crate::tensor::{Memory, Tensor};

/// What the rows of something saved go through before they are used.
#[derive(Debug, Clone)]
pub(crate) enum RowMap {
    /// Only the rows of an expert.
    Picked(Places),
    /// Each times a number, m×1.
    Weighed(Tensor),
}

impl RowMap {
    /// Rows that come out.
    pub(super) fn rows(&self) -> usize {
        match self {
            RowMap::Picked(places) => places.len(),
            RowMap::Weighed(weights) => weights.rows(),
        }
    }

    /// Whether both do the same.
    pub(super) fn is_same(&self, other: &RowMap) -> bool {
        match (self, other) {
            (RowMap::Picked(a), RowMap::Picked(b)) => a.is_same(b),
            (RowMap::Weighed(a), RowMap::Weighed(b)) => a.buffer_id() == b.buffer_id(),
            _ => false,
        }
    }

    /// What d (a row for each that comes out) is for the rows that go in: dᵀ times the one is this times the other.
    pub(super) fn transposed(&self, d: &Tensor, memory: &Memory) -> Tensor {
        match self {
            RowMap::Picked(places) => {
                let mut spread = memory.zeros(places.choices.rows(), d.cols(), Category::Transient);
                if !memory.is_hollow() {
                    kernel::add(d.data(), d.cols(), places.all(), places.choices.top_k(), spread.slice_mut());
                }
                spread
            }
            RowMap::Weighed(weights) => {
                let mut weighed = d.copy(memory);
                if !memory.is_hollow() {
                    kernel::weigh(weighed.slice_mut(), d.cols(), weights.data());
                }
                weighed
            }
        }
    }

    /// Rows `rows` of those that come out, each `cols` long, by the calling thread: `fill` gives rows that go in.
    pub(super) fn fill(
        &self,
        rows: Range<usize>,
        cols: usize,
        out: &mut [f32],
        fill: impl Fn(Range<usize>, &mut [f32]),
    ) {
        match self {
            RowMap::Picked(places) => {
                for (out, &place) in out.chunks_exact_mut(cols).zip(&places.all()[rows]) {
                    let row = place as usize / places.choices.top_k();
                    fill(row..row + 1, out);
                }
            }
            RowMap::Weighed(weights) => {
                fill(rows.clone(), out);
                kernel::weigh_here(out, &weights.data()[rows]);
            }
        }
    }
}
