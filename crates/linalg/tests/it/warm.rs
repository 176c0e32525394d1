//! Starting from the basis of a step before.

use loract_linalg::{Error, Mat, QbParams, Rng, Side, Stop, TestMatrix, Warm, qb, qb_warm};
use loract_testkit::spectrum::Spectrum;

use crate::harness::{defect, error, matrix, orthonormal};

/// A matrix and the same a step later: a small random change.
fn two_steps(m: usize, n: usize, change: f32) -> (Mat, Mat) {
    let a = matrix(m, n, Spectrum::Power(1.0), 4);
    let norm = a.data().iter().map(|x| x * x).sum::<f32>().sqrt();
    let mut rng = Rng::new(&[12]);
    let size = change * norm / ((m * n) as f32).sqrt();
    let later = Mat::from_fn(m, n, |i, j| a[(i, j)] + size * rng.normal());
    (a, later)
}

#[test]
fn reuse_takes_one_product_and_refresh_beats_the_cold_start() -> Result<(), Error> {
    for (m, n) in [(300, 120), (120, 300)] {
        let (a, later) = two_steps(m, n, 0.02);
        for side in [Side::Left, Side::Right] {
            let params = QbParams { side, ..QbParams::new(16) };
            let (before, _) = qb(a.view(), &params)?;
            let basis = if side == Side::Left { before.u().view() } else { before.v().view().t() };
            let (cold, cold_info) = qb(later.view(), &params)?;
            let (reused, reuse_info) = qb_warm(later.view(), basis, Warm::Reuse, &params)?;
            let (fresh, refresh_info) = qb_warm(later.view(), basis, Warm::Refresh, &params)?;
            assert_eq!((cold_info.products, reuse_info.products, refresh_info.products), (2, 1, 3));
            let of = |factors| error(later.view(), factors);
            assert!(of(&reused) < 1.05 * of(&cold), "{} {}", of(&reused), of(&cold));
            assert!(of(&fresh) < of(&cold) && of(&fresh) <= of(&reused));
            let q = if side == Side::Left { fresh.u().view() } else { fresh.v().view().t() };
            assert!(defect(q) <= orthonormal(16));
        }
    }
    Ok(())
}

/// A basis of too low a rank is filled up, one that is too wide is cut; a basis that need not be orthonormal is made so.
#[test]
fn rank_and_tolerance_hold_whatever_the_basis() -> Result<(), Error> {
    let (a, _) = two_steps(200, 90, 0.0);
    let mut rng = Rng::new(&[5]);
    for test_matrix in [TestMatrix::SampledVectors, TestMatrix::Gaussian] {
        for width in [0, 3, 12, 40] {
            let basis = Mat::from_fn(90, width, |_, j| rng.normal() * (j + 1) as f32);
            let rank = QbParams { test_matrix, ..QbParams::new(12) };
            let (factors, info) = qb_warm(a.view(), basis.view(), Warm::Refresh, &rank)?;
            assert_eq!((factors.rank(), info.rank), (12, 12));
            assert!((info.relative_residual - error(a.view(), &factors)).abs() < 1e-3);
            let met = QbParams { test_matrix, ..QbParams::with_stop(Stop::Tolerance(0.15)) };
            let (factors, _) = qb_warm(a.view(), basis.view(), Warm::Reuse, &met)?;
            assert!(error(a.view(), &factors) <= 0.15);
        }
    }
    Ok(())
}

#[test]
#[should_panic(expected = "rows of the basis for a 200x90 matrix")]
fn a_basis_of_another_shape_is_refused() {
    let a: Mat = Mat::zeros(200, 90);
    let _ = qb_warm(a.view(), Mat::zeros(200, 4).view(), Warm::Reuse, &QbParams::new(4));
}
