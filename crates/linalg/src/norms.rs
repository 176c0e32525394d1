//! Frobenius and column norms in f64, with the check that every element is finite, in one pass over the matrix.
//!
//! Sums are taken per chunk of rows and added in the order of the chunks: the same numbers whatever the thread count.

use crate::error::Error;
use crate::gemm::Par;
use crate::mat::MatRef;
use crate::pool::for_each;
use crate::simd::{dispatch, sum_of_squares};

/// Elements below which a norm is not worth waking other threads.
const SERIAL_BELOW: usize = 1 << 18;
/// Rows summed by one task.
pub(crate) const CHUNK: usize = 64;

/// ‖A‖² (Frobenius). One pass over A.
///
/// # Errors
/// [`Error::NonFinite`] with the first such element in row order.
pub(crate) fn squared_norm(a: MatRef<'_>, par: Par) -> Result<f64, Error> {
    let along = if a.col_stride() == 1 { a } else { a.t() };
    let mut sums = vec![0.0; along.rows().div_ceil(CHUNK)];
    let par = if a.rows() * a.cols() < SERIAL_BELOW { Par::Serial } else { par };
    for_each(par, sums.iter_mut().collect(), |chunk, sum| {
        let rows = chunk * CHUNK..((chunk + 1) * CHUNK).min(along.rows());
        *sum = rows.map(|i| row_square(along, i)).sum();
    });
    finite_or_named(a, sums.iter().sum())
}

/// ‖row i‖².
#[inline]
pub(crate) fn row_square(a: MatRef<'_>, i: usize) -> f64 {
    match a.row(i) {
        Some(row) => sum_of_squares(row),
        None => (0..a.cols()).map(|j| f64::from(a.get(i, j)).powi(2)).sum(),
    }
}

/// ‖column j‖² for every j. One pass over A.
///
/// # Errors
/// [`Error::NonFinite`] with the first such element in row order.
pub(crate) fn squared_column_norms(a: MatRef<'_>, par: Par) -> Result<Vec<f64>, Error> {
    let norms: Vec<f64> = if a.row_stride() == 1 && a.col_stride() != 1 {
        let mut norms = vec![0.0; a.cols()];
        for_each(par, norms.chunks_mut(CHUNK).collect(), |c, part| {
            part.iter_mut().enumerate().for_each(|(j, norm)| *norm = row_square(a.t(), c * CHUNK + j));
        });
        norms
    } else {
        // At most eight partial results, so that they stay small beside A.
        let step = a.rows().div_ceil(8).max(CHUNK);
        let mut parts = vec![vec![0.0f64; a.cols()]; a.rows().div_ceil(step)];
        for_each(par, parts.iter_mut().collect(), |c, part| {
            for i in c * step..((c + 1) * step).min(a.rows()) {
                match a.row(i) {
                    Some(row) => dispatch(|| {
                        part.iter_mut().zip(row).for_each(|(sum, &x)| *sum += f64::from(x) * f64::from(x));
                    }),
                    None => part.iter_mut().enumerate().for_each(|(j, sum)| *sum += f64::from(a.get(i, j)).powi(2)),
                }
            }
        });
        (0..a.cols()).map(|j| parts.iter().map(|part| part[j]).sum()).collect()
    };
    finite_or_named(a, norms.iter().sum())?;
    Ok(norms)
}

/// `total`, or the name of the element that spoilt it. (Squares of f32 numbers cannot overflow f64.)
pub(crate) fn finite_or_named(a: MatRef<'_>, total: f64) -> Result<f64, Error> {
    if total.is_finite() {
        return Ok(total);
    }
    let (rows, cols) = (a.rows(), a.cols());
    for row in 0..rows {
        for col in 0..cols {
            let value = a.get(row, col);
            if !value.is_finite() {
                return Err(Error::NonFinite { row, col, value, rows, cols });
            }
        }
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Mat, Rng};

    #[test]
    fn norms_equal_the_naive_sums_in_every_layout() -> Result<(), Error> {
        let mut rng = Rng::new(&[6]);
        for (m, n) in [(1, 1), (70, 5), (5, 300), (200, 33)] {
            let a = Mat::from_fn(m, n, |_, _| rng.normal());
            for view in [a.view(), a.view().t()] {
                for par in [Par::Serial, Par::Rayon] {
                    let naive = |j: usize| (0..view.rows()).map(|i| f64::from(view.get(i, j)).powi(2)).sum::<f64>();
                    let total: f64 = (0..view.cols()).map(naive).sum();
                    let columns = squared_column_norms(view, par)?;
                    assert!((squared_norm(view, par)? - total).abs() <= 1e-13 * total);
                    assert!((0..view.cols()).all(|j| (columns[j] - naive(j)).abs() <= 1e-13 * naive(j)));
                }
            }
        }
        Ok(())
    }

    #[test]
    fn the_element_is_named_in_the_coordinates_of_the_view_given() {
        let mut a = Mat::zeros(4, 3);
        a[(2, 1)] = f32::NAN;
        a[(1, 2)] = f32::INFINITY;
        let found = squared_norm(a.view(), Par::Serial);
        assert!(matches!(found, Err(Error::NonFinite { row: 1, col: 2, rows: 4, cols: 3, .. })), "{found:?}");
        let found = squared_norm(a.view().t(), Par::Serial);
        assert!(matches!(found, Err(Error::NonFinite { row: 1, col: 2, rows: 3, cols: 4, .. })), "{found:?}");
        assert!(squared_column_norms(a.view(), Par::Rayon).is_err());
    }
}
