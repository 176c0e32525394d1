//! Matrices, naive measures and timing for the examples.
#![allow(dead_code)]

use std::time::Instant;

use loract_linalg::gallery::{Kind, optimal_error};
use loract_linalg::{Accum, LowRank, Mat, MatRef, Par, matmul};

/// σ_i = i^−p.
pub fn power(count: usize, p: f32) -> Vec<f32> {
    Kind::Power(p).spectrum(count)
}

/// Relative error of the best approximation of rank k.
pub fn optimal(sigma: &[f32], k: usize) -> f64 {
    optimal_error(&sigma.iter().map(|&x| f64::from(x)).collect::<Vec<_>>(), k)
}

/// Largest |QᵀQ − I|, in f64.
pub fn defect(q: MatRef<'_>) -> f64 {
    let wide = Mat::from_fn(q.rows(), q.cols(), |i, j| f64::from(q.get(i, j)));
    let mut g = Mat::zeros(q.cols(), q.cols());
    matmul(g.view_mut(), Accum::Replace, wide.view().t(), wide.view(), 1.0, Par::Rayon);
    let k = q.cols();
    (0..k * k).fold(0.0f64, |worst, at| worst.max((g.data()[at] - f64::from(u8::from(at / k == at % k))).abs()))
}

/// ‖A − U·V‖ / ‖A‖, from the difference.
pub fn error(a: &Mat, factors: &LowRank) -> f64 {
    factors.measured_error(a.view(), Par::Rayon).unwrap_or(f64::NAN)
}

/// Runs the contestants in turn, `rounds` times; seconds of the fastest and of the median run of each.
pub fn race(rounds: usize, contestants: &mut [&mut dyn FnMut()]) -> Vec<(f64, f64)> {
    let mut times = vec![Vec::new(); contestants.len()];
    for round in 0..rounds + 1 {
        for (run, times) in contestants.iter_mut().zip(&mut times) {
            let start = Instant::now();
            run();
            if round > 0 {
                times.push(start.elapsed().as_secs_f64());
            }
        }
    }
    times.iter_mut().for_each(|t| t.sort_by(f64::total_cmp));
    times.iter().map(|t| (t[0], t[t.len() / 2])).collect()
}
