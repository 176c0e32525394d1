//! Rotary position embedding, halves convention (Hugging Face's `rotate_half`): feature i and i + D/2 of a head turn by
//! the angle position·frequency_i.

use rayon::prelude::*;

use super::elementwise::rows_per_task;
use super::simd;

/// Turns every head of every row in place. `cos` and `sin` have D/2 numbers a position; `direction` is 1 forward and −1
/// for the gradient (the inverse turn).
pub(crate) fn rotate(
    x: &mut [f32],
    cols: usize,
    head_dim: usize,
    positions: &[u32],
    cos: &[f32],
    sin: &[f32],
    direction: f32,
) {
    let half = head_dim / 2;
    let tile = rows_per_task(cols);
    x.par_chunks_mut(tile * cols).zip(positions.par_chunks(tile)).for_each(|(x, positions)| {
        for (row, &position) in x.chunks_exact_mut(cols).zip(positions) {
            let at = position as usize * half;
            rotate_row(row, &cos[at..at + half], &sin[at..at + half], direction);
        }
    });
}

simd::vectorised! {
    /// [`rotate`] of the heads of a row.
    fn rotate_row<'a>(row: &'a mut [f32], cos: &'a [f32], sin: &'a [f32], direction: f32) -> () {
        let half = cos.len();
        for head in row.chunks_exact_mut(2 * half) {
            let (low, high) = head.split_at_mut(half);
            for (((a, b), &c), &s) in low.iter_mut().zip(high).zip(cos).zip(sin) {
                let s = direction * s;
                (*a, *b) = (*a * c - *b * s, *b * c + *a * s);
            }
        }
    }
}
