//! A matrix held as factors U (m×k) and V (k×n), and products with it that never rebuild it.

use std::ops::Range;

use crate::gemm::{Accum, Par, matmul};
use crate::mat::{Mat, MatMut, MatRef};

/// U·V, m×n of rank at most k.
#[derive(Debug, Clone, PartialEq)]
pub struct LowRank {
    u: Mat,
    v: Mat,
}

impl LowRank {
    /// From its factors.
    ///
    /// # Panics
    /// If U's columns are not V's rows in number.
    pub fn new(u: Mat, v: Mat) -> Self {
        assert_eq!(u.cols(), v.rows(), "factors {}x{} and {}x{}", u.rows(), u.cols(), v.rows(), v.cols());
        Self { u, v }
    }

    /// U, m×k.
    pub fn u(&self) -> &Mat {
        &self.u
    }
    /// V, k×n.
    pub fn v(&self) -> &Mat {
        &self.v
    }
    /// m.
    pub fn rows(&self) -> usize {
        self.u.rows()
    }
    /// n.
    pub fn cols(&self) -> usize {
        self.v.cols()
    }
    /// k.
    pub fn rank(&self) -> usize {
        self.u.cols()
    }

    /// Bytes of both factors: 4·k·(m+n).
    pub fn size_bytes(&self) -> usize {
        self.u.size_bytes() + self.v.size_bytes()
    }

    /// U·(V·b), m×p for b n×p; 2kp(m+n) operations.
    pub fn mul(&self, b: MatRef<'_>, par: Par) -> Mat {
        chain(self.u.view(), self.v.view(), b, par)
    }

    /// Vᵀ·(Uᵀ·d), n×p for d m×p; 2kp(m+n) operations.
    pub fn transpose_mul(&self, d: MatRef<'_>, par: Par) -> Mat {
        chain(self.v.view().t(), self.u.view().t(), d, par)
    }

    /// dᵀ·(U·V), p×n for d m×p, added to or written over `out`: the transpose of [`LowRank::transpose_mul`], in place.
    pub fn left_mul(&self, d: MatRef<'_>, out: MatMut<'_>, accum: Accum, par: Par) {
        let mut inner = Mat::zeros(d.cols(), self.rank());
        matmul(inner.view_mut(), Accum::Replace, d.t(), self.u.view(), 1.0, par);
        matmul(out, accum, inner.view(), self.v.view(), 1.0, par);
    }

    /// Rows `rows` of U·V into `out` (rows.len()×n); 2kn a row.
    pub fn row_tile(&self, rows: Range<usize>, out: MatMut<'_>, par: Par) {
        matmul(out, Accum::Replace, self.u.view().row_range(rows), self.v.view(), 1.0, par);
    }

    /// U·V, m×n; 2mnk operations.
    pub fn to_dense(&self) -> Mat {
        let mut out = Mat::zeros(self.rows(), self.cols());
        self.row_tile(0..self.rows(), out.view_mut(), Par::Rayon);
        out
    }
}

/// a·(b·c).
fn chain(a: MatRef<'_>, b: MatRef<'_>, c: MatRef<'_>, par: Par) -> Mat {
    let mut inner = Mat::zeros(b.rows(), c.cols());
    matmul(inner.view_mut(), Accum::Replace, b, c, 1.0, par);
    let mut outer = Mat::zeros(a.rows(), c.cols());
    matmul(outer.view_mut(), Accum::Replace, a, inner.view(), 1.0, par);
    outer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;

    /// Every fast path against the dense matrix.
    #[test]
    fn products_and_tiles_equal_those_of_the_dense_matrix() {
        let mut rng = Rng::new(&[9]);
        for (m, n, k) in [(30, 20, 4), (7, 50, 1), (12, 12, 0)] {
            let f = LowRank::new(Mat::from_fn(m, k, |_, _| rng.normal()), Mat::from_fn(k, n, |_, _| rng.normal()));
            let dense = Mat::from_fn(m, n, |i, j| (0..k).map(|p| f.u()[(i, p)] * f.v()[(p, j)]).sum());
            let close = |x: &Mat, y: &Mat| {
                assert_eq!((x.rows(), x.cols()), (y.rows(), y.cols()));
                for (a, b) in x.data().iter().zip(y.data()) {
                    assert!((a - b).abs() <= 1e-4, "{m}x{n} k={k}: {a} {b}");
                }
            };
            close(&f.to_dense(), &dense);
            let b = Mat::from_fn(n, 3, |_, _| rng.normal());
            close(&f.mul(b.view(), Par::Rayon), &naive(dense.view(), b.view()));
            let d = Mat::from_fn(m, 5, |_, _| rng.normal());
            close(&f.transpose_mul(d.view(), Par::Serial), &naive(dense.view().t(), d.view()));
            let mut left = Mat::zeros(5, n);
            f.left_mul(d.view(), left.view_mut(), Accum::Add, Par::Serial);
            close(&left, &naive(d.view().t(), dense.view()));
            let mut tile = Mat::zeros(3, n);
            f.row_tile(2..5, tile.view_mut(), Par::Serial);
            close(&tile, &Mat::from_fn(3, n, |i, j| dense[(i + 2, j)]));
            assert_eq!(f.size_bytes(), 4 * k * (m + n));
        }
    }

    fn naive(a: MatRef<'_>, b: MatRef<'_>) -> Mat {
        Mat::from_fn(a.rows(), b.cols(), |i, j| (0..a.cols()).map(|p| a.get(i, p) * b.get(p, j)).sum())
    }
}
