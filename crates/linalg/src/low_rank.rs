//! A matrix held as factors U (m×k) and V (k×n), in f32 or bf16, and products with it that never rebuild it.
//!
//! Every product is two thin ones, 2kp(m+n) operations for p vectors, in f32; bf16 factors are widened a panel of
//! `PANEL` rows at a time. bf16 halves the bytes and keeps 8 bits: each factor is off by up to 2⁻⁹ of its elements, so
//! an error of about 2e-3 comes on top of that of the rank.

use std::ops::Range;

use half::bf16;

use crate::error::Error;
use crate::gemm::{Accum, Par, matmul};
use crate::mat::{MatMut, MatRef};
use crate::norms::squared_norm;
use crate::owned::Mat;
use crate::panels::Panels;
use crate::residual::{Residual, squared_distance};

/// Rows of a bf16 factor that are widened together.
const PANEL: usize = 64;

/// Element types that factors are stored in.
pub trait Storage: Copy + Default + Send + Sync + Into<f64> + 'static {
    /// The nearest number of this type (ties to even).
    fn round(x: f32) -> Self;
    /// The same number.
    fn widen(self) -> f32;
    /// The same matrix, if it needs no widening.
    fn as_f32(stored: MatRef<'_, Self>) -> Option<MatRef<'_>>;
}

impl Storage for f32 {
    fn round(x: f32) -> Self {
        x
    }
    fn widen(self) -> f32 {
        self
    }
    fn as_f32(stored: MatRef<'_, Self>) -> Option<MatRef<'_>> {
        Some(stored)
    }
}

impl Storage for bf16 {
    fn round(x: f32) -> Self {
        bf16::from_f32(x)
    }
    fn widen(self) -> f32 {
        self.to_f32()
    }
    fn as_f32(_: MatRef<'_, Self>) -> Option<MatRef<'_>> {
        None
    }
}

/// U·V, m×n of rank at most k.
#[derive(Debug, Clone, PartialEq)]
pub struct LowRank<T = f32> {
    u: Mat<T>,
    v: Mat<T>,
}

impl<T> LowRank<T> {
    /// From its factors.
    ///
    /// # Panics
    /// If U's columns are not V's rows in number.
    pub fn new(u: Mat<T>, v: Mat<T>) -> Self {
        assert_eq!(u.cols(), v.rows(), "factors {}x{} and {}x{}", u.rows(), u.cols(), v.rows(), v.cols());
        Self { u, v }
    }

    /// U, m×k.
    pub fn u(&self) -> &Mat<T> {
        &self.u
    }
    /// V, k×n.
    pub fn v(&self) -> &Mat<T> {
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

    /// Bytes of both factors: 4·k·(m+n) in f32, 2·k·(m+n) in bf16.
    pub fn size_bytes(&self) -> usize {
        self.u.size_bytes() + self.v.size_bytes()
    }
}

impl LowRank {
    /// The same, its factors rounded to bf16.
    pub fn to_bf16(&self) -> LowRank<bf16> {
        let round = |a: &Mat| Mat::from_fn(a.rows(), a.cols(), |i, j| bf16::round(a[(i, j)]));
        LowRank::new(round(&self.u), round(&self.v))
    }
}

impl<T: Storage> LowRank<T> {
    /// U·(V·b), m×p for b n×p; 2kp(m+n) operations.
    pub fn mul(&self, b: MatRef<'_>, par: Par) -> Mat {
        let mut inner = Mat::zeros(self.rank(), b.cols());
        times(inner.view_mut(), Accum::Replace, self.v.view(), b, par);
        let mut out = Mat::zeros(self.rows(), b.cols());
        times(out.view_mut(), Accum::Replace, self.u.view(), inner.view(), par);
        out
    }

    /// Vᵀ·(Uᵀ·d), n×p for d m×p; 2kp(m+n) operations.
    pub fn transpose_mul(&self, d: MatRef<'_>, par: Par) -> Mat {
        let mut inner = Mat::zeros(self.rank(), d.cols());
        transpose_times(inner.view_mut(), Accum::Replace, self.u.view(), d, par);
        let mut out = Mat::zeros(self.cols(), d.cols());
        transpose_times(out.view_mut(), Accum::Replace, self.v.view(), inner.view(), par);
        out
    }

    /// dᵀ·(U·V), p×n for d m×p, added to or written over `out`: the transpose of [`LowRank::transpose_mul`], in place.
    pub fn left_mul(&self, d: MatRef<'_>, out: MatMut<'_>, accum: Accum, par: Par) {
        let mut inner = Mat::zeros(d.cols(), self.rank());
        transpose_times(inner.view_mut().t(), Accum::Replace, self.u.view(), d, par);
        transpose_times(out.t(), accum, self.v.view(), inner.view().t(), par);
    }

    /// Rows `rows` of U·V into `out` (rows.len()×n); 2kn a row.
    pub fn row_tile(&self, rows: Range<usize>, out: MatMut<'_>, par: Par) {
        let tile = self.u.view().row_range(rows);
        match T::as_f32(tile) {
            Some(tile) => transpose_times(out.t(), Accum::Replace, self.v.view(), tile.t(), par),
            None => transpose_times(out.t(), Accum::Replace, self.v.view(), widened(tile).view().t(), par),
        }
    }

