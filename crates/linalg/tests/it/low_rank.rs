//! Products with factors, in f32 and bf16, against the dense matrix; relative errors without the difference.

use loract_linalg::{Accum, Error, LowRank, Mat, MatRef, Par, QbParams, Rng, Storage, qb};
use loract_testkit::spectrum::Spectrum;

use crate::harness::{EPS, error, matrix};

fn naive(a: MatRef<'_>, b: MatRef<'_>) -> Mat {
    Mat::from_fn(a.rows(), b.cols(), |i, j| (0..a.cols()).map(|p| a.get(i, p) * b.get(p, j)).sum())
}

fn close(x: &Mat, y: &Mat, what: &str) {
    assert_eq!((x.rows(), x.cols()), (y.rows(), y.cols()));
    for (a, b) in x.data().iter().zip(y.data()) {
        assert!((a - b).abs() <= 2e-4, "{what}: {a} {b}");
    }
}

fn check<T: Storage>(f: &LowRank<T>, what: &str) {
    let mut rng = Rng::new(&[9]);
    let (m, n, k) = (f.rows(), f.cols(), f.rank());
    let dense = Mat::from_fn(m, n, |i, j| (0..k).map(|p| f.u()[(i, p)].widen() * f.v()[(p, j)].widen()).sum());
    close(&f.to_dense(), &dense, what);
    let b = Mat::from_fn(n, 3, |_, _| rng.normal());
    close(&f.mul(b.view(), Par::Rayon), &naive(dense.view(), b.view()), what);
    let d = Mat::from_fn(m, 5, |_, _| rng.normal());
    close(&f.transpose_mul(d.view(), Par::Serial), &naive(dense.view().t(), d.view()), what);
    let mut left = Mat::from_fn(5, n, |i, j| (i + j) as f32);
    let want = naive(d.view().t(), dense.view());
    f.left_mul(d.view(), left.view_mut(), Accum::Add, Par::Serial);
    close(&left, &Mat::from_fn(5, n, |i, j| want[(i, j)] + (i + j) as f32), what);
    f.left_mul(d.view(), left.view_mut(), Accum::Replace, Par::Serial);
    close(&left, &want, what);
    let mut tile = Mat::from_fn(3, n, |_, _| f32::NAN);
    f.row_tile(2..5, tile.view_mut(), Par::Serial);
    close(&tile, &Mat::from_fn(3, n, |i, j| dense[(i + 2, j)]), what);
    assert_eq!(f.size_bytes(), size_of::<T>() * k * (m + n));
}

#[test]
fn products_and_tiles_equal_those_of_the_dense_matrix() {
    let mut rng = Rng::new(&[9]);
    for (m, n, k) in [(30, 20, 4), (7, 150, 1), (170, 70, 66), (12, 12, 0)] {
        let size = 1.0 / (k.max(1) as f32).sqrt();
        let mut random = |rows, cols| Mat::from_fn(rows, cols, |_, _| size * rng.normal());
        let f = LowRank::new(random(m, k), random(k, n));
        check(&f, &format!("f32 {m}x{n} k={k}"));
        check(&f.to_bf16(), &format!("bf16 {m}x{n} k={k}"));
    }
}

#[test]
fn relative_errors_are_the_true_ones_or_marked() -> Result<(), Error> {
    for (m, n) in [(200, 80), (80, 200)] {
        for power in [0.3, 1.0, 2.0, 4.0] {
            let a = matrix(m, n, Spectrum::Power(power), 3);
            for k in [1, 12, 60] {
                let (factors, info) = qb(a.view(), &QbParams { power_passes: 1, ..QbParams::new(k) })?;
                let truth = error(a.view(), &factors);
                let what = format!("{m}x{n} p={power} k={k} {truth} {info:?}");
                let found = factors.relative_error(a.view(), Par::Rayon)?;
                for (value, trustworthy) in
                    [(found.relative, found.trustworthy), (info.relative_residual, info.trustworthy)]
                {
                    assert!(!trustworthy || (value - truth).abs() <= truth / 8.0, "{what}: {value}");
                    assert!(trustworthy || (value < 1.5e-3 && truth < 1.6e-3), "{what}: {value}");
                    assert!(trustworthy || truth < 2e-3, "{what}");
                    assert!(trustworthy == (truth > 1.4e-3) || (truth / 1.4e-3 - 1.0).abs() < 0.2, "{what}");
                }
                let measured = factors.measured_error(a.view().t().t(), Par::Rayon)?;
                assert!((measured - truth).abs() <= 1e-3 * truth + 4.0 * EPS, "{what}: {measured}");
                let half = factors.to_bf16();
                let widened = LowRank::new(
                    Mat::from_fn(m, half.rank(), |i, j| half.u()[(i, j)].to_f32()),
                    Mat::from_fn(half.rank(), n, |i, j| half.v()[(i, j)].to_f32()),
                );
                let truth = error(a.view(), &widened);
                assert!((half.measured_error(a.view(), Par::Serial)? - truth).abs() <= 1e-3 * truth, "{what}");
                let found = half.relative_error(a.view(), Par::Serial)?;
                assert!(!found.trustworthy || (found.relative - truth).abs() <= truth / 8.0, "{what}: {found:?}");
            }
        }
    }
    Ok(())
}

#[test]
fn a_bad_or_zero_approximation_has_its_error_too() -> Result<(), Error> {
    let a = matrix(30, 20, Spectrum::Flat, 3);
    let far = LowRank::new(Mat::from_fn(30, 2, |_, _| 1e3), Mat::from_fn(2, 20, |i, _| i as f32 - 2.0));
    let found = far.relative_error(a.view(), Par::Serial)?;
    let truth = error(a.view(), &far);
    assert!(found.trustworthy && (found.relative / truth - 1.0).abs() < 1e-3, "{found:?} {truth}");
    let none: LowRank = LowRank::new(Mat::zeros(30, 0), Mat::zeros(0, 20));
    assert_eq!(none.relative_error(a.view(), Par::Serial)?.relative, 1.0);
    let zero: Mat = Mat::zeros(30, 20);
    assert_eq!(none.relative_error(zero.view(), Par::Serial)?.relative, 0.0);
    assert_eq!(none.measured_error(zero.view(), Par::Serial)?, 0.0);
    assert_eq!(far.relative_error(zero.view(), Par::Serial)?.relative, f64::INFINITY);
    assert!(far.measured_error(zero.view(), Par::Serial)?.is_infinite());
    Ok(())
}
