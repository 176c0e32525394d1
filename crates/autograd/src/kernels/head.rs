//! What follows a product with the head's weight: bias, scale and cap make logits of it, and softmax cross-entropy a loss.
//! A row at a time, so that what the cap's gradient needs is scratch of one row.

use loract_linalg::with_buffer;
use rayon::prelude::*;

use super::elementwise::rows_per_task;
use super::simd;

/// (p + b)·scale, and with a cap cap·tanh of that over the cap.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Finish<'a> {
    /// b, as many as a row has.
    pub bias: Option<&'a [f32]>,
    /// Multiplies p + b.
    pub scale: f32,
    /// The cap.
    pub softcap: Option<f32>,
}

impl Finish<'_> {
    /// Whether products are logits already.
    fn is_identity(&self) -> bool {
        self.bias.is_none() && self.scale == 1.0 && self.softcap.is_none()
    }

    /// A row of products becomes logits. What the cap multiplies gradients by is written to `slopes`, if it is as long.
    fn apply(&self, row: &mut [f32], slopes: &mut [f32]) {
        if let Some(bias) = self.bias {
            add(row, bias);
        }
        if self.scale != 1.0 {
            multiply(row, self.scale);
        }
        match self.softcap {
            None => {}
            Some(limit) if slopes.is_empty() => cap(row, limit),
            Some(limit) => cap_with_slopes(row, limit, slopes),
        }
    }

    /// The gradient of a row of logits becomes that of the products (and so of b).
    fn undo(&self, gradient: &mut [f32], slopes: &[f32]) {
        if self.softcap.is_some() {
            multiply_each(gradient, slopes);
        }
        if self.scale != 1.0 {
            multiply(gradient, self.scale);
        }
    }
}

/// Rows of products become logits.
pub(crate) fn finish(products: &mut [f32], vocabulary: usize, finish: Finish<'_>) {
    if !finish.is_identity() {
        products.par_chunks_mut(vocabulary * rows_per_task(vocabulary)).for_each(|rows| {
            rows.chunks_exact_mut(vocabulary).for_each(|row| finish.apply(row, &mut []));
        });
    }
}

/// Of each row's target: the negative log-likelihood, and whether no other token is likelier. Rows hold products with the
/// head; if `gradient`, they are overwritten by the loss's gradient with respect to them.
pub(crate) fn losses(
    products: &mut [f32],
    vocabulary: usize,
    finish: Finish<'_>,
    targets: &[u32],
    gradient: bool,
) -> Vec<(f32, bool)> {
    let slopes = if gradient && finish.softcap.is_some() { vocabulary } else { 0 };
    let one = |(row, &target): (&mut [f32], &u32)| {
        with_buffer(slopes, |slopes| {
            finish.apply(row, slopes);
            let loss = cross_entropy(row, target as usize, gradient);
            if gradient {
                finish.undo(row, slopes);
            }
            loss
        })
    };
    products.par_chunks_mut(vocabulary).zip(targets).map(one).collect()
}

simd::vectorised! {
    fn add<'a>(row: &'a mut [f32], bias: &'a [f32]) -> () {
        row.iter_mut().zip(bias).for_each(|(x, &b)| *x += b);
    }

    fn multiply<'a>(row: &'a mut [f32], factor: f32) -> () {
        row.iter_mut().for_each(|x| *x *= factor);
    }

    fn multiply_each<'a>(row: &'a mut [f32], factors: &'a [f32]) -> () {
        row.iter_mut().zip(factors).for_each(|(x, &factor)| *x *= factor);
    }

    /// z becomes limit·tanh(z/limit).
    fn cap<'a>(row: &'a mut [f32], limit: f32) -> () {
        let inverse = 1.0 / limit;
        for z in row.iter_mut() {
            *z = limit * simd::tanh(*z * inverse);
        }
    }

    /// The same, with the slope 1 − tanh².
    fn cap_with_slopes<'a>(row: &'a mut [f32], limit: f32, slopes: &'a mut [f32]) -> () {
        let inverse = 1.0 / limit;
        for (z, slope) in row.iter_mut().zip(slopes) {
            let t = simd::tanh(*z * inverse);
            *z = limit * t;
            *slope = (1.0 - t) * (1.0 + t);
        }
    }

    /// −log softmax at the target, and whether no logit is larger. If `gradient`, logits become softmax − one-hot.
    fn cross_entropy<'a>(row: &'a mut [f32], target: usize, gradient: bool) -> (f32, bool) {
        let max = simd::max(row);
        let at_target = row[target];
        let sum = if gradient {
            row.iter_mut().for_each(|x| *x = simd::exp(*x - max));
            simd::sum(row, |x| x)
        } else {
            simd::sum(row, |x| simd::exp(x - max))
        };
        if gradient {
            let factor = 1.0 / sum;
            row.iter_mut().for_each(|x| *x *= factor);
            row[target] -= 1.0;
        }
        (max + sum.ln() - at_target, at_target >= max)
    }
}
