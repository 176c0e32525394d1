//! Orthonormal basis of the columns of a tall matrix, at near matrix-product speed.
//!
//! Cholesky QR in f64 with pivoting, a second pass, and deferral of the columns that a pass cannot resolve:
//!
//! 1. scale every column to unit norm (outlier channels cost nothing);
//! 2. Gram matrix in f64, Cholesky with diagonal pivoting, stopped at a pivot of [`PIVOT_STOP`] (squared): the columns
//!    so far have a condition number near 1e5 at most, so the first pass is orthonormal to 1e-6 and the second to 1e-15;
//! 3. project the deferred columns against the basis (twice), scale, and go on with them at 2.
//!
//! A column whose remainder falls below [`NEGLIGIBLE`] of its own norm is dropped: it lies in the span of the others as
//! exactly as f64 can tell. So a basis of `Y` has **at most** `Y.cols()` columns and fewer when `Y` is rank deficient in
//! that sense (a zero column, a repeated column); none for a zero matrix. When the dependence holds only up to f32
//! rounding, the surplus columns stay, orthonormal to the rest, and products with them are rounding noise.
//!
//! Cost for n×k: four f64 products of 2nk², more only for badly conditioned input; memory 3nk f64.
//! Source: pivoted and shifted Cholesky QR, Fukaya et al., SIAM J. Sci. Comput. 42 (2020). Deviations: (1) column
//! scaling first; (2) deferral by projection in place of a shift.

use crate::gemm::{Accum, Par, matmul};
use crate::mat::{Mat, MatRef};

/// Squared pivot, relative to a unit column, at which a pass stops.
const PIVOT_STOP: f64 = 1e-10;
/// Remainder of a unit column below which it counts as dependent.
const NEGLIGIBLE: f64 = 1e-13;

/// Orthonormal columns spanning those of `y` (n×k, k ≤ n gives the best speed); see the module's contract.
pub fn orthonormal_basis(y: MatRef<'_>, par: Par) -> Mat {
    let (n, k) = (y.rows(), y.cols());
    let mut pending = Mat::from_fn(n, k, |i, j| f64::from(y.get(i, j)));
    unit_columns(&mut pending, 0.0);
    let mut basis: Mat<f64> = Mat::zeros(n, 0);
    while pending.cols() > 0 && basis.cols() < n {
        let gram = gram(&pending, par);
        let (order, factor) = pivoted_cholesky(gram);
        let accepted = factor.rows().min(n - basis.cols());
        if accepted == 0 {
            break;
        }
        let first = times(&select(&pending, &order[..accepted]), &inverse_upper(&factor, accepted), par);
        let second = pivoted_cholesky_in_place_order(self::gram(&first, par));
        let fresh = times(&first, &inverse_upper(&second, accepted), par);
        basis = beside(&basis, &fresh);
        pending = select(&pending, &order[accepted..]);
        // Twice is enough (Kahan, Parlett): the second projection removes what rounding left of the first.
        for threshold in [NEGLIGIBLE, 0.5] {
            project_out(&mut pending, &basis, par);
            unit_columns(&mut pending, threshold.min(NEGLIGIBLE));
        }
    }
    Mat::from_fn(n, basis.cols(), |i, j| basis[(i, j)] as f32)
}

/// Scales the columns to norm 1 and drops those whose norm is at most `negligible`.
fn unit_columns(a: &mut Mat<f64>, negligible: f64) {
    let mut norms = vec![0.0f64; a.cols()];
    for i in 0..a.rows() {
        for (j, norm) in norms.iter_mut().enumerate() {
            *norm += a[(i, j)] * a[(i, j)];
        }
    }
    norms.iter_mut().for_each(|x| *x = x.sqrt());
    let kept: Vec<usize> = (0..a.cols()).filter(|&j| norms[j] > negligible).collect();
    *a = Mat::from_fn(a.rows(), kept.len(), |i, j| a[(i, kept[j])] / norms[kept[j]]);
}

fn gram(a: &Mat<f64>, par: Par) -> Mat<f64> {
    let mut g = Mat::zeros(a.cols(), a.cols());
    matmul(g.view_mut(), Accum::Replace, a.view().t(), a.view(), 1.0, par);
    g
}

fn times(a: &Mat<f64>, b: &Mat<f64>, par: Par) -> Mat<f64> {
    let mut c = Mat::zeros(a.rows(), b.cols());
    matmul(c.view_mut(), Accum::Replace, a.view(), b.view(), 1.0, par);
    c
}

fn select(a: &Mat<f64>, cols: &[usize]) -> Mat<f64> {
    Mat::from_fn(a.rows(), cols.len(), |i, j| a[(i, cols[j])])
}

fn beside(a: &Mat<f64>, b: &Mat<f64>) -> Mat<f64> {
    let split = a.cols();
    Mat::from_fn(b.rows(), split + b.cols(), |i, j| if j < split { a[(i, j)] } else { b[(i, j - split)] })
}

