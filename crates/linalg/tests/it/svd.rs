//! Truncated SVD where squaring loses accuracy, and SVDs of factors.

use loract_linalg::{
    Error, LowRank, Mat, Par, QbParams, Rng, Svd, SvdMethod, gallery, qb, singular_values, truncated_svd,
};
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

/// Tall, wide and square; the values alone are those that come with vectors, and what cannot be told is 0.
#[test]
fn singular_values_alone_are_those_that_come_with_vectors() -> Result<(), Error> {
    for (m, n) in [(120, 70), (70, 120), (64, 64), (5, 1), (1, 5)] {
        let a = matrix(m, n, Spectrum::Power(1.0), 4);
        for method in [SvdMethod::Gram, SvdMethod::Direct] {
            let alone = singular_values(a.view(), method, Par::Rayon)?;
            let (svd, _) = truncated_svd(a.view(), m.min(n), method, Par::Rayon)?;
            assert_eq!(alone.len(), m.min(n));
            for (got, want) in alone.iter().zip(&svd.s) {
                assert!((got - want).abs() <= 1e-10 * svd.s[0], "{m}x{n} {method:?}: {got} against {want}");
            }
        }
    }
    let (rank, count) = (9, 40);
    let low = matrix(100, count, Spectrum::ExactRank(rank), 6);
    let values = singular_values(low.view(), SvdMethod::Gram, Par::Rayon)?;
    // The data are rounded to f32, which leaves singular values of about eps·√(m) beyond the rank.
    assert!(values[rank - 1] > 0.99 && values[rank] < 1e-5, "{values:?}");
    assert_eq!(singular_values(Mat::zeros(4, 3).view(), SvdMethod::Gram, Par::Rayon)?, [0.0; 3]);
    let broken = Mat::from_fn(4, 3, |i, j| if (i, j) == (2, 1) { f32::NAN } else { 1.0 });
    assert!(matches!(
        singular_values(broken.view(), SvdMethod::Gram, Par::Rayon),
        Err(Error::NonFinite { row: 2, col: 1, .. })
    ));
    Ok(())
}

/// What a matrix of the gallery is called by is what it has.
#[test]
fn matrices_of_the_gallery_have_their_spectrum_or_their_columns() -> Result<(), Error> {
    use gallery::Kind;
    let (m, n) = (150, 96);
    for (name, kind) in Kind::ALL {
        let a = kind.matrix(m, n, 7);
        assert_eq!(a, kind.matrix(m, n, 7), "{name}");
        let values = singular_values(a.view(), SvdMethod::Direct, Par::Rayon)?;
        let coherent = matches!(kind, Kind::Outliers | Kind::Copies);
        let want: Vec<f64> = kind.spectrum(n).into_iter().map(f64::from).collect();
        for (got, want) in values.iter().zip(&want).filter(|_| !coherent) {
            assert!((got - want).abs() <= 1e-5 * values[0], "{name}: {got} against {want}");
        }
        let mut norms: Vec<f64> =
            (0..n).map(|j| (0..m).map(|i| f64::from(a[(i, j)]).powi(2)).sum::<f64>().sqrt()).collect();
        norms.sort_by(f64::total_cmp);
        assert_eq!(norms[n - 1] > 10.0 * norms[n / 2], coherent, "{name}");
        for k in [0, 5, n] {
            let from_the_end = optimal_of(&values, k);
            assert!((gallery::optimal_error(&values, k) - from_the_end).abs() < 1e-12, "{name}");
        }
    }
    assert_eq!(gallery::optimal_error(&[0.0; 3], 1), 0.0);
    Ok(())
}

fn optimal_of(values: &[f64], k: usize) -> f64 {
    let energy = |s: &[f64]| s.iter().map(|x| x * x).sum::<f64>();
    (energy(&values[k..]) / energy(values)).sqrt()
}
