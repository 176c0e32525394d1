//! Orthonormal basis of the columns of a tall matrix, at near matrix-product speed.
//!
//! Cholesky QR in f64 with pivoting, a second pass where the first is not enough, and deferral of the columns that a pass
//! cannot resolve:
//!
//! 1. scale every column to unit norm (outlier channels cost nothing);
//! 2. Gram matrix in f64, Cholesky with diagonal pivoting, stopped at a squared pivot of [`PIVOT_STOP`]: the columns so
//!    far have a condition number near 1e5 at most;
//! 3. columns · R⁻¹. Its defect is about k·eps/pivot in f64: below [`PIVOT_GOOD`] a second pass (Gram matrix, Cholesky,
//!    product) brings it to rounding;
//! 4. project the deferred columns against the basis (twice), scale, and go on with them at 2.
//!
//! A column whose remainder falls below [`NEGLIGIBLE`] of its own norm is dropped: it lies in the span of the others as
//! exactly as f64 can tell. So a basis of `Y` has **at most** `Y.cols()` columns and fewer when `Y` is rank deficient in
//! that sense (a zero column, a repeated column); none for a zero matrix. When the dependence holds only up to f32
//! rounding, the surplus columns stay, orthonormal to the rest, and products with them are rounding noise.
//!
//! Cost for n×k: a Gram matrix (5/8 of 2nk², the lower triangle left out by blocks) and a product of 2nk², in f64; twice
//! that for condition numbers above about 1e3, more above 1e5; memory 2nk to 3nk f64. Source: pivoted and shifted
//! Cholesky QR, Fukaya et al., SIAM J. Sci. Comput. 42 (2020). Deviations: (1) column scaling first; (2) deferral by
//! projection in place of a shift.

use rayon::prelude::*;

use crate::gemm::{Accum, Par, matmul};
use crate::mat::{Mat, MatMut, MatRef};

/// Squared pivot, relative to a unit column, at which a pass stops.
const PIVOT_STOP: f64 = 1e-10;
/// Squared pivot from which one pass is orthonormal to f32 rounding for any k that fits in memory.
const PIVOT_GOOD: f64 = 1e-6;
/// Remainder of a unit column below which it counts as dependent.
const NEGLIGIBLE: f64 = 1e-13;

/// Orthonormal columns spanning those of `y` (n×k, k ≤ n gives the best speed); see the module's contract.
pub fn orthonormal_basis(y: MatRef<'_>, par: Par) -> Mat {
    let n = y.rows();
    let mut pending = Mat::from_fn(n, y.cols(), |i, j| f64::from(y.get(i, j)));
    unit_columns(&mut pending, 0.0);
    let mut basis: Mat<f64> = Mat::zeros(n, 0);
    while pending.cols() > 0 && basis.cols() < n {
        let (order, factor, least) = pivoted_cholesky(gram(&pending, par));
        let accepted = factor.rows().min(n - basis.cols());
        if accepted == 0 {
            break;
        }
        // The order of the columns goes into the small factor: nothing of size n is moved.
        let inverse = inverse_upper(&factor, accepted);
        let mut ordered = Mat::zeros(pending.cols(), accepted);
        for (row, &column) in order[..accepted].iter().enumerate() {
            ordered.data_mut()[column * accepted..(column + 1) * accepted]
                .copy_from_slice(&inverse.data()[row * accepted..(row + 1) * accepted]);
        }
        let mut fresh = times(&pending, &ordered, par);
        if least < PIVOT_GOOD {
            let second = cholesky(gram(&fresh, par));
            fresh = times(&fresh, &inverse_upper(&second, accepted), par);
        }
        let rest = &order[accepted..];
        pending = Mat::from_fn(n, rest.len(), |i, j| pending[(i, rest[j])]);
        basis = if basis.cols() == 0 { fresh } else { beside(&basis, &fresh) };
        // Twice is enough (Kahan, Parlett): the second projection removes what rounding left of the first.
        for _ in 0..2 {
            if pending.cols() > 0 {
                project_out(&mut pending, &basis, par);
                unit_columns(&mut pending, NEGLIGIBLE);
            }
        }
    }
    Mat::from_fn(n, basis.cols(), |i, j| basis[(i, j)] as f32)
}

