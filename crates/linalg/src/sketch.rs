//! Sketches Y of the range (or row space) of A, from which a basis is made.
//!
//! *Sampled vectors* takes the test matrix from A itself (LoRAct, arXiv 2509.23472, section 3.2): for m > n, A_S = k
//! of A's columns and Y = Aᵀ·A_S (n×k); for m ≤ n, A_S = k of its rows and Y = A·A_Sᵀ (m×k). This acts like half a power
//! pass for free. *Gaussian* draws the test matrix Ω instead: Y = Aᵀ·Ω or A·Ω (Halko, Martinsson, Tropp 2011, algorithm
//! 4.1). Both cost one product of 2mnk.

use rayon::prelude::*;

use crate::gemm::{Accum, Par, matmul};
use crate::mat::{Mat, MatRef};
use crate::rng::Rng;

/// Where the test matrix comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TestMatrix {
    /// Columns (m > n) or rows (m ≤ n) of A, drawn uniformly without replacement.
    #[default]
    SampledVectors,
    /// Independent standard normal numbers.
    Gaussian,
}

/// A sketch of the space spanned by the rows of the tall matrix `a` (m ≥ n is usual, not required): n×k.
///
/// A wide matrix is sketched through its transpose. `scale` multiplies the test matrix and keeps huge or tiny values of
/// `a` in range; it does not change the space.
pub(crate) fn sketch_rows(a: MatRef<'_>, k: usize, test: TestMatrix, scale: f32, rng: &mut Rng, par: Par) -> Mat {
    let (m, n) = (a.rows(), a.cols());
    let omega = match test {
        TestMatrix::SampledVectors => {
            let columns = rng.sample(n, k);
            gather_columns(a, &columns, scale)
        }
        TestMatrix::Gaussian => Mat::from_fn(m, k, |_, _| scale * rng.normal()),
    };
    let mut y = Mat::zeros(n, k);
    matmul(y.view_mut(), Accum::Replace, a.t(), omega.view(), 1.0, par);
    y
}

/// `scale · a[:, columns]`, m×k.
fn gather_columns(a: MatRef<'_>, columns: &[usize], scale: f32) -> Mat {
    let mut out = Mat::zeros(a.rows(), columns.len());
    out.data_mut().par_chunks_mut(columns.len().max(1)).with_min_len(64).enumerate().for_each(|(i, row)| {
        row.iter_mut().zip(columns).for_each(|(x, &j)| *x = scale * a.get(i, j));
    });
    out
}
