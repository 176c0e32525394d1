//! U and V of a saved tensor, in the type they are stored in, and how they are found.

use std::ops::Range;

use half::bf16;
use loract_linalg::{
    Accum, LowRank, Mat, MatMut, MatRef, NystromParams, Par, QbParams, Stop, SvdMethod, TestMatrix, matmul, nystrom,
    qb, randomised_svd, truncated_svd, with_buffer,
};

use super::policy::PlannedFactors;
use super::{Compress, FactorType, Rank};
use crate::kernels::elementwise;

/// U·V, m×n.
#[derive(Debug)]
pub(super) enum Factors {
    F32(LowRank),
    Bf16(LowRank<bf16>),
}

impl Factors {
    /// `found` in the type they are kept in.
    pub(super) fn stored(found: LowRank, stored: FactorType) -> Self {
        match stored {
            FactorType::F32 => Factors::F32(found),
            FactorType::Bf16 => Factors::Bf16(found.to_bf16()),
        }
    }

    /// V, k×n, in f32.
    pub(super) fn wide_v(&self) -> Wide<'_> {
        match self {
            Factors::F32(f) => Wide::Borrowed(f.v().view()),
            Factors::Bf16(f) => Wide::Owned(Mat::from_fn(f.rank(), f.cols(), |i, j| f.v().view().get(i, j).to_f32())),
        }
    }

    pub(super) fn rank(&self) -> usize {
        match self {
            Factors::F32(f) => f.rank(),
            Factors::Bf16(f) => f.rank(),
        }
    }

    pub(super) fn size_bytes(&self) -> usize {
        match self {
            Factors::F32(f) => f.size_bytes(),
            Factors::Bf16(f) => f.size_bytes(),
        }
    }

    /// U (m×k) and V (k×n) in f32.
    pub(super) fn write(&self, u: &mut [f32], v: &mut [f32]) {
        match self {
            Factors::F32(f) => {
                u.copy_from_slice(f.u().data());
                v.copy_from_slice(f.v().data());
            }
            Factors::Bf16(f) => {
                elementwise::widen_bf16(f.u().data(), u);
                elementwise::widen_bf16(f.v().data(), v);
            }
        }
    }

    /// dᵀ·U·V, p×n for d m×p: 2kp(m+n) operations.
    pub(super) fn left_mul(&self, d: MatRef<'_>, out: MatMut<'_>, accum: Accum) {
        match self {
            Factors::F32(f) => f.left_mul(d, out, accum, Par::Rayon),
            Factors::Bf16(f) => f.left_mul(d, out, accum, Par::Rayon),
        }
    }

    /// out = or += alpha·U[rows]·v, v being V in f32.
    pub(super) fn tile(&self, v: MatRef<'_>, rows: Range<usize>, out: MatMut<'_>, accum: Accum, alpha: f32) {
        match self {
            Factors::F32(f) => matmul(out, accum, f.u().view().row_range(rows), v, alpha, Par::Serial),
            Factors::Bf16(f) => {
                let rank = f.rank();
                let halves = &f.u().data()[rows.start * rank..rows.end * rank];
                with_buffer(halves.len(), |u| {
                    elementwise::widen_bf16(halves, u);
                    matmul(out, accum, MatRef::row_major(u, rows.len(), rank), v, alpha, Par::Serial);
                });
            }
        }
    }
}

/// A matrix in f32, as it is stored or widened.
pub(super) enum Wide<'a> {
    Borrowed(MatRef<'a>),
    Owned(Mat),
}

impl Wide<'_> {
    pub(super) fn view(&self) -> MatRef<'_> {
        match self {
            Wide::Borrowed(v) => *v,
            Wide::Owned(v) => v.view(),
        }
    }
}

/// What linalg is asked for.
pub(super) fn params(wanted: PlannedFactors, seed: u64) -> QbParams {
    let stop = match wanted.rank {
        Rank::Auto { tolerance } => Stop::Either { max_rank: wanted.most, tolerance: f64::from(tolerance) },
        Rank::Count(_) | Rank::Fraction { .. } => Stop::Rank(wanted.most),
    };
    match wanted.method {
        Compress::Gauss => QbParams { test_matrix: TestMatrix::Gaussian, seed, ..QbParams::with_stop(stop) },
        Compress::Rsvd => QbParams { stop, seed, ..QbParams::rsvd(wanted.most) },
        _ => QbParams { seed, ..QbParams::with_stop(stop) },
    }
}

/// Factors of x as asked for, from nothing but x; and their relative error.
///
/// # Errors
/// The linalg error that names the element which is not finite.
pub(super) fn find(x: MatRef<'_>, wanted: PlannedFactors, seed: u64) -> Result<(LowRank, f64), loract_linalg::Error> {
    let params = params(wanted, seed);
    Ok(match wanted.method {
        Compress::None | Compress::Rqb | Compress::Gauss => {
            let (factors, info) = qb(x, &params)?;
            (factors, info.relative_residual)
        }
        Compress::Rsvd => {
            let (svd, info) = randomised_svd(x, &params)?;
            (svd.into_low_rank(), info.relative_residual)
        }
        Compress::Tsvd => {
            let (svd, info) = truncated_svd(x, wanted.most, SvdMethod::Gram, Par::Rayon)?;
            (svd.into_low_rank(), info.relative_residual)
        }
        Compress::Nystrom => {
            let (factors, _) = nystrom(x, &NystromParams { seed, ..NystromParams::new(wanted.most) })?;
            let error = factors.relative_error(x, Par::Rayon)?.relative;
            (factors, error)
        }
    })
}
