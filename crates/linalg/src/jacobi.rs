//! One-sided Jacobi SVD in f64: finds small singular values that squaring the matrix would lose.
//!
//! 1. [`triangle`]: R of A = Q·R by Householder reflections, a panel of rows at a time (Q and a copy of A never exist);
//! 2. R·P = Q₂·R₂ with column pivoting, which sorts the rows of R₂ by size;
//! 3. rotate the rows of R₂ in pairs until all are orthogonal: they are σ_i·v_iᵀ then, in the order P.
//!
//! Cost: 2mn² operations for 1, about ten sweeps of 4n³ for 3 (n = 576 takes about a second, n = 2048 a minute). Relative
//! accuracy: for A = B·D with D diagonal, errors depend on the condition number of B, not on D's: outlier channels cost
//! nothing, where the Gram matrix loses all below σ_1·1e-8. Source: Drmač and Veselić, "New fast and accurate Jacobi SVD
//! algorithm", SIAM J. Matrix Anal. Appl. 29 (2008); Demmel, Grigori, Hoemmen, Langou, "TSQR", SIAM J. Sci. Comput. 34
//! (2012). Deviations: (1) a flat tree; (2) plain cyclic sweeps.

use crate::gemm::Par;
use crate::mat::MatRef;
use crate::owned::Mat;
use crate::pool::for_each;
use crate::simd::{axpy, dot, inner_product, rotate, vectorised};
use crate::tridiagonal::reflect;

/// Rows of A reflected together.
const PANEL: usize = 64;
/// Branches of the tree, which run in parallel.
const BRANCHES: usize = 4;
/// Sweeps; ten are usual. What is not orthogonal by then is taken as it is.
const MAX_SWEEPS: usize = 40;

/// Singular values, descending, and right singular vectors, one a row, of A (m×n) through its triangle.
pub(crate) fn jacobi_svd(a: MatRef<'_>, par: Par) -> (Vec<f64>, Mat<f64>) {
    right_vectors(triangle(a, par))
}

/// Singular values, descending, and right singular vectors, one a row, of a square matrix; zero rows for zero values.
pub(crate) fn right_vectors(r: Mat<f64>) -> (Vec<f64>, Mat<f64>) {
    let n = r.rows();
    let (mut rows, order) = pivoted_triangle(r);
    orthogonalise(&mut rows);
    let norms: Vec<f64> = rows.data().chunks_exact(n.max(1)).map(|row| dot(row, row).sqrt()).collect();
    let mut by_size: Vec<usize> = (0..n).collect();
    by_size.sort_by(|&i, &j| norms[j].total_cmp(&norms[i]));
    let mut vectors = Mat::zeros(n, n);
    for (i, &from) in by_size.iter().enumerate() {
        let factor = if norms[from] > 0.0 { 1.0 / norms[from] } else { 0.0 };
        (0..n).for_each(|j| vectors[(i, order[j])] = rows[(from, j)] * factor);
    }
    (by_size.iter().map(|&i| norms[i]).collect(), vectors)
}

/// R (n×n, upper) with RᵀR = AᵀA, without squaring.
pub(crate) fn triangle(a: MatRef<'_>, par: Par) -> Mat<f64> {
    let (m, n) = (a.rows(), a.cols());
    let step = m.div_ceil(BRANCHES).max(2 * n).max(1);
    let mut branches: Vec<Mat<f64>> = (0..m.div_ceil(step).max(1)).map(|_| Mat::zeros(n, n)).collect();
    for_each(par, branches.iter_mut().collect(), |b, r| {
        let end = ((b + 1) * step).min(m);
        for start in (b * step..end).step_by(PANEL) {
            let rows = PANEL.min(end - start);
            let mut panel: Vec<f64> = Vec::with_capacity(rows * n);
            for i in start..start + rows {
                panel.extend((0..n).map(|j| f64::from(a.get(i, j))));
            }
            fold(r, &mut panel);
        }
    });
    let mut branches = branches.into_iter();
    let mut r = branches.next().unwrap_or_else(|| Mat::zeros(n, n));
    branches.for_each(|mut other| fold(&mut r, other.data_mut()));
    r
}