/// Scales the columns to norm 1 and drops those whose norm is at most `negligible`.
fn unit_columns(a: &mut Mat<f64>, negligible: f64) {
    let cols = a.cols();
    let mut norms = vec![0.0f64; cols];
    for row in a.data().chunks_exact(cols.max(1)) {
        norms.iter_mut().zip(row).for_each(|(norm, x)| *norm += x * x);
    }
    norms.iter_mut().for_each(|x| *x = x.sqrt());
    if norms.iter().any(|&norm| norm <= negligible) {
        let kept: Vec<usize> = (0..cols).filter(|&j| norms[j] > negligible).collect();
        *a = Mat::from_fn(a.rows(), kept.len(), |i, j| a[(i, kept[j])] / norms[kept[j]]);
        return;
    }
    let factors: Vec<f64> = norms.iter().map(|norm| 1.0 / norm).collect();
    a.data_mut().par_chunks_mut(cols.max(1)).with_min_len(64).for_each(|row| {
        row.iter_mut().zip(&factors).for_each(|(x, factor)| *x *= factor);
    });
}

/// Blocks of columns of a Gram matrix; those below the diagonal are left out.
const GRAM_BLOCKS: usize = 4;

/// The upper triangle of AᵀA; what is below may be anything.
fn gram(a: &Mat<f64>, par: Par) -> Mat<f64> {
    let k = a.cols();
    let mut g = Mat::zeros(k, k);
    let step = k.div_ceil(GRAM_BLOCKS).max(16);
    for start in (0..k).step_by(step) {
        let end = (start + step).min(k);
        let block = MatMut::with_strides(&mut g.data_mut()[start * k + start..], end - start, k - start, k, 1);
        let lhs = a.view().col_range(start..end).t();
        matmul(block, Accum::Replace, lhs, a.view().col_range(start..k), 1.0, par);
    }
    g
}

fn times(a: &Mat<f64>, b: &Mat<f64>, par: Par) -> Mat<f64> {
    let mut c = Mat::zeros(a.rows(), b.cols());
    matmul(c.view_mut(), Accum::Replace, a.view(), b.view(), 1.0, par);
    c
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

/// Order of the columns, the upper factor R (rank×k, columns in that order) with RᵀR = G, by largest pivot, and the
/// smallest pivot squared. Reads the upper triangle of G.
fn pivoted_cholesky(mut g: Mat<f64>) -> (Vec<usize>, Mat<f64>, f64) {
    let k = g.rows();
    let mut order: Vec<usize> = (0..k).collect();
    let (mut rank, mut least) = (0, f64::INFINITY);
    while rank < k {
        let best = (rank..k).fold(rank, |b, j| if g[(j, j)] > g[(b, b)] { j } else { b });
        let pivot = g[(best, best)];
        if pivot <= PIVOT_STOP || pivot.is_nan() {
            break;
        }
        least = least.min(pivot);
        order.swap(rank, best);
        swap_symmetric(&mut g, rank, best);
        eliminate(&mut g, rank);
        rank += 1;
    }
    (order, Mat::from_fn(rank, k, |i, j| if j < i { 0.0 } else { g[(i, j)] }), least)
}

/// Exchanges rows and columns p < q of a symmetric matrix of which only the upper triangle is stored, and of the rows of
/// R above it.
fn swap_symmetric(g: &mut Mat<f64>, p: usize, q: usize) {
    if p == q {
        return;
    }
    let k = g.rows();
    let data = g.data_mut();
    for i in 0..p {
        data.swap(i * k + p, i * k + q);
    }
    for i in p + 1..q {
        data.swap(p * k + i, i * k + q);
    }
    for j in q + 1..k {
        data.swap(p * k + j, q * k + j);
    }
    data.swap(p * k + p, q * k + q);
}

/// The upper factor of a Gram matrix that is near the identity; no pivoting needed.
fn cholesky(mut g: Mat<f64>) -> Mat<f64> {
    let k = g.rows();
    (0..k).for_each(|step| eliminate(&mut g, step));
    g
}

/// One step of right-looking Cholesky on the upper triangle: row `p` becomes the row of R, the triangle below is updated.
fn eliminate(g: &mut Mat<f64>, p: usize) {
    let k = g.rows();
    let root = g[(p, p)].sqrt();
    let data = g.data_mut();
    data[p * k + p..(p + 1) * k].iter_mut().for_each(|x| *x /= root);
    let (above, below) = data.split_at_mut((p + 1) * k);
    let pivot_row = &above[p * k..];
    for (i, row) in (p + 1..k).zip(below.chunks_exact_mut(k)) {
        let scale = pivot_row[i];
        row[i..].iter_mut().zip(&pivot_row[i..]).for_each(|(x, &r)| *x -= scale * r);
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
