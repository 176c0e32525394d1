//! Softmax cross-entropy over rows of logits.

use rayon::prelude::*;

use super::simd;

/// The negative log-likelihood of each row's target, and, if `gradient`, the logits overwritten by softmax − one-hot.
pub(crate) fn rows(logits: &mut [f32], vocabulary: usize, targets: &[u32], gradient: bool) -> Vec<f32> {
    logits
        .par_chunks_mut(vocabulary)
        .zip(targets)
        .map(|(row, &target)| simd::dispatch(|| one(row, target as usize, gradient)))
        .collect()
}

#[inline(always)]
fn one(row: &mut [f32], target: usize, gradient: bool) -> f32 {
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
    max + sum.ln() - at_target
}
