//! Singular value decompositions A ≈ U·diag(σ)·V of rank k: truncated, through the Gram matrix or directly, and
//! randomised.
//!
//! *Truncated* ([`truncated_svd`]) is the best possible at its rank (Eckart, Young 1936) and the yardstick for all others.
//! With n the shorter side: [`SvdMethod::Gram`] takes eigenvectors of AᵀA, summed in f64 ([`crate::orthonormal_basis`]
//! tells how), mn² operations and an eigenproblem of about 5n³ + 2n²k; it resolves σ_i down to σ_1·√(n·eps(f64)), about
//! 3e-7·σ_1, which is where the rounding of f32 data is for evenly scaled matrices. [`SvdMethod::Direct`] goes through a
//! triangle and one-sided Jacobi rotations, 2mn² + about 40n³: for matrices with columns of very different scale, whose
//! small singular values the Gram matrix loses. Either way U = A·Vᵀ·Σ⁻¹ in f64, made orthonormal in order.
//!
//! *Randomised* ([`randomised_svd`]): QB with oversampling, then the SVD of the small factor, truncated to k (Halko,
//! Martinsson, Tropp 2011, section 5.1; algorithm 4.4 for power passes). Test matrix, side and power passes are those of
//! the parameters, on tall and wide input alike. Deviation: the SVD of B (m×l) goes through BᵀB in f64.
//!
//! Directions that the method cannot tell from rounding are not returned: the rank is then lower than asked for.

use crate::eigh::eigh;
use crate::error::Error;
use crate::gemm::{Par, matmul};
use crate::jacobi::{jacobi_svd, right_vectors};
use crate::low_rank::LowRank;
use crate::mat::MatRef;
use crate::norms::squared_norm;
use crate::orth::orthonormalise_in_order;
use crate::owned::Mat;
use crate::panels::{Panels, Shape};
use crate::params::QbParams;
use crate::pool::on_pool;
use crate::qb::{QbInfo, cut, range_of};
use crate::qr::thin_qr;
use crate::residual::Residual;

/// U·diag(σ)·V with orthonormal columns of U (m×k) and rows of V (k×n), and σ descending.
#[derive(Debug, Clone, PartialEq)]
pub struct Svd {
    /// Left singular vectors, m×k.
    pub u: Mat,
    /// Singular values, descending.
    pub s: Vec<f64>,
    /// Right singular vectors, one a row, k×n.
    pub v: Mat,
}

impl Svd {
    /// k.
    pub fn rank(&self) -> usize {
        self.s.len()
    }

    /// (U·diag(σ))·V.
    pub fn into_low_rank(self) -> LowRank {
        let Self { mut u, s, v } = self;
        for row in u.data_mut().chunks_exact_mut(s.len().max(1)) {
            row.iter_mut().zip(&s).for_each(|(x, &s)| *x *= s as f32);
        }
        LowRank::new(u, v)
    }

    /// Of a matrix held as factors: two thin QR and an SVD of their k×k core; 4(m+n)k² operations and about 50k³.
    ///
    /// # Errors
    /// [`Error::NonFinite`] if a factor is not finite.
    pub fn of_low_rank(factors: &LowRank, par: Par) -> Result<Self, Error> {
        let (left, right) = (thin_qr(factors.u().view(), par)?, thin_qr(factors.v().view().t(), par)?);
        let of = |r: &Mat, order: &[usize]| {
            let mut natural: Mat<f64> = Mat::zeros(r.rows(), r.cols());
            order.iter().enumerate().for_each(|(at, &j)| {
                (0..r.rows()).for_each(|i| natural[(i, j)] = f64::from(r[(i, at)]));
            });
            natural
        };
        let (x, y) = (of(&left.r, &left.order), of(&right.r, &right.order));
        let mut core = Mat::zeros(x.rows(), y.rows());
        matmul(core.view_mut(), crate::Accum::Replace, x.view(), y.view().t(), 1.0, Par::Serial);
        let (u, s, v) = small_svd(&core, f64::from(f32::EPSILON));
        let all = |count: usize| (0..count).collect::<Vec<_>>();
        Ok(Self {
            u: Panels::new(par).times(left.q.view(), &all(u.rows()), &u, Shape::Full),
            s,
            v: Panels::new(par).times(right.q.view(), &all(v.rows()), &v, Shape::Full).transposed(par),
        })
    }
}

