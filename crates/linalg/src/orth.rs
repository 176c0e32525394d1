//! Orthonormal basis of the columns of a tall matrix, at near matrix-product speed.
//!
//! Cholesky QR with the Gram matrix in f64, pivoted, with a second pass where the first is not enough, and deferral of
//! the columns that a pass cannot resolve:
//!
//! 1. G = YᵀY in f64, scaled to a unit diagonal (so outlier channels cost nothing);
//! 2. Cholesky with diagonal pivoting, stopped at a squared pivot of `PIVOT_STOP`: the columns so far have a condition
//!    number near 1e5 at most;
//! 3. Q = columns·R⁻¹ in f64, rounded to f32 once. What Q lacks to orthonormality is about ‖R⁻¹‖²·eps of f64; where
//!    that is not below the rounding to f32 (`ONE_PASS`), a second pass (Gram matrix of Q, Cholesky, product in place)
//!    brings it there;
//! 4. project the deferred columns against the basis in f64 (twice), scale, and go on with them at 1.
//!
//! A column whose remainder falls below `NEGLIGIBLE` of its own norm is dropped: it lies in the span of the others as
//! exactly as f64 can tell. So a basis of `Y` has **at most** `Y.cols()` columns and fewer when `Y` is rank deficient in
//! that sense (a zero column, a repeated column); none for a zero matrix. When the dependence holds only up to f32
//! rounding, the surplus columns stay, orthonormal to the rest, and products with them are rounding noise.
//!
//! Cost for n×k: two triangular products in f64 of 5/8·2nk² each and 2k³/3 multiply-adds; the double for condition
//! numbers above about 1e4 (of the columns scaled to unit norm), more above 1e5. Scratch:
//! [`crate::orthonormal_basis_scratch_bytes`]; no copy of Y is made, but of deferred columns. It wins over Householder QR by
//! speed (all work is in matrix products), over Cholesky QR in f32 by surviving any conditioning. Source: Fukaya et al.,
//! "Shifted Cholesky QR", SIAM J. Sci. Comput. 42 (2020); pivoting as in LAPACK `pstrf`. Deviations: (1) columns scaled
//! to unit norm; (2) pivoting and deferral by projection in place of a shift; (3) a second pass only on need; (4) mixed
//! precision: f64 inside, f32 stored (Yamazaki, Tomov, Dongarra, SIAM J. Sci. Comput. 37 (2015)).

use crate::chol::{cholesky, inverse_upper, pivoted_cholesky};
use crate::gemm::Par;
use crate::mat::MatRef;
use crate::owned::Mat;
use crate::panels::{Panels, Shape};
use crate::pool::on_pool;
use crate::simd::dispatch;
use crate::work::Work;

/// Squared pivot, relative to a unit column, at which a pass stops.
const PIVOT_STOP: f64 = 1e-10;
/// One pass is orthonormal to f32 rounding up to ‖R⁻¹‖² (Frobenius, columns of unit norm) of this times √k. The defect was
/// 0.1 to 2.7 times eps(f64)·‖R⁻¹‖² for k = 16 and 0.1 to 0.5 times for k = 192, over spectra of condition 1e3 to 3e5.
const ONE_PASS: f64 = 0.25 * f32::EPSILON as f64 / f64::EPSILON;
/// Remainder of a unit column below which it counts as dependent.
const NEGLIGIBLE: f64 = 1e-13;

/// A basis and the columns it was made of.
pub(crate) struct Basis {
    /// n×rank, orthonormal columns.
    pub(crate) q: Mat,
    /// Columns `order[..=j]` of Y lie in the span of the first j+1 columns of `q`, for j < rank.
    pub(crate) order: Vec<usize>,
}

/// Orthonormal columns spanning those of `y` (n×k, k ≤ n gives the best speed): n×rank, rank ≤ min(n, k). See the
/// module's contract above for cost and what happens to dependent columns. `y` must be finite.
pub fn orthonormal_basis(y: MatRef<'_>, par: Par) -> Mat {
    on_pool(par, || basis(y, par).q)
}

