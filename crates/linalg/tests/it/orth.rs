//! Orthonormal bases, thin QR, and the scratch that orthonormalisation says it needs.

use loract_linalg::{
    Error, Mat, Par, QbParams, Rng, orthonormal_basis, orthonormal_basis_scratch_bytes, qb_scratch_bytes, thin_qr,
};
use loract_testkit::spectrum::Spectrum;

use crate::harness::{EPS, defect, matrix, orthonormal};

#[test]
fn qr_multiplies_back_and_r_is_a_trapezoid() -> Result<(), Error> {
    let spectra =
        [Spectrum::Flat, Spectrum::Power(2.0), Spectrum::Geometric { condition: 1e9 }, Spectrum::ExactRank(6)];
    for spectrum in spectra {
        for (m, n) in [(150, 40), (40, 40), (30, 70), (1, 5), (5, 1)] {
            let a = matrix(m, n, spectrum, 7);
            let qr = thin_qr(a.view(), Par::Rayon)?;
            let rank = qr.q.cols();
            assert!(rank <= m.min(n) && qr.r.rows() == rank && qr.r.cols() == n);
            assert!(defect(qr.q.view()) <= orthonormal(rank), "{spectrum:?} {m}x{n}");
            let mut order = qr.order.clone();
            order.sort_unstable();
            assert_eq!(order, (0..n).collect::<Vec<_>>());
            let (mut diff, mut all) = (0.0, 0.0);
            for i in 0..m {
                for j in 0..n {
                    assert!(i >= rank || j >= i || qr.r[(i, j)] == 0.0);
                    let back: f64 = (0..rank).map(|p| f64::from(qr.q[(i, p)]) * f64::from(qr.r[(p, j)])).sum();
                    let want = f64::from(a[(i, qr.order[j])]);
                    diff += (back - want).powi(2);
                    all += want * want;
                }
            }
            assert!((diff / all).sqrt() <= 8.0 * EPS, "{spectrum:?} {m}x{n}: {}", (diff / all).sqrt());
        }
    }
    Ok(())
}

#[test]
fn outlier_columns_keep_their_own_accuracy() -> Result<(), Error> {
    let mut rng = Rng::new(&[3]);
    let a = Mat::from_fn(120, 16, |_, j| rng.normal() * 10f32.powi(2 * j as i32 - 16));
    let qr = thin_qr(a.view(), Par::Serial)?;
    for j in 0..16 {
        let (mut diff, mut all) = (0.0, 0.0);
        for i in 0..120 {
            let back: f64 = (0..16).map(|p| f64::from(qr.q[(i, p)]) * f64::from(qr.r[(p, j)])).sum();
            let want = f64::from(a[(i, qr.order[j])]);
            diff += (back - want).powi(2);
            all += want * want;
        }
        assert!((diff / all).sqrt() <= 8.0 * EPS);
    }
    Ok(())
}

#[test]
fn scratch_grows_with_k_and_not_with_n() -> Result<(), Error> {
    let small = orthonormal_basis_scratch_bytes(2048, 256, 2);
    let tall = orthonormal_basis_scratch_bytes(1 << 20, 256, 2);
    assert!(tall.usual < small.usual + (1 << 20));
    assert!(small.usual < 8 * 2048 * 256 * 2 && small.worst > small.usual);
    let cold = qb_scratch_bytes(8192, 2048, &QbParams::new(256), 2)?;
    assert!(cold.worst < 8192 * 2048 * 4, "less than A itself");
    assert!(qb_scratch_bytes(4, 4, &QbParams::new(0), 1).is_err());
    Ok(())
}

/// ‖Y − Q·Qᵀ·Y‖ / ‖Y‖ (Frobenius), in f64.
fn outside(q: &Mat, y: &Mat) -> f64 {
    let (mut rest, mut all) = (0.0, 0.0);
    for j in 0..y.cols() {
        let mut column: Vec<f64> = (0..y.rows()).map(|i| f64::from(y[(i, j)])).collect();
        all += column.iter().map(|x| x * x).sum::<f64>();
        for p in 0..q.cols() {
            let dot: f64 = (0..y.rows()).map(|i| f64::from(q[(i, p)]) * column[i]).sum();
            (0..y.rows()).for_each(|i| column[i] -= dot * f64::from(q[(i, p)]));
        }
        rest += column.iter().map(|x| x * x).sum::<f64>();
    }
    (rest / all).sqrt()
}

#[test]
fn orthonormal_and_spanning_for_every_conditioning() {
    for spectrum in [
        Spectrum::Flat,
        Spectrum::Power(2.0),
        Spectrum::Geometric { condition: 1e4 },
        Spectrum::Geometric { condition: 1e8 },
        Spectrum::Geometric { condition: 1e12 },
        Spectrum::ExactRank(7),
    ] {
        for (n, k) in [(300, 40), (64, 64), (33, 1)] {
            let y = matrix(n, k, spectrum, 5);
            let q = orthonormal_basis(y.view(), Par::Rayon);
            assert!(defect(q.view()) <= 4.0 * EPS, "{spectrum:?} {n}x{k}: {}", defect(q.view()));
            assert!(outside(&q, &y) <= 4.0 * EPS, "{spectrum:?} {n}x{k}: {}", outside(&q, &y));
            assert!(q.cols() <= k);
        }
    }
}

#[test]
fn outlier_columns_of_any_scale_cost_nothing() {
    let mut rng = Rng::new(&[3]);
    let y = Mat::from_fn(120, 16, |_, j| rng.normal() * 10f32.powi(2 * j as i32 - 16));
    let q = orthonormal_basis(y.view(), Par::Serial);
    assert_eq!(q.cols(), 16);
    assert!(defect(q.view()) <= 4.0 * EPS);
}

#[test]
fn dependent_columns_are_dropped() {
    let mut rng = Rng::new(&[3]);
    let base = Mat::from_fn(50, 3, |_, _| rng.normal());
    // Column 3 repeats 0, column 4 is zero, column 5 is minus column 2.
    let y = Mat::from_fn(50, 6, |i, j| match j {
        3 => base[(i, 0)],
        4 => 0.0,
        5 => -base[(i, 2)],
        _ => base[(i, j)],
    });
    assert_eq!(orthonormal_basis(y.view(), Par::Serial).cols(), 3);
    assert_eq!(orthonormal_basis(Mat::zeros(9, 4).view(), Par::Serial).cols(), 0);
    // More columns than rows: at most n directions exist.
    let wide = Mat::from_fn(5, 12, |_, _| rng.normal());
    let q = orthonormal_basis(wide.view(), Par::Serial);
    assert_eq!(q.cols(), 5);
    assert!(defect(q.view()) <= 4.0 * EPS);
}
