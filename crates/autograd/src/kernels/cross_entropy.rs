//! Softmax cross-entropy over rows of logits.

use rayon::prelude::*;

use super::simd;

/// Of each row's target: the negative log-likelihood, and whether no other token is likelier. If `gradient`, the logits
/// are overwritten by softmax − one-hot.
pub(crate) fn rows(logits: &mut [f32], vocabulary: usize, targets: &[u32], gradient: bool) -> Vec<(f32, bool)> {
    logits.par_chunks_mut(vocabulary).zip(targets).map(|(row, &target)| one(row, target as usize, gradient)).collect()
}

simd::vectorised! {
    /// [`rows`] of one row.
    fn one<'a>(row: &'a mut [f32], target: usize, gradient: bool) -> (f32, bool) {
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