/// U (p×r), σ, V (q×r) of a small p×q matrix in f64; only σ above `negligible`·σ_1.
pub(crate) fn small_svd(core: &Mat<f64>, negligible: f64) -> (Mat<f64>, Vec<f64>, Mat<f64>) {
    let (p, q) = (core.rows(), core.cols());
    let size = p.max(q);
    let square = Mat::from_fn(size, size, |i, j| if i < p && j < q { core[(i, j)] } else { 0.0 });
    let (mut s, rows) = right_vectors(square);
    let keep = s.iter().take_while(|&&x| x > 0.0 && x > negligible * s[0]).count();
    s.truncate(keep);
    let v = Mat::from_fn(q, keep, |i, j| rows[(j, i)]);
    let mut u = Mat::zeros(p, keep);
    matmul(u.view_mut(), crate::Accum::Replace, core.view(), v.view(), 1.0, Par::Serial);
    for row in u.data_mut().chunks_exact_mut(keep.max(1)) {
        row.iter_mut().zip(&s).for_each(|(x, s)| *x /= s);
    }
    (u, s, v)
}

/// How a truncated SVD is computed; see the module's contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SvdMethod {
    /// Eigenvectors of the Gram matrix; fast, loses what lies below about 3e-7·σ_1.
    #[default]
    Gram,
    /// Triangle and one-sided Jacobi; slower, keeps small singular values of badly scaled matrices.
    Direct,
}

/// Facts about a truncated SVD.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SvdInfo {
    /// Singular triplets returned.
    pub rank: usize,
    /// ‖A‖ (Frobenius).
    pub norm: f64,
    /// ‖A − U·Σ·V‖ / ‖A‖ from the singular values left out: no cancellation.
    pub relative_residual: f64,
    /// Whether `relative_residual` stands out of rounding: above about 3e-7 for [`SvdMethod::Gram`], always for
    /// [`SvdMethod::Direct`].
    pub trustworthy: bool,
}

/// The best approximation of `a` (m×n) of rank min(`rank`, m, n); see the module's contract for cost. No copy of `a`
/// is made; scratch is about 3n² f64, with n the shorter side.
///
/// # Errors
/// [`Error::NonFinite`] if an element is NaN or infinite, [`Error::ZeroRank`].
pub fn truncated_svd(a: MatRef<'_>, rank: usize, method: SvdMethod, par: Par) -> Result<(Svd, SvdInfo), Error> {
    on_pool(par, || truncated(a, rank, method, par))
}

fn truncated(a: MatRef<'_>, rank: usize, method: SvdMethod, par: Par) -> Result<(Svd, SvdInfo), Error> {
    let (m, n) = (a.rows(), a.cols());
    if rank == 0 {
        return Err(Error::ZeroRank { rows: m, cols: n });
    }
    let energy = squared_norm(a, par)?;
    let tall = if m > n { a } else { a.t() };
    let short = tall.cols();
    let rank = rank.min(short);
    let eps = short as f64 * f64::EPSILON;
    let (squares, vectors, least) = match method {
        SvdMethod::Gram => {
            let gram = Panels::new(par).gram(tall);
            let (squares, vectors) = eigh(gram, rank, par);
            (squares, vectors, eps)
        }
        SvdMethod::Direct => {
            let (values, vectors) = jacobi_svd(tall, par);
            (values.iter().map(|x| x * x).collect(), vectors, eps * eps)
        }
    };
    let largest = squares.first().copied().unwrap_or(0.0);
    let keep = squares.iter().take(rank).take_while(|&&x| x > 0.0 && x > least * largest).count();
    let s: Vec<f64> = squares[..keep].iter().map(|x| x.sqrt()).collect();
    let over_sigma = Mat::from_fn(short, keep, |i, j| vectors[(j, i)] / s[j]);
    let order: Vec<usize> = (0..short).collect();
    let long = orthonormalise_in_order(Panels::new(par).times(tall, &order, &over_sigma, Shape::Full), par);
    let v = Mat::from_fn(long.cols(), short, |i, j| vectors[(i, j)] as f32);
    let left_over: f64 = squares[long.cols()..].iter().map(|x| x.max(0.0)).sum();
    let square = if energy > 0.0 { left_over / energy } else { 0.0 };
    let info = SvdInfo {
        rank: long.cols(),
        norm: energy.sqrt(),
        relative_residual: square.sqrt(),
        trustworthy: method == SvdMethod::Direct || energy == 0.0 || square > 8.0 * eps,
    };
    Ok((assemble(long, s, v, m > n, par), info))
}

