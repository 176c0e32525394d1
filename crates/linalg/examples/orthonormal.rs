//! Orthonormality of several methods against the condition number of a 1024×64 matrix.
//!
//!     cargo run --release -p loract-linalg --example orthonormal
//!
//! `|QᵀQ − I|` is the largest element in f64; `outside` is ‖Y − Q·Qᵀ·Y‖ / ‖Y‖; `-` means that the method broke down.

mod shared;

use loract_linalg::gallery::with_spectrum;
use loract_linalg::{Accum, Mat, Par, matmul, orthonormal_basis};
use shared::defect;

type Method = fn(&Mat) -> Option<Mat>;

fn main() {
    let methods: [(&str, Method); 5] = [
        ("ours", |y| Some(orthonormal_basis(y.view(), Par::Rayon))),
        ("Cholesky QR, f64", |y| cholesky_qr::<f64>(y, |x| x as f32, f64::from)),
        ("Cholesky QR, f32", |y| cholesky_qr::<f32>(y, |x| x, |x| x)),
        ("Gram-Schmidt, f32", |y| Some(gram_schmidt(y, 1))),
        ("Gram-Schmidt twice, f32", |y| Some(gram_schmidt(y, 2))),
    ];
    print!("{:<12}", "condition");
    methods.iter().for_each(|(name, _)| print!("{name:>26}"));
    println!("\n{:<12}{}", "", format!("{:>26}", "|QtQ - I|, outside").repeat(methods.len()));
    for exponent in [0, 2, 4, 6, 8, 12] {
        let sigma: Vec<f32> = (0..64).map(|i| 10f32.powf(-(exponent as f32) * i as f32 / 63.0)).collect();
        let y = with_spectrum(1024, 64, &sigma, 3);
        print!("{:<12}", format!("1e{exponent}"));
        for (_, method) in methods {
            match method(&y) {
                Some(q) => print!("{:>26}", format!("{:.1e}, {:.1e}", defect(q.view()), outside(&q, &y))),
                None => print!("{:>26}", "-"),
            }
        }
        println!();
    }
}

/// ‖Y − Q·Qᵀ·Y‖ / ‖Y‖.
fn outside(q: &Mat, y: &Mat) -> f64 {
    let wide = |a: &Mat| Mat::from_fn(a.rows(), a.cols(), |i, j| f64::from(a[(i, j)]));
    let (q, mut rest) = (wide(q), wide(y));
    let all: f64 = rest.data().iter().map(|x| x * x).sum();
    let mut onto = Mat::zeros(q.cols(), rest.cols());
    matmul(onto.view_mut(), Accum::Replace, q.view().t(), rest.view(), 1.0, Par::Rayon);
    matmul(rest.view_mut(), Accum::Add, q.view(), onto.view(), -1.0, Par::Rayon);
    (rest.data().iter().map(|x| x * x).sum::<f64>() / all).sqrt()
}

/// The textbook's: G = YᵀY, R = chol(G), Q = Y·R⁻¹ by substitution.
fn cholesky_qr<T>(y: &Mat, narrow: fn(T) -> f32, wide: fn(f32) -> T) -> Option<Mat>
where
    T: Copy + std::ops::Mul<Output = T> + std::ops::Sub<Output = T> + std::ops::Div<Output = T> + Into<f64>,
    T: std::iter::Sum<T> + Root,
{
    let (n, k) = (y.rows(), y.cols());
    let mut r: Vec<Vec<T>> =
        (0..k).map(|i| (0..k).map(|j| (0..n).map(|p| wide(y[(p, i)]) * wide(y[(p, j)])).sum()).collect()).collect();
    for p in 0..k {
        let pivot = r[p][p];
        if pivot.into() <= 0.0 || pivot.into().is_nan() {
            return None;
        }
        let root = pivot.root();
        (p..k).for_each(|j| r[p][j] = r[p][j] / root);
        for i in p + 1..k {
            for j in i..k {
                r[i][j] = r[i][j] - r[p][i] * r[p][j];
            }
        }
    }
    let mut q = Mat::zeros(n, k);
    for i in 0..n {
        let mut row: Vec<T> = (0..k).map(|j| wide(y[(i, j)])).collect();
        for j in 0..k {
            row[j] = (0..j).fold(row[j], |x, p| x - row[p] * r[p][j]) / r[j][j];
            q[(i, j)] = narrow(row[j]);
        }
    }
    Some(q)
}

trait Root {
    fn root(self) -> Self;
}
impl Root for f32 {
    fn root(self) -> f32 {
        self.sqrt()
    }
}
impl Root for f64 {
    fn root(self) -> f64 {
        self.sqrt()
    }
}

/// Modified Gram–Schmidt in f32, each column projected `passes` times.
fn gram_schmidt(y: &Mat, passes: usize) -> Mat {
    let (n, k) = (y.rows(), y.cols());
    let mut q = y.clone();
    for j in 0..k {
        for p in (0..passes).flat_map(|_| 0..j) {
            let dot: f32 = (0..n).map(|i| q[(i, p)] * q[(i, j)]).sum();
            (0..n).for_each(|i| q[(i, j)] -= dot * q[(i, p)]);
        }
        let norm = (0..n).map(|i| q[(i, j)] * q[(i, j)]).sum::<f32>().sqrt();
        (0..n).for_each(|i| q[(i, j)] /= norm);
    }
    q
}
