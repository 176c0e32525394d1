//! What comes back for input that is no nice matrix.

use loract_linalg::{
    Error, Mat, MatRef, Par, QbParams, Rng, SvdMethod, Warm, nystrom, qb, qb_warm, thin_qr, truncated_svd,
};
use loract_linalg::{NystromParams, TestMatrix};
use loract_testkit::spectrum::Spectrum;

use crate::harness::{EPS, Method, error, matrix};

/// Token embeddings look so: few distinct rows, repeated; full rank asked for.
#[test]
fn repeated_rows_at_full_rank_are_reproduced() -> Result<(), Error> {
    for distinct in [1, 7, 29, 31, 32, 40] {
        let base = matrix(64, 32, Spectrum::Flat, 8);
        let a = Mat::from_fn(48, 32, |i, j| 0.02 * base[(i * 5 % distinct, j)]);
        for k in [32, 31] {
            let (factors, info) = qb(a.view(), &QbParams::new(k))?;
            let bound = if k >= distinct.min(32) { 1e-5 } else { 0.5 };
            assert!(error(a.view(), &factors) < bound, "{distinct} rows, k={k}: {info:?}");
        }
    }
    Ok(())
}

#[test]
fn zero_rows_and_columns_stay_zero() -> Result<(), Error> {
    let full = matrix(90, 70, Spectrum::Power(1.0), 6);
    let a = Mat::from_fn(90, 70, |i, j| if i % 3 == 0 || j % 4 == 1 { 0.0 } else { full[(i, j)] });
    let size = f64::from(a.data().iter().fold(0.0f32, |most, x| most.max(x.abs())));
    for method in Method::all() {
        for k in [10, 70] {
            let (factors, ..) = method.run(a.view(), k, 4)?;
            let back = factors.to_dense();
            assert!(back.data().iter().all(|x| x.is_finite()), "{method:?}");
            // Nyström and Gaussian factors alike: a zero row of A times anything is zero.
            let zero = |i: usize, j: usize| i.is_multiple_of(3) || j % 4 == 1;
            for i in 0..90 {
                for j in (0..70).filter(|&j| zero(i, j)) {
                    assert!(
                        f64::from(back[(i, j)].abs()) <= 64.0 * EPS * size,
                        "{method:?} {k} {i} {j} {}",
                        back[(i, j)]
                    );
                }
            }
        }
    }
    Ok(())
}

#[test]
fn huge_subnormal_and_zero_values_are_no_special_case() -> Result<(), Error> {
    let unit = matrix(60, 20, Spectrum::ExactRank(3), 4);
    for (scale, bound) in [(1e30f32, 32.0 * EPS), (1e36, 32.0 * EPS), (1e-30, 32.0 * EPS), (1e-40, 1e-2)] {
        for view in [unit.view(), unit.view().t()] {
            let a = Mat::from_fn(view.rows(), view.cols(), |i, j| view.get(i, j) * scale);
            for method in Method::all().into_iter().filter(|&m| m != Method::Nystrom) {
                let (factors, ..) = method.run(a.view(), 6, 1)?;
                let got = error(a.view(), &factors);
                assert!(got < bound, "{scale} {method:?}: {got}");
            }
        }
    }
    for method in Method::all() {
        let zero = Mat::zeros(8, 5);
        let (factors, ..) = method.run(zero.view(), 3, 1)?;
        assert_eq!((factors.rank(), factors.to_dense()), (0, Mat::zeros(8, 5)), "{method:?}");
    }
    Ok(())
}

#[test]
fn no_rows_or_no_columns_give_rank_zero() -> Result<(), Error> {
    for (m, n) in [(0, 5), (5, 0), (0, 0)] {
        let a: Mat = Mat::zeros(m, n);
        for method in Method::all() {
            let (factors, ..) = method.run(a.view(), 3, 1)?;
            assert_eq!((factors.rows(), factors.cols(), factors.rank()), (m, n, 0), "{method:?}");
        }
        assert_eq!(thin_qr(a.view(), Par::Rayon)?.q.cols(), 0);
    }
    Ok(())
}

#[test]
fn bad_input_is_named_in_the_coordinates_of_the_view_given() {
    let mut a = Mat::zeros(4, 3);
    for method in Method::all() {
        assert_eq!(method.run(a.view(), 0, 1).err(), Some(Error::ZeroRank { rows: 4, cols: 3 }), "{method:?}");
    }
    a[(2, 1)] = f32::INFINITY;
    let place = |result: Result<(), Error>| match result {
        Err(Error::NonFinite { row, col, rows, cols, .. }) => (row, col, rows, cols),
        other => panic!("{other:?}"),
    };
    for method in Method::all() {
        let run = |a: MatRef<'_>| place(method.run(a, 2, 1).map(drop));
        assert_eq!(run(a.view()), (2, 1, 4, 3), "{method:?}");
        assert_eq!(run(a.view().t()), (1, 2, 3, 4), "{method:?}");
        assert_eq!(run(a.view().row_range(1..4)), (1, 1, 3, 3), "{method:?}");
    }
    assert_eq!(place(thin_qr(a.view().t(), Par::Serial).map(drop)), (1, 2, 3, 4));
    let message = qb(a.view(), &QbParams::new(2)).err().map(|e| e.to_string());
    assert_eq!(message.as_deref(), Some("non-finite value inf at row 2, column 1 of a 4x3 matrix"));
    // Every place is found, in every layout and whatever else the matrix holds.
    let mut rng = Rng::new(&[1]);
    let nice = Mat::from_fn(70, 33, |_, _| rng.normal());
    for at in [(0, 0), (69, 32), (64, 0), (31, 16)] {
        for value in [f32::NAN, f32::NEG_INFINITY] {
            let mut a = nice.clone();
            a[at] = value;
            for test_matrix in [TestMatrix::SampledVectors, TestMatrix::NormWeightedVectors, TestMatrix::Gaussian] {
                let params = QbParams { test_matrix, ..QbParams::new(4) };
                assert_eq!(place(qb(a.view(), &params).map(drop)), (at.0, at.1, 70, 33));
                assert_eq!(place(qb(a.view().t(), &params).map(drop)), (at.1, at.0, 33, 70));
            }
            assert!(nystrom(a.view(), &NystromParams::new(2)).is_err());
            assert!(truncated_svd(a.view(), 2, SvdMethod::Direct, Par::Serial).is_err());
            let basis = Mat::from_fn(33, 2, |i, j| a[(i + 36, j)]);
            let warm = qb_warm(nice.view(), basis.view(), Warm::Reuse, &QbParams::new(2));
            assert_eq!(warm.is_err(), basis.data().iter().any(|x| !x.is_finite()));
        }
    }
}

/// A strided view that is neither rows nor columns side by side.
#[test]
fn any_strides_are_read() -> Result<(), Error> {
    let a = matrix(40, 25, Spectrum::Power(1.0), 9);
    let spread: Vec<f32> = (0..40 * 75).map(|at| if at % 3 == 0 { a.data()[at / 3] } else { f32::NAN }).collect();
    let view = MatRef::with_strides(&spread, 40, 25, 75, 3);
    for method in Method::all() {
        let (plain, strided) = (method.run(a.view(), 7, 2)?.0, method.run(view, 7, 2)?.0);
        assert!((error(a.view(), &plain) - error(a.view(), &strided)).abs() < 1e-5, "{method:?}");
    }
    Ok(())
}