/// All min(m,n) singular values of `a`, descending, and no vectors: the Gram matrix and its tridiagonal form, mn² + 2n³
/// operations with n the shorter side (or [`SvdMethod::Direct`] at its full price). Values that the method cannot tell from
/// rounding (see the module's contract) are 0.
///
/// # Errors
/// [`Error::NonFinite`] if an element is NaN or infinite.
pub fn singular_values(a: MatRef<'_>, method: SvdMethod, par: Par) -> Result<Vec<f64>, Error> {
    squared_norm(a, par)?;
    let tall = if a.rows() > a.cols() { a } else { a.t() };
    let n = tall.cols();
    if n == 0 {
        return Ok(Vec::new());
    }
    let eps = n as f64 * f64::EPSILON;
    let (mut values, least) = match method {
        SvdMethod::Gram => {
            let squares = eigh(Panels::new(par).gram(tall), 0, par).0;
            (squares.iter().map(|x| x.max(0.0).sqrt()).collect::<Vec<_>>(), eps.sqrt())
        }
        SvdMethod::Direct => (jacobi_svd(tall, par).0, eps),
    };
    let negligible = least * values[0];
    values.iter_mut().filter(|x| **x <= negligible).for_each(|x| *x = 0.0);
    Ok(values)
}

/// Randomised SVD of `a` (m×n) by the parameters of [`crate::qb()`]; [`QbParams::rsvd`] has the usual ones. Cost: that of
/// `qb` with oversampling, and an orthonormalisation of the longer factor.
///
/// # Errors
/// [`Error::NonFinite`] if an element is NaN or infinite, [`Error::ZeroRank`].
pub fn randomised_svd(a: MatRef<'_>, params: &QbParams) -> Result<(Svd, QbInfo), Error> {
    on_pool(params.par, || randomised(a, params))
}

fn randomised(a: MatRef<'_>, params: &QbParams) -> Result<(Svd, QbInfo), Error> {
    let par = params.par;
    let right = params.right(a.rows(), a.cols());
    let (range, rank, tolerance) = range_of(a, params, None)?;
    let width = range.q.cols();
    let mut found = cut(&range, rank, tolerance, par);
    // B is a product in f32: what lies below its rounding is noise.
    let noise = f64::from(f32::EPSILON).powi(2) * found.squares.first().copied().unwrap_or(0.0);
    let keep = found.squares.iter().take_while(|&&x| x > noise).count();
    found.dropped += found.squares[keep..].iter().sum::<f64>();
    let s: Vec<f64> = found.squares[..keep].iter().map(|x| x.sqrt()).collect();
    let order: Vec<usize> = (0..width).collect();
    let over_sigma = Mat::from_fn(width, keep, |i, j| found.vectors[(i, j)] / s[j]);
    let long = orthonormalise_in_order(Panels::new(par).times(range.b(), &order, &over_sigma, Shape::Full), par);
    let leading = Mat::from_fn(width, long.cols(), |i, j| found.vectors[(i, j)]);
    let short = Panels::new(par).times(range.q.view(), &order, &leading, Shape::Full).transposed(par);
    let Residual { relative, trustworthy } = range.residual(found.dropped);
    let info = QbInfo {
        rank: long.cols(),
        basis: width,
        products: range.products,
        norm: range.energy.sqrt(),
        relative_residual: relative,
        trustworthy,
    };
    Ok((assemble(long, s, short, right, par), info))
}

/// From the vectors of the projected side (columns), σ, and those of the basis (rows).
fn assemble(long: Mat, mut s: Vec<f64>, short: Mat, right: bool, par: Par) -> Svd {
    s.truncate(long.cols());
    if right { Svd { u: long, s, v: short } } else { Svd { u: short.transposed(par), s, v: long.transposed(par) } }
}
