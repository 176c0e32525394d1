//! An owned row-major matrix.

use std::ops::{Index, IndexMut};

use crate::gemm::Par;
use crate::mat::{MatMut, MatRef};
use crate::pool::for_each;

/// An owned rows×cols matrix, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Mat<T = f32> {
    data: Vec<T>,
    rows: usize,
    cols: usize,
}

impl<T: Copy + Default> Mat<T> {
    /// All zeros.
    pub fn zeros(rows: usize, cols: usize) -> Self {
        Self { data: vec![T::default(); rows * cols], rows, cols }
    }
}

impl<T: Copy + Default> Mat<T> {
    /// The columns of `left`, then those of `right`.
    pub(crate) fn beside(left: &Self, right: &Self) -> Self {
        assert_eq!(left.rows, right.rows);
        let mut out = Self::zeros(left.rows, left.cols + right.cols);
        if out.cols > 0 {
            for (i, row) in out.data.chunks_exact_mut(left.cols + right.cols).enumerate() {
                row[..left.cols].copy_from_slice(&left.data[i * left.cols..(i + 1) * left.cols]);
                row[left.cols..].copy_from_slice(&right.data[i * right.cols..(i + 1) * right.cols]);
            }
        }
        out
    }
}

impl<T: Copy + Default> Mat<T> {
    /// A copy of the transpose, by tiles that fit the cache.
    pub(crate) fn transposed(&self, par: Par) -> Self
    where
        T: Send + Sync,
    {
        const TILE: usize = 16;
        const SERIAL_BELOW: usize = 1 << 17;
        let mut out = Self::zeros(self.cols, self.rows);
        let par = if self.data.len() < SERIAL_BELOW { Par::Serial } else { par };
        for_each(par, out.data.chunks_mut((TILE * self.rows).max(1)).collect(), |t, chunk| {
            for i0 in (0..self.rows).step_by(TILE) {
                for (j, row) in chunk.chunks_exact_mut(self.rows).enumerate() {
                    for (i, x) in (i0..self.rows).zip(&mut row[i0..(i0 + TILE).min(self.rows)]) {
                        *x = self.data[i * self.cols + t * TILE + j];
                    }
                }
            }
        });
        out
    }
}

impl<T> Mat<T> {
    /// Element (i, j) is `f(i, j)`.
    pub fn from_fn(rows: usize, cols: usize, mut f: impl FnMut(usize, usize) -> T) -> Self {
        let mut data = Vec::with_capacity(rows * cols);
        for i in 0..rows {
            data.extend((0..cols).map(|j| f(i, j)));
        }
        Self { data, rows, cols }
    }
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }
    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }
    /// All elements, row after row.
    pub fn data(&self) -> &[T] {
        &self.data
    }
    /// All elements, row after row.
    pub fn data_mut(&mut self) -> &mut [T] {
        &mut self.data
    }
    /// All elements, row after row.
    pub fn into_data(self) -> Vec<T> {
        self.data
    }
    /// A view.
    pub fn view(&self) -> MatRef<'_, T> {
        MatRef::row_major(&self.data, self.rows, self.cols)
    }
    /// A writable view.
    pub fn view_mut(&mut self) -> MatMut<'_, T> {
        MatMut::row_major(&mut self.data, self.rows, self.cols)
    }
    /// From its elements, row after row.
    ///
    /// # Panics
    /// If their number is not rows·cols.
    pub fn from_vec(data: Vec<T>, rows: usize, cols: usize) -> Self {
        assert_eq!(data.len(), rows * cols, "elements of a {rows}x{cols} matrix");
        Self { data, rows, cols }
    }
    /// Puts the rows of `below` under its own.
    pub(crate) fn append_rows(&mut self, below: Self) {
        assert_eq!(below.cols, self.cols);
        self.data.reserve_exact(below.data.len());
        self.data.extend(below.data);
        self.rows += below.rows;
    }
    /// Keeps the first `rows` rows.
    pub(crate) fn truncate_rows(&mut self, rows: usize) {
        self.data.truncate(rows * self.cols);
        self.rows = self.rows.min(rows);
    }
    /// Bytes of the elements.
    pub fn size_bytes(&self) -> usize {
        self.data.len() * size_of::<T>()
    }
}

impl<T> Index<(usize, usize)> for Mat<T> {
    type Output = T;
    fn index(&self, (i, j): (usize, usize)) -> &T {
        assert!(j < self.cols);
        &self.data[i * self.cols + j]
    }
}

impl<T> IndexMut<(usize, usize)> for Mat<T> {
    fn index_mut(&mut self, (i, j): (usize, usize)) -> &mut T {
        assert!(j < self.cols);
        &mut self.data[i * self.cols + j]
    }
}
