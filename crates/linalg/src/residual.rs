//! Estimates of ‖A − U·V‖ / ‖A‖ that form no difference, and when they can be trusted; and the measured one.
//!
//! With an orthonormal basis Q and B = A·Q, ‖A − B·Qᵀ‖² = ‖A‖² − ‖B‖²: free, since both norms are at hand. The
//! subtraction cancels: B is a product in f32, so its square is known to a few eps (f32) of ‖A‖² and no better. Below a
//! relative residual of √(4·`CANCELLATION`) ≈ 1.4e-3 the estimate can be off by more than an eighth, and is marked as not
//! trustworthy: read it as "below about 1.4e-3" then. [`crate::LowRank::relative_error`] has the same limit,
//! [`crate::LowRank::measured_error`] has none but pays a product.

use crate::gemm::{Accum, Par, matmul};
use crate::mat::MatRef;
use crate::norms::{CHUNK, row_square};
use crate::owned::Mat;
use crate::pool::for_each;

/// What rounding can do to ‖A‖² − ‖B‖², relative to ‖A‖²: four eps of f32.
pub(crate) const CANCELLATION: f64 = 4.0 * f32::EPSILON as f64;

/// A relative Frobenius residual, ‖A − U·V‖ / ‖A‖.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Residual {
    /// The residual; 0 where cancellation left a negative square.
    pub relative: f64,
    /// Whether `relative` is right to within an eighth. If not, all that is known is that it lies below about 1.4e-3.
    pub trustworthy: bool,
}

impl Residual {
    /// From a square found without cancellation.
    pub(crate) fn exactly(square: f64) -> Self {
        Self { relative: square.max(0.0).sqrt(), trustworthy: true }
    }

    /// From a square that is a difference of numbers near 1.
    pub(crate) fn from_cancelled(square: f64) -> Self {
        Self { relative: square.max(0.0).sqrt(), trustworthy: square >= 4.0 * CANCELLATION }
    }
}

/// ‖A − U·V‖², a tile of rows at a time: a product of 2mnk operations, a tile of 64×n f32 a thread as scratch.
pub(crate) fn squared_distance(a: MatRef<'_>, u: MatRef<'_>, v: MatRef<'_>, par: Par) -> f64 {
    // Tiles run along whichever side of A lies side by side in memory.
    let (a, u, v) = if a.col_stride() == 1 || a.row_stride() != 1 { (a, u, v) } else { (a.t(), v.t(), u.t()) };
    let mut sums = vec![0.0f64; a.rows().div_ceil(CHUNK)];
    for_each(par, sums.iter_mut().collect(), |c, sum| {
        let rows = c * CHUNK..((c + 1) * CHUNK).min(a.rows());
        let mut tile = Mat::zeros(rows.len(), a.cols());
        matmul(tile.view_mut(), Accum::Replace, u.row_range(rows.clone()), v, 1.0, Par::Serial);
        for (i, row) in rows.zip(tile.data_mut().chunks_exact_mut(a.cols().max(1))) {
            row.iter_mut().enumerate().for_each(|(j, x)| *x = a.get(i, j) - *x);
        }
        *sum = (0..tile.rows()).map(|i| row_square(tile.view(), i)).sum();
    });
    sums.iter().sum()
}
