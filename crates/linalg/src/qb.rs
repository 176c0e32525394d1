//! The sampling-based orthogonal decomposition: A ≈ U·V with orthonormal V ([`crate::Side::Right`]) or orthonormal U
//! ([`crate::Side::Left`]); its Gaussian rival; at a fixed rank, to a tolerance, or from the basis of a step before.
//!
//! For a right basis of A (m×n), with l = k + oversampling vectors:
//! 1. sketch ([`crate::TestMatrix`]): Y is n×l; `power_passes` times Y ← Aᵀ·(A·orth(Y)), for spectra that decay slowly;
//! 2. Q = orthonormal basis of Y, in f64 ([`crate::orthonormal_basis`]); B = A·Q;
//! 3. l = k: U = B, V = Qᵀ. More than that: W = the k leading eigenvectors of BᵀB (l×l), U = B·W, V = (Q·W)ᵀ, the best
//!    rank k within the basis.
//!
//! A left basis is that of the transpose. With a tolerance the basis grows block by block until ‖A − U·V‖ ≤ tolerance·‖A‖
//! and is then cut, as in 3, to the least rank that meets it.
//!
//! Cost: (2 + 2·power_passes) products of 2mnl and one orthonormalisation; k(m+n) numbers are kept; scratch
//! [`crate::qb_scratch_bytes`]. No copy of A is made. It wins over a truncated SVD by speed, over a Gaussian range finder
//! without power passes by error. Source: LoRAct, arXiv 2509.23472 (`rqb` in its reference). Deviations: (1) non-finite
//! input is an error, not replaced by zeros; (2) the test matrix is scaled where ‖A‖ is huge or tiny; (3) the basis may
//! be narrower than k when the sketch is rank deficient; (4) side, tolerance, oversampling and warm start are ours.

use crate::eigh::eigh;
use crate::error::Error;
use crate::gemm::Par;
use crate::low_rank::LowRank;
use crate::mat::MatRef;
use crate::norms::{finite_or_named, squared_norm};
use crate::owned::Mat;
use crate::panels::{Panels, Shape};
use crate::params::QbParams;
use crate::pool::on_pool;
use crate::range_finder::{Plan, Range, Start, find};
use crate::residual::{CANCELLATION, Residual};

/// What is done with the basis of a step before; see [`qb_warm`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Warm {
    /// It takes the sketch's place as it is: one product of 2mnk in all, half of [`qb`]'s. Right while the space has hardly
    /// moved.
    Reuse,
    /// One power pass from it, Q = orth(Aᵀ·(A·basis)): three products in all. Follows a space that moves, with an error
    /// below that of any sketch without power passes.
    Refresh,
}

/// Facts about a decomposition.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QbInfo {
    /// Columns of U: k, fewer when the sketch was rank deficient or the tolerance was met before.
    pub rank: usize,
    /// Vectors of the basis before it was cut to the rank.
    pub basis: usize,
    /// Products with A, or with Aᵀ, that were made.
    pub products: usize,
    /// ‖A‖ (Frobenius).
    pub norm: f64,
    /// ‖A − U·V‖ / ‖A‖ (Frobenius), without a pass over A of its own; 0 for a zero matrix.
    pub relative_residual: f64,
    /// Whether `relative_residual` is right to within an eighth; if not, it only says "below about 1.4e-3" ([`Residual`]).
    pub trustworthy: bool,
}

/// Decomposes `a` (m×n); see the module's contract.
///
/// # Errors
/// [`Error::NonFinite`] if an element is NaN or infinite, [`Error::ZeroRank`].
pub fn qb(a: MatRef<'_>, params: &QbParams) -> Result<(LowRank, QbInfo), Error> {
    on_pool(params.par, || decompose(a, params, None))
}

/// [`qb`] under the name that the paper's reference has for it.
///
/// # Errors
/// Those of [`qb`].
pub fn rqb(a: MatRef<'_>, params: &QbParams) -> Result<(LowRank, QbInfo), Error> {
    qb(a, params)
}

