//! Rotary position embedding: two features of a head turn by the angle position·frequency.

use rayon::prelude::*;

use super::elementwise::rows_per_task;
use super::simd;
use crate::ops::RopePairs;

/// How heads lie in a row, and what of them turns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// Features of a row.
    pub cols: usize,
    /// D.
    pub head_dim: usize,
    /// Features of a head that turn, its first ones.
    pub rotated: usize,
    /// Which of them together.
    pub pairs: RopePairs,
}

/// Turns every head of every row in place. The tables have rotated/2 numbers a place; `direction` is 1 forward and −1
/// for the gradient (the inverse turn).
pub(crate) fn rotate(x: &mut [f32], shape: Shape, places: &[u32], (cos, sin): (&[f32], &[f32]), direction: f32) {
    let half = shape.rotated / 2;
    let tile = rows_per_task(shape.cols);
    x.par_chunks_mut(tile * shape.cols).zip(places.par_chunks(tile)).for_each(|(x, places)| {
        for (row, &place) in x.chunks_exact_mut(shape.cols).zip(places) {
            let at = place as usize * half;
            let (cos, sin) = (&cos[at..at + half], &sin[at..at + half]);
            match shape.pairs {
                RopePairs::Halves => rotate_halves(row, shape.head_dim, cos, sin, direction),
                RopePairs::Neighbours => rotate_neighbours(row, shape.head_dim, cos, sin, direction),
            }
        }
    });
}

simd::vectorised! {
    /// [`rotate`] of the heads of a row.
    fn rotate_halves<'a>(row: &'a mut [f32], head_dim: usize, cos: &'a [f32], sin: &'a [f32], direction: f32) -> () {
        let half = cos.len();
        for head in row.chunks_exact_mut(head_dim) {
            let (low, high) = head[..2 * half].split_at_mut(half);
            for (((a, b), &c), &s) in low.iter_mut().zip(high).zip(cos).zip(sin) {
                let s = direction * s;
                (*a, *b) = (*a * c - *b * s, *b * c + *a * s);
            }
        }
    }

    /// The same.
    fn rotate_neighbours<'a>(row: &'a mut [f32], head_dim: usize, cos: &'a [f32], sin: &'a [f32], direction: f32) -> () {
        for head in row.chunks_exact_mut(head_dim) {
            for ((pair, &c), &s) in head.chunks_exact_mut(2).zip(cos).zip(sin) {
                let s = direction * s;
                (pair[0], pair[1]) = (pair[0] * c - pair[1] * s, pair[1] * c + pair[0] * s);
            }
        }
    }
}
