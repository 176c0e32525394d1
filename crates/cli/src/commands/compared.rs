//! What was written, read again: its logits against those of what it was made of.

use std::fmt;

use loract_autograd::{Rng, Tensor};
use loract_models::{DecoderConfig, ImageBatch, Row, TokenBatch, VisionConfig};

/// Tokens that the comparison runs.
const COMPARED: usize = 64;

/// Random tokens, always the same.
pub fn some_tokens(config: &DecoderConfig) -> TokenBatch {
    let (vocabulary, mut rng) = (config.vocab_size, Rng::new(&[0x3e9e]));
    let ids = (0..COMPARED.min(config.context))
        .map(|_| (rng.uniform() * vocabulary as f32) as u32 % vocabulary as u32)
        .collect();
    TokenBatch::new(&[Row::all(ids)])
}

/// Images that the comparison runs.
const IMAGES: usize = 4;

/// Random images, always the same.
pub fn some_images(config: &VisionConfig) -> Result<ImageBatch, loract_models::Error> {
    let mut rng = Rng::new(&[0x3e9f]);
    let pixels = (0..IMAGES * config.pixels()).map(|_| rng.normal()).collect();
    ImageBatch::new(config, pixels, Vec::new())
}

/// How two matrices of logits differ.
#[derive(Debug, Clone, Copy)]
pub struct Difference {
    /// ‖b − a‖/‖a‖.
    pub relative: f64,
    /// The largest of |b − a|.
    pub largest: f64,
    /// Mean Kullback–Leibler divergence of the next token's distribution, Σ p_a·ln(p_a/p_b), in nats.
    pub divergence: f64,
    /// Rows whose largest number is at the same place.
    pub same_token: usize,
    /// Rows.
    pub rows: usize,
    /// What a row is of, in the plural, and what its numbers are for.
    words: [&'static str; 2],
}

impl Difference {
    /// That of `b` from `a`.
    pub fn between(a: &Tensor, b: &Tensor) -> Self {
        let (rows, cols, a, b) = (a.rows(), a.cols(), a.to_vec(), b.to_vec());
        let off = |(&a, &b): (&f32, &f32)| f64::from(b) - f64::from(a);
        let square = |x: f64| x * x;
        let distance: f64 = a.iter().zip(&b).map(off).map(square).sum();
        let whole: f64 = a.iter().map(|&a| square(f64::from(a))).sum();
        let largest = a.iter().zip(&b).map(off).fold(0.0, |most: f64, x| most.max(x.abs()));
        let place = |row: &[f32]| (0..row.len()).max_by(|&i, &j| row[i].total_cmp(&row[j]));
        let pairs = || a.chunks_exact(cols).zip(b.chunks_exact(cols));
        Self {
            relative: (distance / whole).sqrt(),
            largest,
            divergence: pairs().map(|(a, b)| divergence(a, b)).sum::<f64>() / rows as f64,
            same_token: pairs().filter(|(a, b)| place(a) == place(b)).count(),
            rows,
            words: ["tokens", "token"],
        }
    }

    /// The same, told of images.
    pub fn of_images(self) -> Self {
        Self { words: ["images", "class"], ..self }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Difference { relative, largest, divergence, same_token, rows, words: [rows_are, number] } = self;
        write!(
            f,
            "{rows} random {rows_are}: relative error {relative:.1e}, the largest difference {largest:.1e}, divergence \
             {divergence:.1e} nats, the same likeliest {number} at {same_token}"
        )
    }
}

/// Σ p_a·ln(p_a/p_b) of two rows of logits.
fn divergence(a: &[f32], b: &[f32]) -> f64 {
    let log_sum = |row: &[f32]| {
        let most = row.iter().fold(f32::NEG_INFINITY, |most, &x| most.max(x));
        f64::from(most) + row.iter().map(|&x| (f64::from(x) - f64::from(most)).exp()).sum::<f64>().ln()
    };
    let (sum_a, sum_b) = (log_sum(a), log_sum(b));
    let of = |(&a, &b): (&f32, &f32)| {
        let (a, b) = (f64::from(a) - sum_a, f64::from(b) - sum_b);
        a.exp() * (a - b)
    };
    a.iter().zip(b).map(of).sum()
}

#[cfg(test)]
mod tests {
    use loract_autograd::{Category, Memory};

    use super::*;

    #[test]
    fn divergence_by_hand() {
        // (1/4, 3/4) against (1/2, 1/2), and shifted logits are the same distribution.
        let (a, b) = ([0.0, 3f32.ln()], [5.0, 5.0]);
        let want = 0.25 * 0.5f64.ln() + 0.75 * 1.5f64.ln();
        assert!((divergence(&a, &b) - want).abs() < 1e-7);
        assert!(divergence(&b, &[7.0, 7.0]).abs() < 1e-12);
    }

    #[test]
    fn differences_by_hand() {
        let memory = Memory::new();
        let logits = |numbers| memory.tensor(2, 2, numbers, Category::Transient);
        let (a, b) = (logits(vec![3.0, 1.0, 0.0, 2.0]), logits(vec![3.5, 1.0, 0.0, -2.0]));
        let found = Difference::between(&a, &b);
        assert!((found.largest, found.same_token, found.rows) == (4.0, 1, 2));
        assert!((found.relative - (16.25f64 / 14.0).sqrt()).abs() < 1e-12);
        assert!(found.divergence > 0.0);
    }
}
