//! Eigenvalues and eigenvectors of a symmetric matrix (n×n, f64): tridiagonal form, then implicit QL.
//!
//! Cost: 2n³ operations for the tridiagonal form; about 3n³ for the rotations, gathered into batches that are applied to
//! [`STRIP`] columns of the eigenvectors at a time; 2n²·wanted for the way back. Memory: 2n² f64. Absolute accuracy:
//! about eps·‖G‖. Source: Golub and Van Loan, "Matrix Computations", 4th ed., section 8.3; EISPACK `imtql2`. Deviations:
//! (1) batched rotations; (2) only the wanted eigenvectors are transformed back.
//! Written here because faer, which has a faster one for large n, takes 100 s of processor time to build.

use crate::gemm::Par;
use crate::owned::Mat;
use crate::pool::for_each;
use crate::simd::{rotate, vectorised};
use crate::tridiagonal::tridiagonal;

/// Columns of the eigenvectors that a batch of rotations is applied to at a time: the strip stays in the cache.
const STRIP: usize = 32;
/// Rotations in a batch, at most.
const BATCH: usize = 1 << 17;
/// QL steps per eigenvalue; two are usual. What has not converged by then is taken as it is.
const MAX_STEPS: usize = 80;

/// All eigenvalues of `g`, descending, and eigenvectors of the first `wanted`, one a row (wanted×n); with none wanted the
/// rotations are not applied, which leaves the 2n³ of the tridiagonal form. Reads the upper triangle of `g`.
pub(crate) fn eigh(g: Mat<f64>, wanted: usize, par: Par) -> (Vec<f64>, Mat<f64>) {
    let n = g.rows();
    let wanted = wanted.min(n);
    let largest = g.data().iter().enumerate().filter(|(at, _)| at % n >= at / n);
    let largest = largest.fold(0.0f64, |most, (_, x)| most.max(x.abs()));
    if largest == 0.0 {
        return (vec![0.0; n], Mat::from_fn(wanted, n, |i, j| f64::from(u8::from(i == j))));
    }
    let scaled = Mat::from_fn(n, n, |i, j| g[(i.min(j), i.max(j))] / largest);
    drop(g);
    let mut form = tridiagonal(scaled, par);
    let strips = implicit_ql(&mut form.diagonal, &mut form.off, wanted > 0, par);
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&i, &j| form.diagonal[j].total_cmp(&form.diagonal[i]));
    let values = order.iter().map(|&i| form.diagonal[i] * largest).collect();
    let mut vectors = Mat::from_fn(wanted, n, |i, j| strips[j / STRIP][(order[i], j % STRIP)]);
    drop(strips);
    for_each(par, vectors.data_mut().chunks_mut(n * 8).collect(), |_, rows| form.transform_back(rows));
    (values, vectors)
}

/// Rotations of a batch: about as many as there are in all for a small matrix.
fn batch_size(n: usize) -> usize {
    BATCH.min(2 * n * n)
}

/// Bytes that a batch takes.
pub(crate) fn batch_bytes(n: usize) -> usize {
    (batch_size(n) + n) * size_of::<Rotation>()
}

/// A rotation of eigenvectors i and i+1.
struct Rotation {
    i: usize,
    c: f64,
    s: f64,
}

/// Leaves the eigenvalues in `d`; eigenvector i of T in row i of the strips of columns (no strips without `vectors`).
fn implicit_ql(d: &mut [f64], e: &mut [f64], vectors: bool, par: Par) -> Vec<Mat<f64>> {
    let n = d.len();
    let mut strips: Vec<Mat<f64>> = (0..if vectors { n } else { 0 })
        .step_by(STRIP)
        .map(|first| Mat::from_fn(n, STRIP.min(n - first), |i, j| f64::from(u8::from(i == first + j))))
        .collect();
    let size = batch_size(n);
    let mut batch = Vec::with_capacity(size + n);
    for l in 0..n {
        for _ in 0..MAX_STEPS {
            let small = |i: usize| e[i].abs() <= f64::EPSILON * (d[i].abs() + d[i + 1].abs()) || e[i] == 0.0;
            let m = (l..n - 1).find(|&i| small(i)).unwrap_or(n - 1);
            if m == l {
                break;
            }
            ql_step(d, e, l, m, &mut batch);
            if batch.len() >= size {
                apply(&batch, &mut strips, par);
                batch.clear();
            }
        }
    }
    apply(&batch, &mut strips, par);
    strips
}

