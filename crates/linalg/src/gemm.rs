//! Matrix products: one safe function over the `gemm` crate, which picks AVX-512, AVX2 or NEON kernels at run time, and over
//! our own tiles and thin products where they are faster.

use crate::mat::{MatMut, MatRef};
use crate::product::dense;
use crate::thin::thin;

/// Who computes a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Par {
    /// The calling thread alone; for use inside a parallel loop.
    Serial,
    /// All threads of the current rayon pool.
    Rayon,
}

/// What happens to the destination's old content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accum {
    /// It is overwritten, and never read.
    Replace,
    /// The product is added to it.
    Add,
}

/// Element types that products are offered for.
pub trait Real: Copy + 'static {
    /// The number zero.
    const ZERO: Self;
    /// The number one.
    const ONE: Self;
    /// `dst` = or += alpha·lhs·rhs by products of our own, if that is faster; whether it was done.
    #[doc(hidden)]
    fn by_own(
        _dst: &mut MatMut<'_, Self>,
        _accum: Accum,
        _lhs: MatRef<'_, Self>,
        _rhs: MatRef<'_, Self>,
        _alpha: Self,
        _par: Par,
    ) -> bool {
        false
    }
}
impl Real for f32 {
    const ZERO: f32 = 0.0;
    const ONE: f32 = 1.0;
    fn by_own(dst: &mut MatMut<'_>, accum: Accum, lhs: MatRef<'_>, rhs: MatRef<'_>, alpha: f32, par: Par) -> bool {
        thin(dst, accum, lhs, rhs, alpha, par) || dense(dst, accum, lhs, rhs, alpha, par)
    }
}
impl Real for f64 {
    const ZERO: f64 = 0.0;
    const ONE: f64 = 1.0;
}

/// Below this many multiply-adds a product is not worth waking other threads.
const SERIAL_BELOW: usize = 48 * 48 * 256;

/// `dst = alpha·lhs·rhs` or `dst += alpha·lhs·rhs`; 2·m·n·k operations, no temporaries of that order.
///
/// # Panics
/// If the shapes do not fit.
pub fn matmul<T: Real>(
    mut dst: MatMut<'_, T>,
    accum: Accum,
    lhs: MatRef<'_, T>,
    rhs: MatRef<'_, T>,
    alpha: T,
    par: Par,
) {
    let (m, n, k) = (dst.rows(), dst.cols(), lhs.cols());
    assert!(
        lhs.rows() == m && rhs.cols() == n && rhs.rows() == k,
        "product of {}x{} and {}x{} into {m}x{n}",
        lhs.rows(),
        k,
        rhs.rows(),
        rhs.cols(),
    );
    if !T::by_own(&mut dst, accum, lhs, rhs, alpha, par) {
        library(dst, accum, lhs, rhs, alpha, par);
    }
}

/// The same by the library, for shapes that fit.
pub(crate) fn library<T: Real>(
    mut dst: MatMut<'_, T>,
    accum: Accum,
    lhs: MatRef<'_, T>,
    rhs: MatRef<'_, T>,
    alpha: T,
    par: Par,
) {
    let (m, n, k) = (dst.rows(), dst.cols(), lhs.cols());
    if m == 0 || n == 0 {
        return;
    }
    if k == 0 {
        if accum == Accum::Replace {
            dst.fill(T::ZERO);
        }
        return;
    }
    let parallelism = match par {
        Par::Rayon if m * n * k >= SERIAL_BELOW => gemm::Parallelism::Rayon(rayon::current_num_threads()),
        _ => gemm::Parallelism::None,
    };
    let (dst_rs, dst_cs) = (dst.row_stride() as isize, dst.col_stride() as isize);
    // SAFETY: the views checked at construction that every (row, column) they address lies in their slices and that no
    // two elements of `dst` share a place; the shapes fit, as callers have compared; with `Replace`, `dst` is only written.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            dst.data_mut().as_mut_ptr(),
            dst_cs,
            dst_rs,
            accum == Accum::Add,
            lhs.data().as_ptr(),
            lhs.col_stride() as isize,
            lhs.row_stride() as isize,
            rhs.data().as_ptr(),
            rhs.col_stride() as isize,
            rhs.row_stride() as isize,
            T::ONE,
            alpha,
            false,
            false,
            false,
            parallelism,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Mat, Rng};

    fn random(rows: usize, cols: usize, seed: u64) -> Mat {
        let mut rng = Rng::new(&[seed]);
        Mat::from_fn(rows, cols, |_, _| rng.normal())
    }

    /// The triple loop in f64.
    fn naive(a: MatRef<'_>, b: MatRef<'_>) -> Mat {
        Mat::from_fn(a.rows(), b.cols(), |i, j| {
            (0..a.cols()).map(|p| f64::from(a.get(i, p)) * f64::from(b.get(p, j))).sum::<f64>() as f32
        })
    }

    #[test]
    fn every_layout_matches_the_naive_product() {
        let shapes = [(1, 1, 1), (3, 5, 7), (5, 4, 0), (18, 13, 20), (64, 33, 130), (200, 96, 257)];
        // Miri interprets: minutes for the large ones.
        for &(m, n, k) in shapes.iter().take(if cfg!(miri) { 4 } else { shapes.len() }) {
            for layout in 0..8 {
                let a = random(m, k, 1);
                let at = random(k, m, 1);
                let b = random(k, n, 2);
                let bt = random(n, k, 2);
                let lhs = if layout & 1 == 0 { a.view() } else { at.view().t() };
                let rhs = if layout & 2 == 0 { b.view() } else { bt.view().t() };
                let want = naive(lhs, rhs);
                let mut got = random(m, n, 3);
                let start = got.clone();
                let mut got_t = Mat::from_fn(n, m, |i, j| start[(j, i)]);
                let dst = if layout & 4 == 0 { got.view_mut() } else { got_t.view_mut().t() };
                matmul(dst, Accum::Add, lhs, rhs, 2.0, Par::Rayon);
                for i in 0..m {
                    for j in 0..n {
                        let x = if layout & 4 == 0 { got[(i, j)] } else { got_t[(j, i)] };
                        let y = start[(i, j)] + 2.0 * want[(i, j)];
                        let tolerance = f32::EPSILON * (k as f32 + 2.0) * 8.0;
                        assert!((x - y).abs() <= tolerance, "{m}x{n}x{k} layout {layout}: {x} {y}");
                    }
                }
            }
        }
    }

    #[test]
    fn replace_never_reads_the_destination() {
        for k in [0, 30] {
            let (a, b) = (random(40, k, 1), random(k, 20, 2));
            let mut c = Mat::from_fn(40, 20, |_, _| f32::NAN);
            matmul(c.view_mut(), Accum::Replace, a.view(), b.view(), 1.0, Par::Serial);
            assert!(c.data().iter().all(|x| x.is_finite()));
        }
    }

    #[test]
    #[should_panic(expected = "product of 2x3 and 4x5 into 2x5")]
    fn wrong_shapes_are_told() {
        let mut c: Mat = Mat::zeros(2, 5);
        matmul(c.view_mut(), Accum::Replace, random(2, 3, 1).view(), random(4, 5, 1).view(), 1.0, Par::Serial);
    }
}
