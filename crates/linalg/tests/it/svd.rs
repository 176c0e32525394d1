//! Truncated SVD where squaring loses accuracy, and SVDs of factors.

use loract_linalg::{Error, LowRank, Mat, Par, QbParams, Rng, Svd, SvdMethod, qb, truncated_svd};
use loract_testkit::spectrum::Spectrum;

use crate::harness::{defect, error, matrix, orthonormal};

/// A·diag(1, …, 1e-9): the direct method keeps all singular values to relative accuracy, the Gram matrix says where it
/// stops.
#[test]
fn direct_keeps_what_the_gram_matrix_loses() -> Result<(), Error> {
    let base = matrix(90, 12, Spectrum::Flat, 3);
    let scales: Vec<f32> = (0..12).map(|j| 10f32.powi(-j)).collect();
    let a = Mat::from_fn(90, 12, |i, j| base[(i, j)] * scales[j]);
    for a in [a.view(), a.view().t()] {
        let (direct, _) = truncated_svd(a, 12, SvdMethod::Direct, Par::Rayon)?;
        let (gram, info) = truncated_svd(a, 12, SvdMethod::Gram, Par::Rayon)?;
        assert_eq!(direct.rank(), 12);
        // Columns of `base` are orthonormal up to f32 rounding, so the σ are the scales.
        for (s, scale) in direct.s.iter().zip(&scales) {
            assert!((s / f64::from(*scale) - 1.0).abs() < 1e-5, "{:?}", direct.s);
        }
        assert!(gram.rank() < 12 && gram.rank() >= 6, "{:?}", gram.s);
        assert!(!info.trustworthy);
        for svd in [&direct, &gram] {
            assert!(defect(svd.u.view()) <= orthonormal(12) && defect(svd.v.view().t()) <= orthonormal(12));
        }
    }
    Ok(())
}

#[test]
fn both_methods_find_the_spectrum_they_were_given() -> Result<(), Error> {
    for spectrum in [Spectrum::Power(1.0), Spectrum::Flat, Spectrum::Geometric { condition: 1e5 }] {
        for (m, n) in [(120, 70), (70, 120), (300, 33)] {
            let a = matrix(m, n, spectrum, 8);
            for method in [SvdMethod::Gram, SvdMethod::Direct] {
                let (svd, _) = truncated_svd(a.view(), 1000, method, Par::Rayon)?;
                for (got, want) in svd.s.iter().zip(spectrum.values(m.min(n))) {
                    // The data themselves are rounded to f32.
                    assert!((got - want).abs() < 1e-6, "{spectrum:?} {m}x{n} {method:?}: {got} {want}");
                }
            }
        }
    }
    Ok(())
}

#[test]
fn svd_of_factors_is_that_of_their_product() -> Result<(), Error> {
    let mut rng = Rng::new(&[3]);
    for (m, n, k) in [(80, 50, 9), (20, 90, 20), (6, 5, 1), (9, 9, 0)] {
        let f = LowRank::new(Mat::from_fn(m, k, |_, _| rng.normal()), Mat::from_fn(k, n, |_, _| rng.normal()));
        let svd = Svd::of_low_rank(&f, Par::Rayon)?;
        assert_eq!(svd.rank(), k);
        assert!(defect(svd.u.view()) <= orthonormal(k) && defect(svd.v.view().t()) <= orthonormal(k));
        assert!(svd.s.windows(2).all(|w| w[0] >= w[1]));
        if k > 0 {
            assert!(error(f.to_dense().view(), &svd.into_low_rank()) < 2e-6);
        }
    }
    Ok(())
}

/// Oversampling ends in the singular values of the projected matrix: none above the true ones.
#[test]
fn oversampling_cuts_the_error_at_the_same_rank() -> Result<(), Error> {
    let a = matrix(300, 100, Spectrum::Power(0.5), 8);
    let of = |oversampling| -> Result<f64, Error> {
        Ok(error(a.view(), &qb(a.view(), &QbParams { oversampling, ..QbParams::new(15) })?.0))
    };
    assert!(of(10)? < of(0)? && of(40)? < of(10)? && of(usize::MAX)? <= of(40)?);
    Ok(())
}
