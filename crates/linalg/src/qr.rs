//! Thin QR with column pivoting, `A[:, order] = Q·R`, through [`crate::orthonormal_basis`].
//!
//! Q is the basis of the columns; R = Qᵀ·A in f64, of which the upper trapezoid is kept: what is below it is rounding, as
//! column `order[j]` lies in the span of the first j+1 columns of Q. The pivots of a matrix that one pass resolves are those
//! of its columns *scaled to unit norm*, so |R_jj| need not descend. Cost for m×n: that of the basis and 2mn² in f64;
//! scratch likewise. It wins over Householder QR by speed; for singular values of a badly scaled matrix use
//! [`crate::SvdMethod::Direct`]. Source: as for the basis. Deviation: dependent columns are dropped from Q, so its width
//! is the rank.

use crate::error::Error;
use crate::gemm::Par;
use crate::mat::MatRef;
use crate::norms::squared_norm;
use crate::orth::{Basis, basis};
use crate::owned::Mat;
use crate::panels::Panels;
use crate::pool::on_pool;

/// `A[:, order] = Q·R`.
#[derive(Debug, Clone, PartialEq)]
pub struct Qr {
    /// m×rank, orthonormal columns.
    pub q: Mat,
    /// rank×n, zero below the diagonal.
    pub r: Mat,
    /// Column j of R is column `order[j]` of A.
    pub order: Vec<usize>,
}

/// Thin QR of `a` (m×n), rank ≤ min(m, n); see the module's contract.
///
/// # Errors
/// [`Error::NonFinite`] if an element is NaN or infinite.
pub fn thin_qr(a: MatRef<'_>, par: Par) -> Result<Qr, Error> {
    squared_norm(a, par)?;
    let Basis { q, mut order } = on_pool(par, || basis(a, par));
    let mut used = vec![false; a.cols()];
    order.iter().for_each(|&j| used[j] = true);
    order.extend((0..a.cols()).filter(|&j| !used[j]));
    let projected = Panels::new(par).inner(q.view(), a);
    let r = Mat::from_fn(q.cols(), a.cols(), |i, j| if j < i { 0.0 } else { projected[(i, order[j])] as f32 });
    Ok(Qr { q, r, order })
}