/// R ← the triangle of [R; panel], by reflections that touch one row of R each.
fn fold(r: &mut Mat<f64>, panel: &mut [f64]) {
    let n = r.cols();
    let (mut w, mut v) = (vec![0.0; n], vec![0.0; panel.len() / n.max(1)]);
    for j in 0..n {
        v.iter_mut().zip(panel.chunks_exact(n)).for_each(|(v, row)| *v = row[j]);
        let below: f64 = v.iter().map(|x| x * x).sum();
        if below == 0.0 {
            continue;
        }
        let row = &mut r.data_mut()[j * n + j..(j + 1) * n];
        let beta = -(row[0] * row[0] + below).sqrt().copysign(row[0]);
        let (tau, factor) = ((beta - row[0]) / beta, 1.0 / (row[0] - beta));
        v.iter_mut().for_each(|v| *v *= factor);
        row[0] = beta;
        reflect_below(&mut row[1..], panel, &v, &mut w[j + 1..], tau);
    }
}

vectorised! {
    /// w = row + Σ v_i·below_i; row −= tau·w; below_i −= tau·v_i·w, for the last row.len() columns of the panel.
    fn reflect_below<'a>(row: &'a mut [f64], panel: &'a mut [f64], v: &'a [f64], w: &'a mut [f64], tau: f64) -> () {
        let n = panel.len() / v.len();
        let from = n - row.len();
        w.copy_from_slice(row);
        for (&v, below) in v.iter().zip(panel.chunks_exact(n)).filter(|(v, _)| **v != 0.0) {
            axpy(w, v, &below[from..]);
        }
        axpy(row, -tau, w);
        for (&v, below) in v.iter().zip(panel.chunks_exact_mut(n)).filter(|(v, _)| **v != 0.0) {
            axpy(&mut below[from..], -tau * v, w);
        }
    }
}

/// The triangle of R[:, order], largest remaining column first.
fn pivoted_triangle(mut r: Mat<f64>) -> (Mat<f64>, Vec<usize>) {
    let n = r.rows();
    let mut order: Vec<usize> = (0..n).collect();
    let (mut squares, mut w, mut v) = (vec![0.0; n], vec![0.0; n], vec![0.0; n]);
    for j in 0..n {
        let data = r.data_mut();
        squares.fill(0.0);
        add_squares(&data[j * n..], &mut squares, j);
        let best = (j..n).fold(j, |b, c| if squares[c] > squares[b] { c } else { b });
        if best != j {
            order.swap(j, best);
            data.chunks_exact_mut(n).for_each(|row| row.swap(j, best));
        }
        let rows = n - j;
        v[..rows].iter_mut().zip(data[j * n..].chunks_exact(n)).for_each(|(v, row)| *v = row[j]);
        let (tau, beta) = reflect(&mut v[..rows]);
        reflect_trailing(&mut data[j * n..], &v[..rows], &mut w, tau, j);
        data[j * n + j] = beta;
    }
    (r, order)
}

vectorised! {
    /// Adds the squares of the rows to `squares`, from column `from` on.
    fn add_squares<'a>(rows: &'a [f64], squares: &'a mut [f64], from: usize) -> () {
        for row in rows.chunks_exact(squares.len()) {
            squares[from..].iter_mut().zip(&row[from..]).for_each(|(s, x)| *s += x * x);
        }
    }
}

vectorised! {
    fn rotate_pair<'a>(x: &'a mut [f64], y: &'a mut [f64], c: f64, s: f64) -> () {
        rotate(x, y, c, s);
    }
}

