//! Matrices named by what is hard about them: where `loract bench decompose` and the examples measure methods.
//!
//! A spectrum fixes the best possible error; the singular vectors are random (Haar), so every column is about as large as
//! every other (*incoherent*). The two coherent matrices start from σ_i = 1/i and make some columns 30 times as large: as
//! outlier channels of transformers do, each by itself ([`Kind::Outliers`]) or as near copies of a few
//! ([`Kind::Copies`], where uniform draws waste vectors on the same direction). Everything follows from kind, shape and
//! seed. Cost: two orthonormalisations and a product of 2mn·min(m,n).

use crate::gemm::{Accum, Par, matmul};
use crate::orth::orthonormal_basis;
use crate::owned::Mat;
use crate::rng::Rng;

/// How much larger the large columns of coherent matrices are.
const LARGE: f32 = 30.0;
/// Distance between the large columns of [`Kind::Outliers`].
const OUTLIERS_APART: usize = 47;
/// Distance between the copies of [`Kind::Copies`], and how many different originals there are.
const COPIES_APART: usize = 14;
const ORIGINALS: usize = 4;
/// Noise of a copy, beside entries of about 30/√m.
const COPY_NOISE: f32 = 1e-3;

/// A matrix by name.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// σ_i = i^−p.
    Power(f32),
    /// σ_i = e^(−16·i/p), p = min(m,n): from 1 to about 1e-7.
    Exponential,
    /// p/16 ones, then 1e-2 throughout, p = min(m,n): a low rank and noise.
    LowRankAndNoise,
    /// σ_i = 1/i, then n/48 columns (at least 1) 30 times as large.
    Outliers,
    /// σ_i = 1/i, then 5n/72 columns (at least 1) 30 times one of 4 others, with a little noise.
    Copies,
}

impl Kind {
    /// All of them, by name.
    pub const ALL: [(&'static str, Kind); 7] = [
        ("power-0.5", Kind::Power(0.5)),
        ("power-1", Kind::Power(1.0)),
        ("power-2", Kind::Power(2.0)),
        ("exponential", Kind::Exponential),
        ("low-rank-noise", Kind::LowRankAndNoise),
        ("outliers", Kind::Outliers),
        ("copies", Kind::Copies),
    ];

    /// σ_1 … σ_count, before columns are made larger.
    pub fn spectrum(self, count: usize) -> Vec<f32> {
        let at = |i: usize| match self {
            Kind::Power(p) => (i as f32).powf(-p),
            Kind::Exponential => (-16.0 * i as f32 / count as f32).exp(),
            Kind::LowRankAndNoise if i <= (count / 16).max(1) => 1.0,
            Kind::LowRankAndNoise => 1e-2,
            Kind::Outliers | Kind::Copies => 1.0 / i as f32,
        };
        (1..=count).map(at).collect()
    }

    /// The m×n matrix of this kind that `seed` names.
    pub fn matrix(self, m: usize, n: usize, seed: u64) -> Mat {
        let mut a = with_spectrum(m, n, &self.spectrum(m.min(n)), seed);
        match self {
            Kind::Outliers => {
                a.data_mut().chunks_exact_mut(n.max(1)).for_each(|row| {
                    row.iter_mut().step_by(OUTLIERS_APART).take((n / 48).max(1)).for_each(|x| *x *= LARGE);
                });
            }
            Kind::Copies => {
                let noise = Rng::new(&[seed, 0xc0b1]);
                for (i, row) in a.data_mut().chunks_exact_mut(n.max(1)).enumerate() {
                    for (at, j) in (0..n).step_by(COPIES_APART).take((n * 5 / 72).max(1)).enumerate() {
                        // The column beside one of the first copies, which is none itself.
                        let original = row[(at % ORIGINALS * COPIES_APART + 1).min(n - 1)];
                        row[j] = LARGE * original + COPY_NOISE * noise.normal_pair_at((i * n + j) as u64)[0];
                    }
                }
            }
            Kind::Power(_) | Kind::Exponential | Kind::LowRankAndNoise => {}
        }
        a
    }
}

/// m×n independent standard normal numbers.
pub fn normal(m: usize, n: usize, seed: u64) -> Mat {
    let rng = Rng::new(&[seed]);
    Mat::from_fn(m, n, |i, j| rng.normal_pair_at((i * n + j) as u64)[0])
}

/// L·diag(sigma)·Rᵀ (m×n) with random orthonormal L and R; of `sigma` at most min(m,n) values.
pub fn with_spectrum(m: usize, n: usize, sigma: &[f32], seed: u64) -> Mat {
    let sigma = &sigma[..sigma.len().min(m).min(n)];
    let mut a = Mat::zeros(m, n);
    if sigma.is_empty() {
        return a;
    }
    let mut left = orthonormal_basis(normal(m, sigma.len(), 2 * seed).view(), Par::Rayon);
    let right = orthonormal_basis(normal(n, sigma.len(), 2 * seed + 1).view(), Par::Rayon);
    for row in left.data_mut().chunks_exact_mut(sigma.len()) {
        row.iter_mut().zip(sigma).for_each(|(x, s)| *x *= s);
    }
    matmul(a.view_mut(), Accum::Replace, left.view(), right.view().t(), 1.0, Par::Rayon);
    a
}

/// Relative error of the best approximation of rank k of a matrix with singular values `sigma`, all of them, descending:
/// the square root of the share of energy beyond k. 0 for a zero matrix.
pub fn optimal_error(sigma: &[f64], k: usize) -> f64 {
    // From the small end, so that small values are not lost beside large ones.
    let energy = |s: &[f64]| s.iter().rev().map(|x| x * x).sum::<f64>();
    let all = energy(sigma);
    if all == 0.0 { 0.0 } else { (energy(&sigma[k.min(sigma.len())..]) / all).sqrt() }
}
