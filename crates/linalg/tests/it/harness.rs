//! Test matrices, naive measures in f64, and the table of methods.

use loract_linalg::{
    Error, LowRank, Mat, MatRef, NystromParams, Par, QbParams, Side, SvdMethod, TestMatrix, nystrom, qb,
    randomised_svd, truncated_svd,
};
use loract_testkit::spectrum::{Spectrum, with_spectrum};

pub const EPS: f64 = f32::EPSILON as f64;

pub fn matrix(rows: usize, cols: usize, spectrum: Spectrum, seed: u64) -> Mat {
    let (data, ..) = with_spectrum(rows, cols, spectrum, seed);
    Mat::from_vec(data, rows, cols)
}

/// ‖A − U·V‖ / ‖A‖ in f64, from the difference itself.
pub fn error(a: MatRef<'_>, factors: &LowRank) -> f64 {
    assert_eq!((a.rows(), a.cols()), (factors.rows(), factors.cols()));
    let (mut diff, mut all) = (0.0, 0.0);
    let mut row = vec![0.0f64; a.cols()];
    for i in 0..a.rows() {
        (0..a.cols()).for_each(|j| row[j] = f64::from(a.get(i, j)));
        all += row.iter().map(|x| x * x).sum::<f64>();
        for p in 0..factors.rank() {
            let u = f64::from(factors.u()[(i, p)]);
            let v = &factors.v().data()[p * a.cols()..(p + 1) * a.cols()];
            row.iter_mut().zip(v).for_each(|(x, &v)| *x -= u * f64::from(v));
        }
        diff += row.iter().map(|x| x * x).sum::<f64>();
    }
    if all == 0.0 { diff.sqrt() } else { (diff / all).sqrt() }
}

/// Largest |QᵀQ − I| over columns, in f64.
pub fn defect(q: MatRef<'_>) -> f64 {
    let mut worst = 0.0f64;
    for a in 0..q.cols() {
        for b in 0..=a {
            let dot: f64 = (0..q.rows()).map(|i| f64::from(q.get(i, a)) * f64::from(q.get(i, b))).sum();
            worst = worst.max((dot - f64::from(u8::from(a == b))).abs());
        }
    }
    worst
}

/// Bound on [`defect`] for k columns: c·eps·√k.
pub fn orthonormal(k: usize) -> f64 {
    4.0 * EPS * (k.max(1) as f64).sqrt()
}

/// Relative error of the best approximation of rank k.
pub fn optimal(spectrum: Spectrum, count: usize, k: usize) -> f64 {
    let squares: Vec<f64> = spectrum.values(count).iter().map(|x| x * x).collect();
    (squares[k.min(count)..].iter().sum::<f64>() / squares.iter().sum::<f64>()).sqrt()
}

/// A decomposition of rank k of the table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Method {
    Qb { side: Side, test: TestMatrix, oversampling: usize, power_passes: usize },
    Randomised { side: Side, test: TestMatrix, power_passes: usize },
    Truncated(SvdMethod),
    Nystrom,
}

impl Method {
    /// All that the tests run.
    pub fn all() -> Vec<Self> {
        let mut all = vec![Self::Truncated(SvdMethod::Gram), Self::Truncated(SvdMethod::Direct), Self::Nystrom];
        for side in [Side::Cheaper, Side::Left, Side::Right] {
            for test in [TestMatrix::SampledVectors, TestMatrix::NormWeightedVectors, TestMatrix::Gaussian] {
                for (oversampling, power_passes) in [(0, 0), (6, 0), (0, 1)] {
                    all.push(Self::Qb { side, test, oversampling, power_passes });
                }
                all.extend([0, 2].map(|power_passes| Self::Randomised { side, test, power_passes }));
            }
        }
        all
    }

    /// Factors, reported relative residual if it is trustworthy, and which factors must be orthonormal (U, V).
    pub fn run(self, a: MatRef<'_>, rank: usize, seed: u64) -> Result<(LowRank, Option<f64>, [bool; 2]), Error> {
        let tall = a.rows() > a.cols();
        match self {
            Self::Qb { side, test, oversampling, power_passes } => {
                let params =
                    QbParams { side, test_matrix: test, oversampling, power_passes, seed, ..QbParams::new(rank) };
                let (factors, info) = qb(a, &params)?;
                let right = side == Side::Right || (side == Side::Cheaper && tall);
                Ok((factors, info.trustworthy.then_some(info.relative_residual), [!right, right]))
            }
            Self::Randomised { side, test, power_passes } => {
                let params = QbParams { side, test_matrix: test, power_passes, seed, ..QbParams::rsvd(rank) };
                let (svd, info) = randomised_svd(a, &params)?;
                assert!(svd.s.windows(2).all(|w| w[0] >= w[1]));
                let bound = orthonormal(svd.rank());
                let (left, right) = (defect(svd.u.view()), defect(svd.v.view().t()));
                assert!(left <= bound && right <= bound, "{self:?} {left} {right}");
                Ok((svd.into_low_rank(), info.trustworthy.then_some(info.relative_residual), [false, true]))
            }
            Self::Truncated(method) => {
                let (svd, info) = truncated_svd(a, rank, method, Par::Rayon)?;
                let bound = orthonormal(svd.rank());
                let (left, right) = (defect(svd.u.view()), defect(svd.v.view().t()));
                assert!(left <= bound && right <= bound, "{self:?} {left} {right}");
                Ok((svd.into_low_rank(), info.trustworthy.then_some(info.relative_residual), [false, true]))
            }
            Self::Nystrom => {
                let (factors, _) = nystrom(a, &NystromParams { seed, ..NystromParams::new(rank) })?;
                Ok((factors, None, [false, false]))
            }
        }
    }

    /// Error at most this multiple of the optimal one on matrices without coherence. Halko, Martinsson, Tropp bound a
    /// Gaussian range finder's mean by √(1 + k/(s−1)) for s vectors more than k; with none more there is no bound, and
    /// what is stated here was measured with half as much on top.
    pub fn factor(self) -> f64 {
        match self {
            Self::Truncated(_) => 1.0 + 1e-4,
            Self::Nystrom => 30.0,
            Self::Qb { power_passes: 0, oversampling: 0, .. } => 4.0,
            Self::Qb { power_passes: 0, .. } => 2.5,
            Self::Randomised { power_passes: 0, .. } => 2.5,
            Self::Qb { .. } | Self::Randomised { .. } => 1.6,
        }
    }
}
