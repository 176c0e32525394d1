//! Cholesky factors of small symmetric matrices (k×k, f64), with and without diagonal pivoting, and triangular inverses.
//!
//! Blocked: within a block of [`BLOCK`] rows a step updates one row, afterwards the trailing triangle in one product.
//! Cost k³/3 multiply-adds each. Source: Hammarling, Higham, Lucas, "LAPACK-style codes for pivoted Cholesky" (2007),
//! routine `pstrf`. Deviations: (1) the upper triangle in row-major order; (2) the stop is an absolute pivot;
//! (3) columns are exchanged only for a pivot more than twice as large.

use crate::gemm::{Accum, Par, matmul};
use crate::mat::{MatMut, MatRef};
use crate::owned::Mat;
use crate::simd::{axpy, dispatch};

/// A pivot is taken where it stands if it is this large beside the largest: exchanges stride through the whole matrix.
const GOOD_ENOUGH: f64 = 0.5;
/// Rows factored before the rest is updated.
const BLOCK: usize = 16;

/// Order of the columns and the upper factor R (rank×k, columns in that order) with RᵀR = G up to what is left below
/// the pivot `stop`. Reads the upper triangle of G.
pub(crate) fn pivoted_cholesky(mut g: Mat<f64>, stop: f64) -> (Vec<usize>, Mat<f64>) {
    let k = g.rows();
    let mut order: Vec<usize> = (0..k).collect();
    let mut rank = k;
    'blocks: for first in (0..k).step_by(BLOCK) {
        let last = (first + BLOCK).min(k);
        // What the rows of this block have taken from the diagonal so far.
        let mut taken = vec![0.0f64; k];
        for p in first..last {
            if p > first {
                let row = &g.data()[(p - 1) * k..p * k];
                taken.iter_mut().zip(row).skip(p).for_each(|(t, r)| *t += r * r);
            }
            let left = |j: usize| g[(j, j)] - taken[j];
            let largest = (p..k).fold(p, |b, j| if left(j) > left(b) { j } else { b });
            if left(largest) <= stop || left(largest).is_nan() {
                rank = p;
                break 'blocks;
            }
            let best = if left(p) >= GOOD_ENOUGH * left(largest) { p } else { largest };
            let pivot = left(best);
            order.swap(p, best);
            taken.swap(p, best);
            swap_symmetric(&mut g, p, best);
            finish_row(&mut g, first, p, pivot);
        }
        update_trailing(&mut g, first, last);
    }
    g.truncate_rows(rank);
    clear_below_diagonal(&mut g);
    (order, g)
}

/// The upper factor R with RᵀR = G, columns in the given order; `None` if a pivot falls to `stop` or below.
pub(crate) fn cholesky(mut g: Mat<f64>, stop: f64) -> Option<Mat<f64>> {
    let k = g.rows();
    for first in (0..k).step_by(BLOCK) {
        let last = (first + BLOCK).min(k);
        for p in first..last {
            let taken: f64 = (first..p).map(|q| g[(q, p)] * g[(q, p)]).sum();
            let pivot = g[(p, p)] - taken;
            if pivot <= stop || pivot.is_nan() {
                return None;
            }
            finish_row(&mut g, first, p, pivot);
        }
        update_trailing(&mut g, first, last);
    }
    clear_below_diagonal(&mut g);
    Some(g)
}

fn clear_below_diagonal(r: &mut Mat<f64>) {
    let k = r.cols();
    r.data_mut().chunks_exact_mut(k.max(1)).enumerate().for_each(|(i, row)| row[..i].fill(0.0));
}

/// Row `p` of G becomes row `p` of R, given the rows `first..p` of its block.
fn finish_row(g: &mut Mat<f64>, first: usize, p: usize, pivot: f64) {
    let k = g.rows();
    let root = pivot.sqrt();
    let (above, row) = g.data_mut().split_at_mut(p * k);
    let row = &mut row[p + 1..k];
    dispatch(|| {
        for r in above[first * k..].chunks_exact(k) {
            axpy(row, -r[p], &r[p + 1..]);
        }
        row.iter_mut().for_each(|x| *x /= root);
    });
    g[(p, p)] = root;
}

