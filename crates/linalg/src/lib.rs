//! Randomised low-rank decompositions of dense matrices.
//!
//! The crate finds, for an m×n matrix A and a rank k, factors U (m×k) and V (k×n) with A ≈ U·V, at the price of two
//! matrix products and one thin orthonormalisation. It is usable alone: no tensors, no files, no global state.
//!
//! | item | is |
//! |---|---|
//! | [`MatRef`], [`MatMut`], [`Mat`] | strided views and an owned row-major matrix |
//! | [`matmul`] | matrix product over the `gemm` crate, kernel chosen at run time |
//! | [`orthonormal_basis`] | basis of the columns of a tall matrix; survives rank deficiency and bad conditioning |
//! | [`qb`] | the sampling-based orthogonal decomposition (and its Gaussian rival) |
//! | [`LowRank`] | the factors, and products with them that never rebuild A |
//!
//! Letters: m rows, n columns, k rank. Everything is deterministic: the same seed gives the same factors, whatever the
//! number of threads.
//!
//! ```
//! use loract_linalg::{qb, Mat, QbParams};
//! // A matrix of rank 2: k = 2 reproduces it.
//! let a = Mat::from_fn(40, 30, |i, j| (i as f32) * 0.5 + (j as f32) - 3.0);
//! let (factors, info) = qb(a.view(), &QbParams::new(2))?;
//! assert!(info.relative_residual < 1e-3);
//! let back = factors.to_dense();
//! assert!((back[(7, 11)] - a[(7, 11)]).abs() < 1e-3);
//! # Ok::<(), loract_linalg::Error>(())
//! ```

mod error;
mod gemm;
mod low_rank;
mod mat;
mod orth;
mod qb;
mod rng;
mod sketch;

pub use error::Error;
pub use gemm::{Accum, Par, Real, matmul};
pub use low_rank::LowRank;
pub use mat::{Mat, MatMut, MatRef};
pub use orth::orthonormal_basis;
pub use qb::{QbInfo, QbParams, qb};
pub use rng::Rng;
pub use sketch::TestMatrix;