/// Decomposes `a` from a known basis: n×p for a right basis (the transpose of the last V), m×p for a left one (the last
/// U). It need not be orthonormal, nor of the rank asked for: missing vectors, and oversampling, come from a sketch of what
/// the basis leaves over, surplus is cut. What is done with it, and how many products that takes: [`Warm`].
///
/// # Errors
/// [`Error::NonFinite`] if an element of `a` or of `basis` (shape and place tell which) is NaN or infinite,
/// [`Error::ZeroRank`].
///
/// # Panics
/// If the basis has not the rows of the side.
pub fn qb_warm(a: MatRef<'_>, basis: MatRef<'_>, warm: Warm, params: &QbParams) -> Result<(LowRank, QbInfo), Error> {
    let side = if params.right(a.rows(), a.cols()) { a.cols() } else { a.rows() };
    assert_eq!(basis.rows(), side, "rows of the basis for a {}x{} matrix", a.rows(), a.cols());
    squared_norm(basis, params.par)?;
    on_pool(params.par, || decompose(a, params, Some(Start { basis, refresh: warm == Warm::Refresh })))
}

fn decompose(a: MatRef<'_>, params: &QbParams, warm: Option<Start<'_>>) -> Result<(LowRank, QbInfo), Error> {
    let right = params.right(a.rows(), a.cols());
    let (range, rank, tolerance) = range_of(a, params, warm)?;
    let facts = |rank: usize, basis: usize, products: usize, energy: f64, residual: Residual| QbInfo {
        rank,
        basis,
        products,
        norm: energy.sqrt(),
        relative_residual: residual.relative,
        trustworthy: residual.trustworthy,
    };
    let (width, products, energy) = (range.q.cols(), range.products, range.energy);
    if width <= rank && tolerance.is_none() {
        let residual = range.residual(0.0);
        let (q, b) = range.into_parts();
        let factors = if right { LowRank::new(b, q.transposed(params.par)) } else { LowRank::new(q, b) };
        return Ok((factors, facts(width, width, products, energy, residual)));
    }
    let Cut { vectors, dropped, .. } = cut(&range, rank, tolerance, params.par);
    let residual = range.residual(dropped);
    let order: Vec<usize> = (0..width).collect();
    let long = Panels::new(params.par).times(range.b(), &order, &vectors, Shape::Full);
    let short = Panels::new(params.par).times(range.q.view(), &order, &vectors, Shape::Full);
    let factors = if right {
        LowRank::new(long, short.transposed(params.par))
    } else {
        LowRank::new(short, long.transposed(params.par))
    };
    Ok((factors, facts(vectors.cols(), width, products, energy, residual)))
}

/// The basis of `a`'s wanted side, the largest rank, the tolerance.
pub(crate) fn range_of(
    a: MatRef<'_>,
    params: &QbParams,
    warm: Option<Start<'_>>,
) -> Result<(Range, usize, Option<f64>), Error> {
    let (rank, most, tolerance) = params.sizes(a.rows(), a.cols())?;
    let right = params.right(a.rows(), a.cols());
    let plan = Plan {
        a: if right { a } else { a.t() },
        transposed: !right,
        most,
        tolerance,
        test: params.test_matrix,
        power_passes: params.power_passes,
        seed: params.seed,
        par: params.par,
    };
    // The plan's matrix may be the transpose: the element is named in the caller's.
    let named = |error| finite_or_named(a, f64::NAN).err().unwrap_or(error);
    Ok((find(&plan, warm).map_err(named)?, rank, tolerance))
}

/// The leading directions within a basis.
pub(crate) struct Cut {
    /// l×k, orthonormal columns.
    pub(crate) vectors: Mat<f64>,
    /// The k largest eigenvalues of BᵀB, the squares of singular values.
    pub(crate) squares: Vec<f64>,
    /// Sum of the others.
    pub(crate) dropped: f64,
}

/// The best directions of `range`, at most `rank`, and no more than the tolerance needs.
pub(crate) fn cut(range: &Range, rank: usize, tolerance: Option<f64>, par: Par) -> Cut {
    let width = range.q.cols();
    let gram = Panels::new(par).gram(range.b());
    let (squares, rows) = eigh(gram, width, par);
    let mut squares: Vec<f64> = squares.into_iter().map(|x| x.max(0.0)).collect();
    let mut keep = rank.min(width);
    if let Some(tolerance) = tolerance {
        let found = range.residual(0.0);
        let slack = if range.is_measured() { 0.0 } else { CANCELLATION };
        let target = tolerance.max(0.0).powi(2) * range.energy;
        let mut left = (found.relative.powi(2) + slack) * range.energy + squares[keep..].iter().sum::<f64>();
        while keep > 0 && left + squares[keep - 1] <= target {
            keep -= 1;
            left += squares[keep];
        }
    }
    let dropped = squares[keep..].iter().sum();
    squares.truncate(keep);
    Cut { vectors: Mat::from_fn(width, keep, |i, j| rows[(j, i)]), squares, dropped }
}
