//! Strided views of matrices.

use std::ops::Range;

/// A read-only view of a rows×cols matrix over a slice, with any two strides.
#[derive(Debug, Clone, Copy)]
pub struct MatRef<'a, T = f32> {
    data: &'a [T],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

/// A writable view of a rows×cols matrix over a slice, with any two strides.
#[derive(Debug)]
pub struct MatMut<'a, T = f32> {
    data: &'a mut [T],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

/// Elements a view of this shape reaches over.
fn extent(rows: usize, cols: usize, row_stride: usize, col_stride: usize) -> usize {
    if rows == 0 || cols == 0 { 0 } else { (rows - 1) * row_stride + (cols - 1) * col_stride + 1 }
}

impl<'a, T> MatRef<'a, T> {
    /// A rows×cols matrix stored row after row.
    ///
    /// # Panics
    /// If `data` is shorter than rows·cols.
    pub fn row_major(data: &'a [T], rows: usize, cols: usize) -> Self {
        Self::with_strides(data, rows, cols, cols, 1)
    }

    /// A view in which element (i, j) is `data[i·row_stride + j·col_stride]`.
    ///
    /// # Panics
    /// If the last element lies outside `data`.
    pub fn with_strides(data: &'a [T], rows: usize, cols: usize, row_stride: usize, col_stride: usize) -> Self {
        let need = extent(rows, cols, row_stride, col_stride);
        assert!(need <= data.len(), "a {rows}x{cols} view reaches over {need} elements, the slice has {}", data.len());
        Self { data, rows, cols, row_stride, col_stride }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }
    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }
    /// Distance between (i, j) and (i+1, j).
    pub fn row_stride(&self) -> usize {
        self.row_stride
    }
    /// Distance between (i, j) and (i, j+1).
    pub fn col_stride(&self) -> usize {
        self.col_stride
    }
    /// The slice below the view, from element (0, 0).
    pub fn data(&self) -> &'a [T] {
        self.data
    }

    /// The transpose; nothing moves.
    pub fn t(self) -> Self {
        Self {
            data: self.data,
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
        }
    }

    /// The rows of `range`.
    pub fn row_range(self, range: Range<usize>) -> Self {
        assert!(range.end <= self.rows, "rows {range:?} of {}", self.rows);
        let start = if range.is_empty() || self.cols == 0 { 0 } else { range.start * self.row_stride };
        Self::with_strides(&self.data[start..], range.len(), self.cols, self.row_stride, self.col_stride)
    }

    /// The columns of `range`.
    pub fn col_range(self, range: Range<usize>) -> Self {
        self.t().row_range(range).t()
    }

    /// Row `i` as a slice, if its elements lie side by side.
    pub fn row(&self, i: usize) -> Option<&'a [T]> {
        (self.col_stride == 1).then(|| &self.data[i * self.row_stride..i * self.row_stride + self.cols])
    }
}

impl<T: Copy> MatRef<'_, T> {
    /// Element (i, j).
    #[inline]
    pub fn get(&self, i: usize, j: usize) -> T {
        debug_assert!(i < self.rows && j < self.cols);
        self.data[i * self.row_stride + j * self.col_stride]
    }
}

impl<'a, T> MatMut<'a, T> {
    /// A rows×cols matrix stored row after row.
    ///
    /// # Panics
    /// If `data` is shorter than rows·cols.
    pub fn row_major(data: &'a mut [T], rows: usize, cols: usize) -> Self {
        Self::with_strides(data, rows, cols, cols, 1)
    }

    /// A view in which element (i, j) is `data[i·row_stride + j·col_stride]`.
    ///
    /// # Panics
    /// If the last element lies outside `data`, or if two elements share a place.
    pub fn with_strides(data: &'a mut [T], rows: usize, cols: usize, row_stride: usize, col_stride: usize) -> Self {
        let need = extent(rows, cols, row_stride, col_stride);
        assert!(need <= data.len(), "a {rows}x{cols} view reaches over {need} elements, the slice has {}", data.len());
        let apart = rows <= 1 || cols <= 1 || row_stride >= cols * col_stride || col_stride >= rows * row_stride;
        assert!(apart, "overlapping strides {row_stride}, {col_stride} for a writable {rows}x{cols} view");
        Self { data, rows, cols, row_stride, col_stride }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }
    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }
    /// Distance between (i, j) and (i+1, j).
    pub fn row_stride(&self) -> usize {
        self.row_stride
    }
    /// Distance between (i, j) and (i, j+1).
    pub fn col_stride(&self) -> usize {
        self.col_stride
    }
    /// The slice below the view, from element (0, 0).
    pub fn data_mut(&mut self) -> &mut [T] {
        self.data
    }
    /// The rows of `range`, to write, while the rest waits.
    pub fn rows_mut(&mut self, range: Range<usize>) -> MatMut<'_, T> {
        assert!(range.end <= self.rows, "rows {range:?} of {}", self.rows);
        let start = if range.is_empty() || self.cols == 0 { 0 } else { range.start * self.row_stride };
        MatMut {
            data: &mut self.data[start..],
            rows: range.len(),
            cols: self.cols,
            row_stride: self.row_stride,
            col_stride: self.col_stride,
        }
    }
    /// Sets every element of the view (and nothing between its rows).
    pub fn fill(&mut self, value: T)
    where
        T: Copy,
    {
        for i in 0..self.rows {
            for j in 0..self.cols {
                self.data[i * self.row_stride + j * self.col_stride] = value;
            }
        }
    }
    /// The same matrix, to read.
    pub fn as_ref(&self) -> MatRef<'_, T> {
        MatRef {
            data: self.data,
            rows: self.rows,
            cols: self.cols,
            row_stride: self.row_stride,
            col_stride: self.col_stride,
        }
    }
    /// The transpose; nothing moves.
    pub fn t(self) -> Self {
        Self {
            data: self.data,
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Mat;

    #[test]
    fn views_of_views_address_the_same_elements() {
        let a = Mat::from_fn(5, 7, |i, j| 10 * i + j);
        let v = a.view().row_range(1..4).col_range(2..6).t();
        assert_eq!((v.rows(), v.cols()), (4, 3));
        assert_eq!(v.get(3, 2), 35);
        assert_eq!(a.view().row(2).map(|r| r[6]), Some(26));
        assert_eq!(a.view().t().row(2), None);
        assert_eq!(a.view().row_range(5..5).rows(), 0);
    }

    #[test]
    #[should_panic(expected = "overlapping strides")]
    fn overlapping_writable_view_is_refused() {
        MatMut::with_strides(&mut [0.0f32; 10], 3, 3, 1, 1);
    }
}
