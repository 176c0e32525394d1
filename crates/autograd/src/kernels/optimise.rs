//! The arithmetic of optimisers.

use rayon::prelude::*;

use super::elementwise::GRAIN;
use super::simd;
use crate::profile::{self, Part};
use crate::tensor::Tensor;

/// Numbers of an AdamW step (Loshchilov, Hutter 2019; PyTorch's `torch.optim.AdamW`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWStep {
    /// Learning rate of this step.
    pub lr: f32,
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// Added to the root of the second moment.
    pub eps: f32,
    /// Decoupled weight decay.
    pub weight_decay: f32,
    /// Number of this step, counted from 1.
    pub step: u64,
}

/// Updates a parameter and its moments in place. False, and nothing written, if the value's memory is shared or a shape
/// differs.
pub fn adamw(value: &mut Tensor, gradient: &Tensor, m: &mut Tensor, v: &mut Tensor, s: &AdamWStep) -> bool {
    let same = |t: &Tensor| (t.rows(), t.cols()) == (gradient.rows(), gradient.cols());
    if !same(value) || !same(m) || !same(v) {
        return false;
    }
    let (Some(value), Some(m), Some(v)) = (value.data_mut(), m.data_mut(), v.data_mut()) else { return false };
    let _span = profile::span(Part::Op("adamw"));
    // Corrections in f64: β₂ᵗ is close to 1 for small t.
    let power = |beta: f32| 1.0 - f64::from(beta).powi(i32::try_from(s.step).unwrap_or(i32::MAX));
    let step_size = (f64::from(s.lr) / power(s.beta1)) as f32;
    let root = power(s.beta2).sqrt() as f32;
    let decay = 1.0 - s.lr * s.weight_decay;
    value
        .par_chunks_mut(GRAIN)
        .zip(gradient.data().par_chunks(GRAIN))
        .zip(m.par_chunks_mut(GRAIN).zip(v.par_chunks_mut(GRAIN)))
        .for_each(|((value, gradient), (m, v))| {
            update(value, gradient, m, v, s, (step_size, root, decay));
        });
    true
}

simd::vectorised! {
    /// [`adamw`] of some elements, with lr/(1 − β₁ᵗ), √(1 − β₂ᵗ) and 1 − lr·decay.
    fn update<'a>(
        value: &'a mut [f32],
        gradient: &'a [f32],
        m: &'a mut [f32],
        v: &'a mut [f32],
        s: &'a AdamWStep,
        numbers: (f32, f32, f32),
    ) -> () {
        let (step_size, root, decay) = numbers;
        for ((x, &g), (m, v)) in value.iter_mut().zip(gradient).zip(m.iter_mut().zip(v)) {
            *m += (1.0 - s.beta1) * (g - *m);
            *v = s.beta2 * *v + (1.0 - s.beta2) * g * g;
            *x = *x * decay - step_size * *m / (v.sqrt() / root + s.eps);
        }
    }
}