vectorised! {
    /// rows −= tau·v·(vᵀ·rows) from column j+1 on; column j becomes zero.
    fn reflect_trailing<'a>(rows: &'a mut [f64], v: &'a [f64], w: &'a mut [f64], tau: f64, j: usize) -> () {
        let n = w.len();
        w.fill(0.0);
        for (&v, row) in v.iter().zip(rows.chunks_exact(n)) {
            axpy(&mut w[j + 1..], v, &row[j + 1..]);
        }
        for (&v, row) in v.iter().zip(rows.chunks_exact_mut(n)) {
            axpy(&mut row[j + 1..], -tau * v, &w[j + 1..]);
            row[j] = 0.0;
        }
    }
}

/// Rotates pairs of rows until each pair is orthogonal to rounding.
fn orthogonalise(rows: &mut Mat<f64>) {
    let (count, n) = (rows.rows(), rows.cols());
    let tolerance = f64::EPSILON * (n as f64).sqrt();
    for _ in 0..MAX_SWEEPS {
        let mut squares: Vec<f64> = rows.data().chunks_exact(n.max(1)).map(|row| inner_product(row, row)).collect();
        let mut turned = false;
        for i in 0..count {
            let (above, below) = rows.data_mut().split_at_mut((i + 1) * n);
            let x = &mut above[i * n..];
            for (y, j) in below.chunks_exact_mut(n).zip(i + 1..) {
                let (a, b) = (squares[i], squares[j]);
                let c = inner_product(x, y);
                if c.abs() <= tolerance * (a * b).sqrt() || c == 0.0 {
                    continue;
                }
                turned = true;
                let zeta = (b - a) / (2.0 * c);
                let t = 1f64.copysign(zeta) / (zeta.abs() + zeta.hypot(1.0));
                let cos = 1.0 / t.hypot(1.0);
                rotate_pair(x, y, cos, -cos * t);
                (squares[i], squares[j]) = (a - t * c, b + t * c);
                if squares[i] < 0.25 * a {
                    squares[i] = inner_product(x, x);
                }
                if squares[j] < 0.25 * b {
                    squares[j] = inner_product(y, y);
                }
            }
        }
        if !turned {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;

    #[test]
    fn triangle_has_the_gram_matrix_of_a() {
        let mut rng = Rng::new(&[4]);
        for (m, n) in [(1, 1), (5, 9), (300, 20), (700, 33)] {
            let a = Mat::from_fn(m, n, |_, _| rng.normal());
            let r = triangle(a.view(), Par::Rayon);
            for i in 0..n {
                for j in 0..n {
                    let want: f64 = (0..m).map(|p| f64::from(a[(p, i)]) * f64::from(a[(p, j)])).sum();
                    let got: f64 = (0..n).map(|p| r[(p, i)] * r[(p, j)]).sum();
                    assert!((got - want).abs() < 1e-11 * m as f64, "{m}x{n}");
                    assert!(j >= i || r[(i, j)] == 0.0);
                }
            }
        }
    }

    /// A = L·D with L lower triangular of ones and D graded over 30 decades: σ's product is |det|, whatever the grading.
    #[test]
    fn graded_values_are_found_to_relative_accuracy() {
        let n = 8;
        let a = Mat::from_fn(n, n, |i, j| if i >= j { 10f64.powi(-4 * j as i32) } else { 0.0 });
        let (values, vectors) = right_vectors(a);
        let log_det: f64 = (0..n).map(|j| 10f64.powi(-4 * j as i32).ln()).sum();
        assert!((values.iter().map(|x| x.ln()).sum::<f64>() - log_det).abs() < 1e-12 * n as f64, "{values:?}");
        for i in 0..n {
            for j in 0..n {
                let along: f64 = (0..n).map(|p| vectors[(i, p)] * vectors[(j, p)]).sum();
                assert!((along - f64::from(u8::from(i == j))).abs() < 1e-13);
            }
        }
    }
}
