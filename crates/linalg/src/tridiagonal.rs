//! Householder tridiagonalisation of a symmetric matrix (n×n, f64), G = H·T·Hᵀ.
//!
//! Cost: 2n³ operations, one pass over the trailing matrix a step, rows in parallel. Source: Golub and Van Loan, "Matrix
//! Computations", 4th ed., section 8.3.1; EISPACK `tred2`. Deviation: the update that a step owes and the product with the
//! next step's vector are one pass.

use crate::gemm::Par;
use crate::owned::Mat;
use crate::pool::for_each;
use crate::simd::{axpy, dispatch, dot, inner_product, vectorised};

/// Rows of a task, and elements below which no other thread is woken.
const TASK_ROWS: usize = 32;
const SERIAL_BELOW: usize = 200 * 200;

/// G = H·T·Hᵀ with T tridiagonal and H a product of reflections.
pub(crate) struct Tridiagonal {
    pub(crate) diagonal: Vec<f64>,
    pub(crate) off: Vec<f64>,
    /// Reflection j is 1 − tau_j·v·vᵀ with v in row j, from column j+1 on.
    reflections: Mat<f64>,
    tau: Vec<f64>,
}

/// The tridiagonal form of `a`, which is symmetric and stored in full.
pub(crate) fn tridiagonal(mut a: Mat<f64>, par: Par) -> Tridiagonal {
    let n = a.rows();
    let (mut diagonal, mut off, mut tau) = (vec![0.0; n], vec![0.0; n], vec![0.0; n]);
    // The update that the last step owes: A −= v·wᵀ + w·vᵀ.
    let (mut v, mut w) = (vec![0.0; n], vec![0.0; n]);
    let mut p = vec![0.0; n];
    for j in 0..n {
        let (above, below) = a.data_mut().split_at_mut((j + 1) * n);
        let row = &mut above[j * n..];
        dispatch(|| {
            axpy(&mut row[j..], -v[j], &w[j..]);
            axpy(&mut row[j..], -w[j], &v[j..]);
        });
        diagonal[j] = row[j];
        if j + 1 == n {
            break;
        }
        let next = &mut row[j + 1..];
        (tau[j], off[j]) = reflect(next);
        let next = &*next;
        let trailing = n - j - 1;
        if par == Par::Serial || trailing * trailing < SERIAL_BELOW {
            let step = Step { j, first: j + 1, v: &v, w: &w, next };
            update_and_multiply(step, below, &mut p[j + 1..]);
        } else {
            let tasks = below.chunks_mut(TASK_ROWS * n).zip(p[j + 1..].chunks_mut(TASK_ROWS)).collect();
            for_each(par, tasks, |c, (rows, p)| {
                let step = Step { j, first: j + 1 + c * TASK_ROWS, v: &v, w: &w, next };
                update_and_multiply(step, rows, p);
            });
        }
        let scale = -0.5 * tau[j] * tau[j] * inner_product(&p[j + 1..], next);
        dispatch(|| {
            v[j + 1..].copy_from_slice(next);
            for ((w, &p), &v) in w[j + 1..].iter_mut().zip(&p[j + 1..]).zip(next) {
                *w = tau[j] * p + scale * v;
            }
        });
    }
    Tridiagonal { diagonal, off, reflections: a, tau }
}

/// What a step of the tridiagonalisation does to the rows from `first` on.
struct Step<'a> {
    j: usize,
    first: usize,
    /// The update that is owed.
    v: &'a [f64],
    w: &'a [f64],
    /// The reflection of this step, from column j+1 on.
    next: &'a [f64],
}

vectorised! {
    /// Row −= v_i·w + w_i·v, then p_i = row·next, for each row.
    fn update_and_multiply<'a>(step: Step<'a>, rows: &'a mut [f64], p: &'a mut [f64]) -> () {
        let Step { j, first, v, w, next } = step;
        let (v_rest, w_rest) = (&v[j + 1..], &w[j + 1..]);
        for (i, (row, p)) in rows.chunks_exact_mut(v.len()).zip(p).enumerate() {
            let row = &mut row[j + 1..];
            let (a, b) = (v[first + i], w[first + i]);
            for ((x, &w), &v) in row.iter_mut().zip(w_rest).zip(v_rest) {
                *x -= a * w + b * v;
            }
            *p = dot(row, next);
        }
    }
}

vectorised! {
    /// Takes `tau·v·vᵀ·x` from each row x of length n, from column `from` on.
    fn reflect_rows<'a>(rows: &'a mut [f64], n: usize, from: usize, v: &'a [f64], tau: f64) -> () {
        for row in rows.chunks_exact_mut(n) {
            let along = dot(&row[from..], v);
            axpy(&mut row[from..], -tau * along, v);
        }
    }
}

/// Turns x into v with v_0 = 1 such that (1 − tau·v·vᵀ)·x = (beta, 0, …); (tau, beta).
pub(crate) fn reflect(x: &mut [f64]) -> (f64, f64) {
    let rest = inner_product(&x[1..], &x[1..]);
    if rest == 0.0 {
        let beta = x[0];
        x[0] = 1.0;
        return (0.0, beta);
    }
    let beta = -(x[0] * x[0] + rest).sqrt().copysign(x[0]);
    let tau = (beta - x[0]) / beta;
    let factor = 1.0 / (x[0] - beta);
    x.iter_mut().for_each(|x| *x *= factor);
    x[0] = 1.0;
    (tau, beta)
}

impl Tridiagonal {
    /// Applies H to the vectors in `rows`.
    pub(crate) fn transform_back(&self, rows: &mut [f64]) {
        let n = self.tau.len();
        for j in (0..n.saturating_sub(1)).rev() {
            let v = &self.reflections.data()[j * n + j + 1..(j + 1) * n];
            reflect_rows(rows, n, j + 1, v, self.tau[j]);
        }
    }
}
