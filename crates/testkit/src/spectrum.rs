//! Random matrices with a chosen spectrum: A = L·diag(σ)·Rᵀ with Haar-random orthonormal L and R, made in f64.

/// The singular values σ_1 ≥ σ_2 ≥ … of a test matrix.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Spectrum {
    /// All 1.
    Flat,
    /// σ_i = i^−p.
    Power(f32),
    /// Geometric from 1 down to 1/condition.
    Geometric {
        /// σ_1 / σ_last.
        condition: f64,
    },
    /// This many ones, then zeros.
    ExactRank(usize),
}

impl Spectrum {
    /// σ_i for i = 0..count.
    pub fn values(self, count: usize) -> Vec<f64> {
        let last = (count.max(2) - 1) as f64;
        (0..count)
            .map(|i| match self {
                Spectrum::Flat => 1.0,
                Spectrum::Power(p) => ((i + 1) as f64).powf(-f64::from(p)),
                Spectrum::Geometric { condition } => condition.powf(-(i as f64) / last),
                Spectrum::ExactRank(rank) => f64::from(u8::from(i < rank)),
            })
            .collect()
    }
}

/// A rows×cols matrix, row-major, with that spectrum; and its shape.
pub fn with_spectrum(rows: usize, cols: usize, spectrum: Spectrum, seed: u64) -> (Vec<f32>, usize, usize) {
    let p = rows.min(cols);
    let sigma = spectrum.values(p);
    let left = orthonormal_rows(p, rows, seed.wrapping_mul(2) + 1);
    let right = orthonormal_rows(p, cols, seed.wrapping_mul(2) + 2);
    let mut out = vec![0.0f64; rows * cols];
    for q in 0..p {
        for i in 0..rows {
            let scale = sigma[q] * left[q * rows + i];
            for j in 0..cols {
                out[i * cols + j] += scale * right[q * cols + j];
            }
        }
    }
    (out.iter().map(|&x| x as f32).collect(), rows, cols)
}

/// `count` orthonormal vectors of `len` numbers, by Gram–Schmidt done twice on normal vectors.
fn orthonormal_rows(count: usize, len: usize, seed: u64) -> Vec<f64> {
    let mut state = seed;
    let mut vectors = vec![0.0f64; count * len];
    for q in 0..count {
        let (done, rest) = vectors.split_at_mut(q * len);
        let v = &mut rest[..len];
        v.iter_mut().for_each(|x| *x = normal(&mut state));
        for _ in 0..2 {
            for w in done.chunks_exact(len) {
                let dot: f64 = w.iter().zip(v.iter()).map(|(a, b)| a * b).sum();
                v.iter_mut().zip(w).for_each(|(x, y)| *x -= dot * y);
            }
        }
        let norm = v.iter().map(|x| x * x).sum::<f64>().sqrt();
        v.iter_mut().for_each(|x| *x /= norm);
    }
    vectors
}

/// Sum of twelve uniforms less six: near normal, no library needed.
fn normal(state: &mut u64) -> f64 {
    (0..12).map(|_| crate::uniform(state)).sum::<f64>() - 6.0
}