/// Takes the rows `first..last` of R from what is below them.
fn update_trailing(g: &mut Mat<f64>, first: usize, last: usize) {
    let k = g.rows();
    if last == k {
        return;
    }
    let (above, below) = g.data_mut().split_at_mut(last * k);
    let rows = MatRef::with_strides(&above[first * k + last..], last - first, k - last, k, 1);
    // By strips, so that most of the lower triangle is left alone.
    const STRIP: usize = 64;
    for start in (0..k - last).step_by(STRIP) {
        let height = STRIP.min(k - last - start);
        let dst = MatMut::with_strides(&mut below[start * k + last + start..], height, k - last - start, k, 1);
        let lhs = rows.col_range(start..start + height).t();
        matmul(dst, Accum::Add, lhs, rows.col_range(start..k - last), -1.0, Par::Serial);
    }
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

/// Inverse of the leading size×size upper triangle of `r`: by blocks of rows from below,
/// `R⁻¹[I, right] = −R⁻¹[I, I]·(R[I, right]·R⁻¹[right, right])`.
pub(crate) fn inverse_upper(r: &Mat<f64>, size: usize) -> Mat<f64> {
    let mut inverse: Mat<f64> = Mat::zeros(size, size);
    let mut between = vec![0.0; BLOCK * size];
    for first in (0..size).step_by(BLOCK).rev() {
        let last = (first + BLOCK).min(size);
        let (height, width) = (last - first, size - last);
        let diagonal = inverse_small(r, first..last);
        let (upper, lower) = inverse.data_mut().split_at_mut(last * size);
        let upper = &mut upper[first * size..];
        for i in 0..height {
            upper[i * size + first..i * size + last].copy_from_slice(&diagonal.data()[i * height..(i + 1) * height]);
        }
        if width > 0 {
            let right = MatRef::with_strides(&lower[last..], width, width, size, 1);
            let coupling = r.view().row_range(first..last).col_range(last..size);
            let middle = MatMut::row_major(&mut between, height, width);
            matmul(middle, Accum::Replace, coupling, right, 1.0, Par::Serial);
            let dst = MatMut::with_strides(&mut upper[last..], height, width, size, 1);
            let middle = MatRef::row_major(&between, height, width);
            matmul(dst, Accum::Replace, diagonal.view(), middle, -1.0, Par::Serial);
        }
    }
    inverse
}

/// Inverse of the triangle on rows and columns `range`, by substitution.
fn inverse_small(r: &Mat<f64>, range: std::ops::Range<usize>) -> Mat<f64> {
    let size = range.len();
    let mut inverse: Mat<f64> = Mat::zeros(size, size);
    for i in (0..size).rev() {
        let pivot = 1.0 / r[(range.start + i, range.start + i)];
        inverse[(i, i)] = pivot;
        for p in i + 1..size {
            let scale = -r[(range.start + i, range.start + p)] * pivot;
            for j in p..size {
                inverse[(i, j)] += scale * inverse[(p, j)];
            }
        }
    }
    inverse
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;

    fn gram_of(rows: usize, k: usize, seed: u64) -> Mat<f64> {
        let mut rng = Rng::new(&[seed]);
        let a = Mat::from_fn(rows, k, |_, _| f64::from(rng.normal()));
        Mat::from_fn(k, k, |i, j| (0..rows).map(|p| a[(p, i)] * a[(p, j)]).sum::<f64>() / rows as f64)
    }

    #[test]
    fn factors_and_inverses_multiply_back() {
        for k in [1, 15, 16, 17, 33, 100, 150] {
            let g = gram_of(2 * k, k, 3);
            let (order, pivoted) = pivoted_cholesky(g.clone(), 0.0);
            let plain = cholesky(g.clone(), 0.0).unwrap_or_else(|| Mat::zeros(0, k));
            assert_eq!((pivoted.rows(), plain.rows()), (k, k));
            let inverse = inverse_upper(&pivoted, k);
            for i in 0..k {
                for j in 0..k {
                    let of = |r: &Mat<f64>| (0..k).map(|p| r[(p, i)] * r[(p, j)]).sum::<f64>();
                    assert!((of(&pivoted) - g[(order[i], order[j])]).abs() < 1e-12 * k as f64);
                    assert!((of(&plain) - g[(i, j)]).abs() < 1e-12 * k as f64);
                    let unit: f64 = (0..k).map(|p| pivoted[(i, p)] * inverse[(p, j)]).sum();
                    assert!((unit - f64::from(u8::from(i == j))).abs() < 1e-10, "{k} {i} {j} {unit}");
                }
            }
            assert!(
                (1..k)
                    .all(|i| GOOD_ENOUGH * pivoted[(i, i)].powi(2) <= pivoted[(i - 1, i - 1)].powi(2) * (1.0 + 1e-12))
            );
        }
    }

    #[test]
    fn rank_is_found_across_blocks() {
        for rank in [1, 5, 16, 17, 40] {
            let g = gram_of(rank, 60, 4);
            assert_eq!(pivoted_cholesky(g.clone(), 1e-10).1.rows(), rank);
            assert!(cholesky(g, 1e-10).is_none());
        }
    }
}
