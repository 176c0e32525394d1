//! Randomised low-rank decompositions of dense matrices.
//!
//! The crate finds, for an m×n matrix A and a rank k, factors U (m×k) and V (k×n) with A ≈ U·V, at the price of two
//! matrix products and one thin orthonormalisation. It is usable alone: no tensors, no files, no global state. Each module
//! opens with the contract of its algorithm: what, cost, when it wins, source, deviations. `docs/decompositions.md` in
//! the repository tells which method for what, with measurements.
//!
//! | item | is |
//! |---|---|
//! | [`qb()`] ([`rqb`]) | the sampling-based orthogonal decomposition and its Gaussian rival: fixed rank, tolerance, or both |
//! | [`qb_warm`] | the same from a known basis, for a product less |
//! | [`truncated_svd`] | the best approximation of a rank, through the Gram matrix or directly |
//! | [`singular_values`] | all of them and no vectors: how close to low rank a matrix is |
//! | [`randomised_svd`] | QB with oversampling, then the SVD of the small factor |
//! | [`nystrom`](nystrom()) | from some columns, some rows and their core block, without any product with A |
//! | [`orthonormal_basis`], [`thin_qr`] | basis of the columns of a tall matrix at the speed of products; survives rank deficiency and bad conditioning |
//! | [`LowRank`], [`Svd`] | the factors (f32 or bf16), products with them that never rebuild A, relative errors |
//! | [`gallery`] | matrices named by what is hard about them, to measure methods on |
//! | [`orthonormal_basis_scratch_bytes`], [`qb_scratch_bytes`] | how much memory that takes besides the result |
//! | [`Product`] | a dense matrix times one in a stored form, with a path of low rank beside it: what a frozen weight with a LoRA pair takes |
//! | [`tiles`] | what products are made of: packed operands, and a tile of the result in registers |
//! | [`MatRef`], [`MatMut`], [`Mat`], [`matmul`] | strided views, an owned row-major matrix, products by tiles of our own or by the `gemm` crate |
//!
//! Letters: m rows, n columns, k rank, l vectors of a sketch. Everything is deterministic: the same seed gives the same
//! factors to the last bit, whatever the number of threads. Input is f32 and must be finite ([`Error::NonFinite`] names
//! the element); sums that decide something are in f64. No algorithm makes a copy of A.
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

mod buffers;
mod chol;
mod eigh;
mod error;
pub mod gallery;
mod gemm;
mod jacobi;
mod load;
pub mod low_rank;
mod mat;
mod norms;
pub mod nystrom;
pub mod orth;
mod owned;
mod panels;
pub mod params;
mod pool;
mod product;
pub mod qb;
pub mod qr;
mod range_finder;
pub mod residual;
mod rng;
mod scale;
mod scratch;
mod simd;
pub mod sketch;
pub mod svd;
mod thin;
pub mod tiles;
mod tridiagonal;
mod work;

/// For [`vectorised!`].
#[doc(hidden)]
pub use pulp;

pub use buffers::{with_buffer, with_buffers};
pub use error::Error;
pub use gemm::{Accum, Par, Real, matmul};
pub use low_rank::{LowRank, Storage};
pub use mat::{MatMut, MatRef};
pub use nystrom::{Draw, NystromInfo, NystromParams, nystrom};
pub use orth::orthonormal_basis;
pub use owned::Mat;
pub use params::{QbParams, Side, Stop};
pub use product::{Branch, Precision, Product, Rhs, Stored};
pub use qb::{QbInfo, Warm, qb, qb_warm, rqb};
pub use qr::{Qr, thin_qr};
pub use residual::Residual;
pub use rng::Rng;
pub use scratch::{Scratch, orthonormal_basis_scratch_bytes, qb_scratch_bytes};
pub use sketch::TestMatrix;
pub use svd::{Svd, SvdInfo, SvdMethod, randomised_svd, singular_values, truncated_svd};