/// The same, and which columns it was made of in which order.
pub(crate) fn basis(y: MatRef<'_>, par: Par) -> Basis {
    let panels = &mut Panels::new(par);
    let (n, k) = (y.rows(), y.cols());
    let found = factor(y, n, panels);
    let width = found.inverse.rows();
    let order = found.order[..width].to_vec();
    if width == k || width == n || width == 0 {
        return Basis { q: form(y, &found, panels), order };
    }
    // Deferred columns are told from dependent ones by what is left of them after projection, so the basis must not be
    // rounded before.
    let rest: Vec<usize> = found.order[width..].to_vec();
    let q: Mat<f64> = form(y, &found, panels);
    complete(q, order, Pending::new(y, rest, &found.norms), panels)
}

/// `q` with columns beside it that span what `y` adds to its span: orthonormal, as long as `q` is.
pub(crate) fn extend(q: &Mat, y: MatRef<'_>, par: Par) -> Mat {
    let norm = |j: usize| (0..y.rows()).map(|i| f64::from(y.get(i, j)).powi(2)).sum::<f64>().sqrt();
    let norms: Vec<f64> = (0..y.cols()).map(norm).collect();
    let wide = Mat::from_fn(q.rows(), q.cols(), |i, j| f64::from(q[(i, j)]));
    complete(wide, vec![0; q.cols()], Pending::new(y, (0..y.cols()).collect(), &norms), &mut Panels::new(par)).q
}

/// Columns that are not in the basis yet, of norm 1, and their numbers.
struct Pending {
    columns: Mat<f64>,
    names: Vec<usize>,
}

impl Pending {
    fn new(y: MatRef<'_>, mut names: Vec<usize>, norms: &[f64]) -> Self {
        names.retain(|&j| norms[j] > 0.0);
        let columns = Mat::from_fn(y.rows(), names.len(), |i, p| f64::from(y.get(i, names[p])) / norms[names[p]]);
        Self { columns, names }
    }

    /// Keeps the columns `kept`, divided by their `norms`.
    fn keep(&mut self, kept: &[usize], norms: &[f64]) {
        let from = &self.columns;
        self.columns = Mat::from_fn(from.rows(), kept.len(), |i, p| from[(i, kept[p])] / norms[kept[p]]);
        self.names = kept.iter().map(|&p| self.names[p]).collect();
    }

    /// Projects against `q`, scales to norm 1, drops what is at most `negligible` by then.
    fn project(&mut self, q: &Mat<f64>, negligible: f64, panels: &mut Panels) {
        let onto = panels.inner(q.view(), self.columns.view());
        panels.subtract_product(&mut self.columns, q.view(), &onto);
        let cols = self.names.len();
        let mut norms = vec![0.0f64; cols];
        dispatch(|| {
            for row in self.columns.data().chunks_exact(cols.max(1)) {
                norms.iter_mut().zip(row).for_each(|(s, x)| *s += x * x);
            }
        });
        norms.iter_mut().for_each(|x| *x = x.sqrt());
        let kept: Vec<usize> = (0..cols).filter(|&j| norms[j] > negligible).collect();
        self.keep(&kept, &norms);
    }
}

/// Step 4 of the module's contract.
fn complete(mut q: Mat<f64>, mut order: Vec<usize>, mut pending: Pending, panels: &mut Panels) -> Basis {
    let n = q.rows();
    while !pending.names.is_empty() && q.cols() < n {
        // Twice is enough (Kahan, Parlett): the second projection removes what rounding left of the first. A column that
        // loses half of itself there was rounding within the span.
        pending.project(&q, NEGLIGIBLE, panels);
        pending.project(&q, 0.5, panels);
        let found = factor(pending.columns.view(), n - q.cols(), panels);
        let accepted = found.inverse.rows();
        if accepted == 0 {
            break;
        }
        let fresh = form(pending.columns.view(), &found, panels);
        q = Mat::beside(&q, &fresh);
        order.extend(found.order[..accepted].iter().map(|&p| pending.names[p]));
        pending.keep(&found.order[accepted..], &vec![1.0; pending.names.len()]);
    }
    Basis { q: rounded(&q), order }
}