/// One implicit QL step on rows l..=m.
fn ql_step(d: &mut [f64], e: &mut [f64], l: usize, m: usize, batch: &mut Vec<Rotation>) {
    let slope = (d[l + 1] - d[l]) / (2.0 * e[l]);
    let mut g = d[m] - d[l] + e[l] / (slope + slope.hypot(1.0).copysign(slope));
    let (mut s, mut c, mut p) = (1.0, 1.0, 0.0);
    for i in (l..m).rev() {
        let (f, b) = (s * e[i], c * e[i]);
        let r = f.hypot(g);
        e[i + 1] = r;
        if r == 0.0 {
            d[i + 1] -= p;
            e[m] = 0.0;
            return;
        }
        (s, c) = (f / r, g / r);
        g = d[i + 1] - p;
        let t = (d[i] - g) * s + 2.0 * c * b;
        p = s * t;
        d[i + 1] = g + p;
        g = c * t - b;
        batch.push(Rotation { i, c, s });
    }
    d[l] -= p;
    e[l] = g;
    e[m] = 0.0;
}

fn apply(batch: &[Rotation], strips: &mut [Mat<f64>], par: Par) {
    for_each(par, strips.iter_mut().collect(), |_, strip| {
        let width = strip.cols();
        rotate_rows(batch, strip.data_mut(), width);
    });
}

vectorised! {
    fn rotate_rows<'a>(batch: &'a [Rotation], data: &'a mut [f64], width: usize) -> () {
        for r in batch {
            let (x, y) = data[r.i * width..(r.i + 2) * width].split_at_mut(width);
            rotate(x, y, r.c, -r.s);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;

    /// G·v = λ·v, VᵀV = I, and values that descend; to rounding times n.
    fn check(g: &Mat<f64>, what: &str) {
        let n = g.rows();
        let (values, vectors) = eigh(g.clone(), n, Par::Rayon);
        assert_eq!(values, eigh(g.clone(), 1, Par::Serial).0, "{what}");
        let norm = values.iter().fold(0.0f64, |m, x| m.max(x.abs()));
        let tolerance = 8.0 * n as f64 * f64::EPSILON;
        for a in 0..n {
            assert!(a == 0 || values[a] <= values[a - 1]);
            for i in 0..n {
                let image: f64 = (0..n).map(|j| g[(i, j)] * vectors[(a, j)]).sum();
                assert!((image - values[a] * vectors[(a, i)]).abs() <= tolerance * norm, "{what} {a} {i}");
            }
            for b in 0..=a {
                let dot: f64 = (0..n).map(|j| vectors[(a, j)] * vectors[(b, j)]).sum();
                assert!((dot - f64::from(u8::from(a == b))).abs() <= tolerance, "{what} {a} {b} {dot}");
            }
        }
    }

    #[test]
    fn eigenpairs_satisfy_their_equations() {
        let mut rng = Rng::new(&[8]);
        for n in [1, 2, 3, 31, 33, 90] {
            let half = Mat::from_fn(n, n, |_, _| f64::from(rng.normal()));
            check(&Mat::from_fn(n, n, |i, j| half[(i, j)] + half[(j, i)]), "indefinite");
            check(&Mat::from_fn(n, n, |i, j| if i == j { (i % 3) as f64 } else { 0.0 }), "repeated");
            check(&Mat::zeros(n, n), "zero");
            check(&Mat::from_fn(n, n, |i, j| 1e-200 * half[(i, 0)] * half[(j, 0)]), "rank one, tiny");
            let grade = |i: usize| 10f64.powf(-12.0 * i as f64 / n as f64);
            let graded = Mat::from_fn(n, n, |i, j| grade(i) * grade(j) * (half[(i, j)] + half[(j, i)]));
            check(&graded, "graded");
        }
    }
}
