//! (method × shape × spectrum × seed): orthonormality, error against the optimal truncation, exactness, honest residuals.

use loract_linalg::Error;
use loract_testkit::spectrum::Spectrum;

use crate::harness::{EPS, Method, defect, error, matrix, optimal, orthonormal};

const SHAPES: [(usize, usize); 6] = [(180, 60), (60, 180), (64, 64), (130, 100), (1, 40), (40, 1)];

#[test]
fn errors_stay_within_a_factor_of_the_best_and_factors_orthonormal() -> Result<(), Error> {
    let spectra = [Spectrum::Power(0.5), Spectrum::Power(1.0), Spectrum::Power(2.0), Spectrum::Flat];
    let spectra = spectra.into_iter().chain([Spectrum::Geometric { condition: 1e4 }]);
    for spectrum in spectra {
        for (m, n) in SHAPES {
            let a = matrix(m, n, spectrum, 21);
            for method in Method::all() {
                for seed in 0..3 {
                    let k = 12;
                    let what = || format!("{method:?} {spectrum:?} {m}x{n} seed {seed}");
                    let (factors, reported, [left, right]) = method.run(a.view(), k, seed)?;
                    assert!(factors.rank() <= k.min(m).min(n), "{}", what());
                    let bound = orthonormal(factors.rank());
                    assert!(!left || defect(factors.u().view()) <= bound, "{}", what());
                    assert!(!right || defect(factors.v().view().t()) <= bound, "{}", what());
                    let (got, best) = (error(a.view(), &factors), optimal(spectrum, m.min(n), k));
                    assert!(got >= best * (1.0 - 1e-3) - 4.0 * EPS, "{}: {got} below {best}", what());
                    let most = method.factor() * best + 8.0 * EPS * (k as f64).sqrt();
                    assert!(got <= most, "{}: {got}, best {best}", what());
                    if let Some(reported) = reported {
                        let off = (reported - got).abs();
                        assert!(off <= got / 8.0 + EPS, "{}: reported {reported}, is {got}", what());
                    }
                }
            }
        }
    }
    Ok(())
}

#[test]
fn exact_when_the_rank_is_enough() -> Result<(), Error> {
    for (m, n) in SHAPES {
        let thin = matrix(m, n, Spectrum::ExactRank(5), 2);
        let full = matrix(m, n, Spectrum::Flat, 2);
        for method in Method::all() {
            let (factors, ..) = method.run(thin.view(), 9, 1)?;
            // A handful of sampled vectors may be ill-conditioned, and Nyström divides by their small singular values.
            let bound = if method == Method::Nystrom { 1e3 * EPS } else { 64.0 * EPS };
            assert!(error(thin.view(), &factors) <= bound, "{method:?} {m}x{n}: {}", error(thin.view(), &factors));
            let (factors, ..) = method.run(full.view(), usize::MAX, 1)?;
            assert!(factors.rank() <= m.min(n));
            let bound = if method == Method::Nystrom { 1e4 * EPS } else { 64.0 * EPS };
            assert!(error(full.view(), &factors) <= bound, "{method:?} {m}x{n}: {}", error(full.view(), &factors));
        }
    }
    Ok(())
}

/// Both test matrices, sides and power passes reach the randomised SVD: each changes the result on tall and wide input.
#[test]
fn no_parameter_is_ignored() -> Result<(), Error> {
    for (m, n) in [(90, 40), (40, 90)] {
        let a = matrix(m, n, Spectrum::Power(0.5), 3);
        let methods = Method::all();
        let mut seen = Vec::new();
        for method in methods.iter().filter(|m| !matches!(m, Method::Truncated(_) | Method::Nystrom)) {
            let (factors, ..) = method.run(a.view(), 6, 1)?;
            seen.push((method, error(a.view(), &factors)));
        }
        for (at, (x, left)) in seen.iter().enumerate() {
            for (y, right) in &seen[at + 1..] {
                let same_side = |a: &Method, b: &Method| {
                    format!("{a:?}").replace("Cheaper", if m > n { "Right" } else { "Left" })
                        == format!("{b:?}").replace("Cheaper", if m > n { "Right" } else { "Left" })
                };
                assert!(left != right || same_side(x, y), "{x:?} and {y:?} give the same {left}");
            }
        }
    }
    Ok(())
}