    /// U·V, m×n; 2mnk operations.
    pub fn to_dense(&self) -> Mat {
        let mut out = Mat::zeros(self.rows(), self.cols());
        self.row_tile(0..self.rows(), out.view_mut(), Par::Rayon);
        out
    }

    /// ‖A − U·V‖ / ‖A‖ as √(‖A‖² − 2⟨A, U·V⟩ + ‖U·V‖²)/‖A‖: one product of 2mnk, ⟨A, U·V⟩ = ⟨A·Vᵀ, U⟩, and two k×k Gram
    /// matrices, in f64 but for the product. Cancels: not trustworthy below about 1.4e-3 ([`Residual`]); use
    /// [`LowRank::measured_error`] there. 0 if both are zero, infinite if only A is.
    ///
    /// # Errors
    /// [`Error::NonFinite`] if an element of A is.
    ///
    /// # Panics
    /// If the shapes differ.
    pub fn relative_error(&self, a: MatRef<'_>, par: Par) -> Result<Residual, Error> {
        let energy = self.energy_of(a, par)?;
        let mut projected = Mat::zeros(self.rank(), a.rows());
        times(projected.view_mut(), Accum::Replace, self.v.view(), a.t(), par);
        let mut cross = 0.0;
        for (i, row) in self.u.data().chunks_exact(self.rank().max(1)).enumerate() {
            cross += row.iter().enumerate().map(|(p, &x)| x.into() * f64::from(projected[(p, i)])).sum::<f64>();
        }
        let (left, right) = (Panels::new(par).gram(self.u.view()), Panels::new(par).gram(self.v.view().t()));
        let mut own = 0.0;
        for i in 0..self.rank() {
            own += left[(i, i)] * right[(i, i)];
            own += (i + 1..self.rank()).map(|j| 2.0 * left[(i, j)] * right[(i, j)]).sum::<f64>();
        }
        Ok(match energy > 0.0 {
            true => {
                let square = (energy - 2.0 * cross + own) / energy;
                // Factors larger than A (a bad approximation) cancel more.
                let magnitude = 1.0f64.max(own / energy);
                Residual {
                    trustworthy: Residual::from_cancelled(square / magnitude).trustworthy,
                    ..Residual::exactly(square)
                }
            }
            false => Residual::exactly(if own > 0.0 { f64::INFINITY } else { 0.0 }),
        })
    }

    /// ‖A − U·V‖ / ‖A‖ from the difference itself, a tile of rows at a time: 2mnk operations and a tile a thread; right
    /// down to the rounding of f32, about 1e-7. 0 if both are zero, infinite if only A is.
    ///
    /// # Errors
    /// [`Error::NonFinite`] if an element of A is.
    ///
    /// # Panics
    /// If the shapes differ.
    pub fn measured_error(&self, a: MatRef<'_>, par: Par) -> Result<f64, Error> {
        let energy = self.energy_of(a, par)?;
        let square = match (T::as_f32(self.u.view()), T::as_f32(self.v.view())) {
            (Some(u), Some(v)) => squared_distance(a, u, v, par),
            _ => squared_distance(a, widened(self.u.view()).view(), widened(self.v.view()).view(), par),
        };
        Ok(if square > 0.0 { (square / energy).sqrt() } else { 0.0 })
    }

    fn energy_of(&self, a: MatRef<'_>, par: Par) -> Result<f64, Error> {
        let (m, n) = (self.rows(), self.cols());
        assert!(a.rows() == m && a.cols() == n, "{m}x{n} factors against a {}x{} matrix", a.rows(), a.cols());
        squared_norm(a, par)
    }
}

fn widened<T: Storage>(a: MatRef<'_, T>) -> Mat {
    Mat::from_fn(a.rows(), a.cols(), |i, j| a.get(i, j).widen())
}

/// Calls `f(first row, panel)` for the panels of `stored`, widened.
fn each_panel<T: Storage>(stored: MatRef<'_, T>, mut f: impl FnMut(usize, MatRef<'_>)) {
    for start in (0..stored.rows()).step_by(PANEL) {
        let panel = widened(stored.row_range(start..(start + PANEL).min(stored.rows())));
        f(start, panel.view());
    }
}

/// `dst = stored·rhs`.
fn times<T: Storage>(mut dst: MatMut<'_>, accum: Accum, stored: MatRef<'_, T>, rhs: MatRef<'_>, par: Par) {
    match T::as_f32(stored) {
        Some(lhs) => matmul(dst, accum, lhs, rhs, 1.0, par),
        None => each_panel(stored, |start, panel| {
            matmul(dst.rows_mut(start..start + panel.rows()), accum, panel, rhs, 1.0, par);
        }),
    }
}

/// `dst = storedᵀ·rhs`.
fn transpose_times<T: Storage>(mut dst: MatMut<'_>, accum: Accum, stored: MatRef<'_, T>, rhs: MatRef<'_>, par: Par) {
    match T::as_f32(stored) {
        Some(lhs) => matmul(dst, accum, lhs.t(), rhs, 1.0, par),
        None => {
            if accum == Accum::Replace {
                dst.fill(0.0);
            }
            let all = 0..dst.rows();
            each_panel(stored, |start, panel| {
                let rhs = rhs.row_range(start..start + panel.rows());
                matmul(dst.rows_mut(all.clone()), Accum::Add, panel.t(), rhs, 1.0, par);
            });
        }
    }
}
