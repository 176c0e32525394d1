//! Nyström decomposition of a rectangular matrix from l of its columns, l of its rows, and their core block.
//!
//! With C = A[:, J] (m×l), R = A[I, :] (l×n) and W = A[I, J] = X·Σ·Yᵀ (l×l, SVD), A ≈ C·W⁺·R, truncated to rank k:
//! U = C·Y_k·Σ_k⁻¹ (m×k), V = X_kᵀ·R (k×n). No product with A at all: 2(m+n)lk operations and about 50l³ for the SVD of
//! W, one pass over A for its norm and the check for NaN. The cheapest method here and the coarsest: it reads 1/n-th
//! of the matrix per vector, its error has no bound on coherent matrices, and the inverse of W amplifies what the core misses.
//! Oversampling is what keeps it sane (W truncated away from its own smallest values); twice the rank is a good choice.
//! Neither factor is orthonormal; [`crate::Svd::of_low_rank`] makes an SVD of them. Source: Nemtsov, Averbuch, Schclar,
//! "Matrix compression using the Nyström method", Intell. Data Anal. 20 (2016), arXiv 1305.0203. Deviations: (1) random
//! rows and columns in place of their pivoted choice; (2) W is truncated to rank k, and below l·eps(f32)·σ_1.

use crate::error::Error;
use crate::gemm::Par;
use crate::low_rank::LowRank;
use crate::mat::MatRef;
use crate::norms::{squared_column_norms, squared_norm};
use crate::owned::Mat;
use crate::panels::{Panels, Shape};
use crate::pool::on_pool;
use crate::rng::Rng;
use crate::svd::small_svd;

/// How rows and columns are drawn, without replacement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Draw {
    /// All alike.
    #[default]
    Uniform,
    /// With probability proportional to their squared norm.
    NormWeighted,
}

/// How to decompose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NystromParams {
    /// Rank k; more than min(m,n) is taken as min(m,n).
    pub rank: usize,
    /// Rows and columns beyond k; default k, see the module's contract.
    pub oversampling: usize,
    /// Default uniform.
    pub draw: Draw,
    /// Names the random stream.
    pub seed: u64,
    /// Who computes.
    pub par: Par,
}

impl NystromParams {
    /// Rank `rank` from 2·`rank` rows and columns, uniform, seed 0.
    pub fn new(rank: usize) -> Self {
        Self { rank, oversampling: rank, draw: Draw::default(), seed: 0, par: Par::Rayon }
    }
}

/// Facts about a Nyström decomposition.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NystromInfo {
    /// Columns of U: k, or fewer when the core block has a lower rank.
    pub rank: usize,
    /// Rows and columns of A that were read.
    pub sampled: usize,
    /// ‖A‖ (Frobenius).
    pub norm: f64,
    /// σ_1/σ_k of the core block: what errors are amplified by, at worst. The residual is not known without a pass over A
    /// ([`LowRank::relative_error`]).
    pub core_condition: f64,
}

/// Decomposes `a` (m×n); see the module's contract.
///
/// # Errors
/// [`Error::NonFinite`] if an element is NaN or infinite, [`Error::ZeroRank`].
pub fn nystrom(a: MatRef<'_>, params: &NystromParams) -> Result<(LowRank, NystromInfo), Error> {
    on_pool(params.par, || decompose(a, params))
}

fn decompose(a: MatRef<'_>, params: &NystromParams) -> Result<(LowRank, NystromInfo), Error> {
    let (m, n, par) = (a.rows(), a.cols(), params.par);
    if params.rank == 0 {
        return Err(Error::ZeroRank { rows: m, cols: n });
    }
    let rank = params.rank.min(m).min(n);
    let sampled = params.rank.saturating_add(params.oversampling).min(m).min(n);
    let energy;
    let (rows, cols) = match params.draw {
        Draw::Uniform => {
            energy = squared_norm(a, par)?;
            (Rng::new(&[params.seed, 0]).sample(m, sampled), Rng::new(&[params.seed, 1]).sample(n, sampled))
        }
        Draw::NormWeighted => {
            let norms = squared_column_norms(a, par)?;
            energy = norms.iter().sum();
            let row_norms = squared_column_norms(a.t(), par)?;
            let mut rows = Rng::new(&[params.seed, 0]).weighted_order(&row_norms);
            let mut cols = Rng::new(&[params.seed, 1]).weighted_order(&norms);
            rows.truncate(sampled);
            cols.truncate(sampled);
            (rows, cols)
        }
    };
    let core = Mat::from_fn(sampled, sampled, |i, j| f64::from(a.get(rows[i], cols[j])));
    let (x, mut s, y) = small_svd(&core, sampled as f64 * f64::from(f32::EPSILON));
    s.truncate(rank);
    let y = Mat::from_fn(sampled, s.len(), |i, j| y[(i, j)] / s[j]);
    let x = Mat::from_fn(sampled, s.len(), |i, j| x[(i, j)]);
    let u = Panels::new(par).times(a, &cols, &y, Shape::Full);
    let v = Panels::new(par).times(a.t(), &rows, &x, Shape::Full).transposed(par);
    let core_condition = s.last().map_or(1.0, |last| s[0] / last);
    Ok((LowRank::new(u, v), NystromInfo { rank: s.len(), sampled, norm: energy.sqrt(), core_condition }))
}
