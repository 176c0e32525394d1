//! How a QB decomposition or a randomised SVD is to be done: side, stop, test matrix, power passes, seed.

use crate::error::Error;
use crate::gemm::Par;
use crate::sketch::TestMatrix;

/// Which factor is orthonormal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Side {
    /// The basis on the shorter side: [`Side::Right`] for m > n, else [`Side::Left`]. It is the cheaper to
    /// orthonormalise; the products cost the same.
    #[default]
    Cheaper,
    /// U is orthonormal (m×k), V = Uᵀ·A: a basis of the columns of A.
    Left,
    /// V is orthonormal (k×n), U = A·Vᵀ: a basis of the rows of A.
    Right,
}

/// When the rank is enough. Ranks above min(m,n) are taken as min(m,n), which is exact up to rounding.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Stop {
    /// At this rank k.
    Rank(usize),
    /// At the least rank found for which ‖A − U·V‖ ≤ tolerance·‖A‖ (Frobenius). 0, a negative number or NaN are never met:
    /// full rank; 1 and more at once: rank 0. Below about 1e-6 the rounding of f32 factors is in the way.
    Tolerance(f64),
    /// At the tolerance or at this rank, whichever comes first.
    Either {
        /// Rank at which to stop, met or not; what was reached is in [`crate::QbInfo`].
        max_rank: usize,
        /// As in [`Stop::Tolerance`].
        tolerance: f64,
    },
}

/// How to decompose.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QbParams {
    /// Rank, tolerance or both.
    pub stop: Stop,
    /// Default: the cheaper one, as in the paper.
    pub side: Side,
    /// Default: sampled vectors, as in the paper.
    pub test_matrix: TestMatrix,
    /// Vectors in the sketch beyond the rank; default 0, as in the paper. Cuts the error, costs an eigenproblem of the
    /// sketch's size and a product of 2(m+n)·l·k.
    pub oversampling: usize,
    /// Default 0, as in the paper's main setting.
    pub power_passes: usize,
    /// Names the random stream; the same seed gives the same factors, whatever the number of threads.
    pub seed: u64,
    /// Who computes; default all threads of the pool.
    pub par: Par,
}

impl QbParams {
    /// The paper's setting at rank `rank`, seed 0.
    pub fn new(rank: usize) -> Self {
        Self::with_stop(Stop::Rank(rank))
    }

    /// The paper's setting with another stop, seed 0.
    pub fn with_stop(stop: Stop) -> Self {
        Self {
            stop,
            side: Side::default(),
            test_matrix: TestMatrix::default(),
            oversampling: 0,
            power_passes: 0,
            seed: 0,
            par: Par::Rayon,
        }
    }

    /// Randomised SVD as in Halko, Martinsson, Tropp: Gaussian test matrix, eight vectors more than the rank, seed 0.
    pub fn rsvd(rank: usize) -> Self {
        Self { test_matrix: TestMatrix::Gaussian, oversampling: 8, ..Self::new(rank) }
    }

    /// Whether the side means a right basis for m×n.
    pub(crate) fn right(&self, m: usize, n: usize) -> bool {
        match self.side {
            Side::Cheaper => m > n,
            Side::Left => false,
            Side::Right => true,
        }
    }

    /// (largest rank, vectors in the sketch, tolerance) for m×n.
    pub(crate) fn sizes(&self, m: usize, n: usize) -> Result<(usize, usize, Option<f64>), Error> {
        let limit = m.min(n);
        let (rank, tolerance) = match self.stop {
            Stop::Rank(rank) => (rank, None),
            Stop::Tolerance(tolerance) => (usize::MAX, Some(tolerance)),
            Stop::Either { max_rank, tolerance } => (max_rank, Some(tolerance)),
        };
        if rank == 0 {
            return Err(Error::ZeroRank { rows: m, cols: n });
        }
        Ok((rank.min(limit), rank.saturating_add(self.oversampling).min(limit), tolerance))
    }
}
