//! Stops by tolerance: the tolerance is met, the rank is near the least possible, limits hold.

use loract_linalg::{Error, Mat, QbParams, Rng, Side, Stop, TestMatrix, qb, randomised_svd};
use loract_testkit::spectrum::Spectrum;

use crate::harness::{error, matrix, optimal};

#[test]
fn tolerance_is_met_with_little_more_than_the_least_rank() -> Result<(), Error> {
    let spectra = [Spectrum::Power(1.0), Spectrum::Power(2.0), Spectrum::Geometric { condition: 1e6 }];
    for spectrum in spectra {
        for (m, n) in [(200, 120), (120, 200)] {
            let a = matrix(m, n, spectrum, 5);
            for test_matrix in [TestMatrix::SampledVectors, TestMatrix::NormWeightedVectors, TestMatrix::Gaussian] {
                for side in [Side::Left, Side::Right] {
                    for tolerance in [0.3, 0.1, 1e-2, 2e-3, 1e-3, 3e-4, 2e-5] {
                        let stop = Stop::Tolerance(tolerance);
                        let params = QbParams { test_matrix, side, seed: 3, ..QbParams::with_stop(stop) };
                        let (factors, info) = qb(a.view(), &params)?;
                        let what = format!("{spectrum:?} {m}x{n} {test_matrix:?} {side:?} {tolerance}: {info:?}");
                        let got = error(a.view(), &factors);
                        assert!(got <= tolerance, "{what}: {got}");
                        let least = (0..).find(|&k| optimal(spectrum, 120, k) <= tolerance).unwrap_or(120);
                        let most = match test_matrix {
                            TestMatrix::Gaussian => 2 * least + 8,
                            _ => least + least / 4 + 4,
                        };
                        assert!(info.rank <= most, "{what}, least {least}");
                        assert_eq!(factors.rank(), info.rank);
                        let (svd, _) = randomised_svd(a.view(), &params)?;
                        assert!(error(a.view(), &svd.into_low_rank()) <= tolerance, "{what}");
                    }
                }
            }
        }
    }
    Ok(())
}

#[test]
fn limits_hold() -> Result<(), Error> {
    let a = matrix(150, 80, Spectrum::Power(0.5), 5);
    let run = |stop| qb(a.view(), &QbParams { oversampling: 4, ..QbParams::with_stop(stop) });
    let (_, info) = run(Stop::Either { max_rank: 20, tolerance: 1e-3 })?;
    assert_eq!((info.rank, info.basis), (20, 24));
    assert!(info.relative_residual > 0.3 && info.trustworthy);
    let (_, info) = run(Stop::Either { max_rank: 70, tolerance: 0.5 })?;
    assert!(info.rank < 70 && info.relative_residual <= 0.5);
    for never in [0.0, -1.0, f64::NAN] {
        let (factors, info) = run(Stop::Tolerance(never))?;
        assert_eq!(info.rank, 80, "{never}");
        assert!(error(a.view(), &factors) < 1e-5);
    }
    let (factors, info) = run(Stop::Tolerance(1.0))?;
    assert_eq!((info.rank, factors.to_dense()), (0, Mat::zeros(150, 80)));
    Ok(())
}

/// Few columns hold everything: uniform draws find them block by block all the same.
#[test]
fn coherent_and_exactly_low_ranks_are_found() -> Result<(), Error> {
    let mut rng = Rng::new(&[2]);
    let spikes = Mat::from_fn(300, 128, |_, j| if j % 40 == 7 { 1e3 * rng.normal() } else { 1e-6 * rng.normal() });
    let exact = matrix(300, 128, Spectrum::ExactRank(11), 5);
    for test_matrix in [TestMatrix::SampledVectors, TestMatrix::NormWeightedVectors, TestMatrix::Gaussian] {
        let params = QbParams { test_matrix, ..QbParams::with_stop(Stop::Tolerance(1e-4)) };
        let (factors, info) = qb(spikes.view(), &params)?;
        assert_eq!(info.rank, 4, "{test_matrix:?} {info:?}");
        assert!(error(spikes.view(), &factors) <= 1e-4);
        let (factors, info) = qb(exact.view(), &params)?;
        assert_eq!(info.rank, 11, "{test_matrix:?} {info:?}");
        assert!(error(exact.view(), &factors) <= 1e-4);
    }
    Ok(())
}