/// `a −= basis·(basisᵀ·a)`.
fn project_out(a: &mut Mat<f64>, basis: &Mat<f64>, par: Par) {
    let mut onto = Mat::zeros(basis.cols(), a.cols());
    matmul(onto.view_mut(), Accum::Replace, basis.view().t(), a.view(), 1.0, par);
    matmul(a.view_mut(), Accum::Add, basis.view(), onto.view(), -1.0, par);
}

/// Order of the columns and the upper factor R (rank×k, columns in that order) with R'R = G, by largest pivot.
fn pivoted_cholesky(mut g: Mat<f64>) -> (Vec<usize>, Mat<f64>) {
    let k = g.rows();
    let mut order: Vec<usize> = (0..k).collect();
    let mut rank = 0;
    while rank < k {
        let best = (rank..k).fold(rank, |b, j| if g[(j, j)] > g[(b, b)] { j } else { b });
        if g[(best, best)] <= PIVOT_STOP {
            break;
        }
        if best != rank {
            order.swap(rank, best);
            for i in 0..k {
                let t = g[(rank, i)];
                g[(rank, i)] = g[(best, i)];
                g[(best, i)] = t;
            }
            for i in 0..k {
                let t = g[(i, rank)];
                g[(i, rank)] = g[(i, best)];
                g[(i, best)] = t;
            }
        }
        eliminate(&mut g, rank);
        rank += 1;
    }
    let factor = Mat::from_fn(rank, k, |i, j| if j < i { 0.0 } else { g[(i, j)] });
    (order, factor)
}

/// The upper factor of a Gram matrix that is near the identity; no pivoting needed.
fn pivoted_cholesky_in_place_order(mut g: Mat<f64>) -> Mat<f64> {
    let k = g.rows();
    (0..k).for_each(|step| eliminate(&mut g, step));
    Mat::from_fn(k, k, |i, j| if j < i { 0.0 } else { g[(i, j)] })
}

/// One step of right-looking Cholesky: row `p` becomes the row of R, the block below and right is updated.
fn eliminate(g: &mut Mat<f64>, p: usize) {
    let k = g.rows();
    let root = g[(p, p)].sqrt();
    let data = g.data_mut();
    data[p * k + p..(p + 1) * k].iter_mut().for_each(|x| *x /= root);
    let (above, below) = data.split_at_mut((p + 1) * k);
    let pivot_row = &above[p * k..];
    for (i, row) in below.chunks_exact_mut(k).enumerate() {
        let i = i + p + 1;
        let scale = pivot_row[i];
        for (x, &r) in row[p + 1..].iter_mut().zip(&pivot_row[p + 1..]) {
            *x -= scale * r;
        }
    }
}

/// Inverse of the leading size×size upper triangle.
fn inverse_upper(r: &Mat<f64>, size: usize) -> Mat<f64> {
    let mut inverse: Mat<f64> = Mat::zeros(size, size);
    for i in (0..size).rev() {
        let pivot = 1.0 / r[(i, i)];
        inverse[(i, i)] = pivot;
        let (upper, lower) = inverse.data_mut().split_at_mut((i + 1) * size);
        let row = &mut upper[i * size..];
        for p in i + 1..size {
            let scale = -r[(i, p)] * pivot;
            let below = &lower[(p - i - 1) * size..(p - i) * size];
            for (x, &b) in row[p..].iter_mut().zip(&below[p..]) {
                *x += scale * b;
            }
        }
    }
    inverse
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;
    use loract_testkit::spectrum::{Spectrum, with_spectrum};

    fn as_mat((data, rows, cols): (Vec<f32>, usize, usize)) -> Mat {
        Mat::from_fn(rows, cols, |i, j| data[i * cols + j])
    }

    /// Largest |QᵀQ − I|, in f64.
    fn defect(q: &Mat) -> f64 {
        let mut worst = 0.0f64;
        for a in 0..q.cols() {
            for b in 0..=a {
                let dot: f64 = (0..q.rows()).map(|i| f64::from(q[(i, a)]) * f64::from(q[(i, b)])).sum();
                worst = worst.max((dot - f64::from(u8::from(a == b))).abs());
            }
        }
        worst
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
        let eps = f64::from(f32::EPSILON);
        for spectrum in [
            Spectrum::Flat,
            Spectrum::Power(2.0),
            Spectrum::Geometric { condition: 1e4 },
            Spectrum::Geometric { condition: 1e8 },
            Spectrum::Geometric { condition: 1e12 },
            Spectrum::ExactRank(7),
        ] {
            for (n, k) in [(300, 40), (64, 64), (33, 1)] {
                let y = as_mat(with_spectrum(n, k, spectrum, 5));
                let q = orthonormal_basis(y.view(), Par::Rayon);
                assert!(defect(&q) <= 4.0 * eps, "{spectrum:?} {n}x{k}: {}", defect(&q));
                assert!(outside(&q, &y) <= 4.0 * eps, "{spectrum:?} {n}x{k}: {}", outside(&q, &y));
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
        assert!(defect(&q) <= 4.0 * f64::from(f32::EPSILON));
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
        assert!(defect(&q) <= 4.0 * f64::from(f32::EPSILON));
    }
}
