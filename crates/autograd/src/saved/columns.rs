//! A map of columns, X ↦ X·diag(scale) + 1·shiftᵀ: how what a norm outputs is had from the x̂ that it saved.

use crate::kernels::elementwise;
use crate::tensor::Tensor;
use loract_linalg::with_buffer;

/// Scale and shift, each 1×n if given. (Those of a norm may be shorter: the same for each group of a row's features.)
#[derive(Debug, Clone, Default)]
pub(crate) struct ColumnMap {
    /// None: ones.
    pub scale: Option<Tensor>,
    /// None: zeros.
    pub shift: Option<Tensor>,
}

impl ColumnMap {
    /// The scale's numbers.
    pub(crate) fn scale(&self) -> Option<&[f32]> {
        self.scale.as_ref().map(Tensor::data)
    }

    /// The shift's numbers.
    pub(crate) fn shift(&self) -> Option<&[f32]> {
        self.shift.as_ref().map(Tensor::data)
    }

    /// Whether it changes nothing.
    pub(crate) fn is_identity(&self) -> bool {
        self.scale.is_none() && self.shift.is_none()
    }

    /// Whether both do the same.
    pub(super) fn is_same(&self, other: &ColumnMap) -> bool {
        let ids = |map: &ColumnMap| [&map.scale, &map.shift].map(|t| t.as_ref().map(Tensor::buffer_id));
        ids(self) == ids(other)
    }

    /// Whether there is a number for each of a row's n columns.
    pub(super) fn covers(&self, n: usize) -> bool {
        [&self.scale, &self.shift].into_iter().flatten().all(|numbers| numbers.cols() == n)
    }

    /// Rows in place, on all threads.
    pub(crate) fn apply(&self, rows: &mut [f32]) {
        elementwise::map_columns(rows, self.scale(), self.shift());
    }

    /// Rows in place, by the calling thread.
    pub(super) fn apply_here(&self, rows: &mut [f32]) {
        elementwise::map_rows_here(rows, self.scale(), self.shift());
    }

    /// `product` = dᵀ·X (p×n, for d m×p) becomes dᵀ times what X is mapped to: (dᵀ·X)·diag(scale) + (dᵀ·1)·shift.
    pub(super) fn apply_to_product(&self, d: &Tensor, product: &mut [f32]) {
        if let Some(scale) = self.scale() {
            elementwise::scale_columns(product, scale);
        }
        if let Some(shift) = self.shift() {
            with_buffer(d.cols(), |sums| {
                sums.fill(0.0);
                elementwise::add_column_sums(d.data(), sums);
                elementwise::add_outer(product, sums, shift);
            });
        }
    }

    /// U (m×k) and V (k×n), each with room for one more, the k-th column and row, become the factors of what U·V is mapped
    /// to: \[U 1\] and \[V·diag(scale); shift\]. Without a shift there is no such room, and k stays.
    pub(super) fn apply_to_factors(&self, u: &mut Tensor, v: &mut Tensor) {
        let (cols, spare) = (v.cols(), usize::from(self.shift.is_some()));
        let rank = v.rows() - spare;
        let (kept, last) = v.slice_mut().split_at_mut(rank * cols);
        if let Some(scale) = self.scale() {
            elementwise::scale_columns(kept, scale);
        }
        if let Some(shift) = self.shift() {
            last.copy_from_slice(shift);
            elementwise::append_ones(u.slice_mut(), rank);
        }
    }
}