/// Makes the columns of `y` (n×k, nearly orthogonal already) orthonormal by Gram–Schmidt in their own order, through
/// the Gram matrix: column j changes by what the columns before it take. Stops before a column that depends on those.
pub(crate) fn orthonormalise_in_order(y: Mat, par: Par) -> Mat {
    let panels = &mut Panels::new(par);
    let mut q = y;
    for _ in 0..2 {
        let mut g = panels.gram(q.view());
        let norms = unit_diagonal(&mut g);
        let mut width = q.cols();
        let factor = loop {
            let leading = Mat::from_fn(width, width, |i, j| g[(i, j)]);
            match cholesky(leading, PIVOT_STOP) {
                Some(factor) => break factor,
                None => width -= 1,
            }
        };
        let mut inverse = inverse_upper(&factor, width);
        scale_rows(&mut inverse, |i| norms[i]);
        let order: Vec<usize> = (0..width).collect();
        q = panels.times(q.view(), &order, &inverse, Shape::Upper);
        let defect = g.data().iter().enumerate().filter(|(at, _)| at % norms.len() > at / norms.len());
        if defect.fold(0.0f64, |worst, (_, x)| worst.max(x.abs())) < 1e-5 {
            break;
        }
    }
    q
}

/// Steps 1 and 2 of the module's contract.
struct Factor {
    /// All columns; the accepted ones first.
    order: Vec<usize>,
    /// R⁻¹ of the accepted columns as they are, not scaled.
    inverse: Mat<f64>,
    /// ‖R⁻¹‖² for columns of norm 1.
    amplification: f64,
    /// Of all columns.
    norms: Vec<f64>,
}

fn factor<T: Copy + Into<f64> + Sync>(y: MatRef<'_, T>, limit: usize, panels: &mut Panels) -> Factor {
    let mut g = panels.gram(y);
    let norms = unit_diagonal(&mut g);
    let (order, r) = pivoted_cholesky(g, PIVOT_STOP);
    let mut inverse = inverse_upper(&r, r.rows().min(limit));
    let amplification: f64 = inverse.data().iter().map(|x| x * x).sum();
    scale_rows(&mut inverse, |i| norms[order[i]]);
    Factor { order, inverse, amplification, norms }
}

/// Step 3. An f64 result is computed in f64 throughout. For an f32 one, the products need no more than f32 when a second
/// pass follows: what rounding does to Q there is what it did to Y before.
fn form<T: Copy + Into<f64> + Sync, O: Work>(y: MatRef<'_, T>, found: &Factor, panels: &mut Panels) -> Mat<O> {
    let accepted = found.inverse.rows();
    let order = &found.order[..accepted];
    let one_pass = found.amplification <= ONE_PASS * (accepted as f64).sqrt();
    let second = |g: Mat<f64>| Some(inverse_upper(&cholesky(g, PIVOT_STOP)?, accepted));
    if !one_pass && O::EPSILON > f64::EPSILON {
        let mut q = panels.times(y, order, &rounded(&found.inverse), Shape::Upper);
        if let Some(inverse) = second(panels.gram(q.view())) {
            panels.times_in_place(&mut q, &rounded(&inverse), Shape::Upper);
        }
        return q;
    }
    let mut q = panels.times(y, order, &found.inverse, Shape::Upper);
    if (!one_pass || O::EPSILON == f64::EPSILON)
        && let Some(inverse) = second(panels.gram(q.view()))
    {
        panels.times_in_place(&mut q, &inverse, Shape::Upper);
    }
    q
}

/// Scales the upper triangle of a Gram matrix to a unit diagonal; the norms of the columns. A zero column stays zero.
fn unit_diagonal(g: &mut Mat<f64>) -> Vec<f64> {
    let k = g.rows();
    let norms: Vec<f64> = (0..k).map(|j| g[(j, j)].sqrt()).collect();
    let factors: Vec<f64> = norms.iter().map(|&norm| if norm > 0.0 { 1.0 / norm } else { 0.0 }).collect();
    for (i, row) in g.data_mut().chunks_exact_mut(k.max(1)).enumerate() {
        row[i..].iter_mut().zip(&factors[i..]).for_each(|(x, f)| *x *= factors[i] * f);
    }
    norms
}

fn rounded(a: &Mat<f64>) -> Mat {
    Mat::from_vec(a.data().iter().map(|&x| x as f32).collect(), a.rows(), a.cols())
}

/// Divides row i by `norm(i)`.
fn scale_rows(a: &mut Mat<f64>, norm: impl Fn(usize) -> f64) {
    let cols = a.cols();
    for (i, row) in a.data_mut().chunks_exact_mut(cols.max(1)).enumerate() {
        let factor = 1.0 / norm(i);
        row.iter_mut().for_each(|x| *x *= factor);
    }
}
