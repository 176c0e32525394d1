//! Cutting numbers to an interval, with a note of those that were inside: a bit each, 32 to a word. Words lie in the memory
//! of f32 numbers, which nobody computes with.

use bytemuck::{cast_slice, cast_slice_mut};
use rayon::prelude::*;

use super::elementwise::GRAIN;
use super::simd;

/// Elements whose bits a word holds.
pub(crate) const WORD: usize = 32;

/// x cut to −limit..limit.
pub(crate) fn clamp(x: &mut [f32], limit: f32) {
    x.par_chunks_mut(GRAIN).for_each(|x| clamp_here(x, limit));
}

/// The same; bit i of `inside`, from the lowest of the first word on, tells whether |x_i| ≤ limit.
pub(crate) fn clamp_and_note(x: &mut [f32], limit: f32, inside: &mut [f32]) {
    let words: &mut [u32] = cast_slice_mut(inside);
    x.par_chunks_mut(GRAIN).zip(words.par_chunks_mut(GRAIN / WORD)).for_each(|(x, words)| {
        note_here(x, limit, words);
        clamp_here(x, limit);
    });
}

/// Zeros where the bit in `inside` is not set.
pub(crate) fn keep_noted(x: &mut [f32], inside: &[f32]) {
    let words: &[u32] = cast_slice(inside);
    x.par_chunks_mut(GRAIN).zip(words.par_chunks(GRAIN / WORD)).for_each(|(x, words)| keep_here(x, words));
}

simd::vectorised! {
    /// [`clamp`], by the calling thread.
    fn clamp_here<'a>(x: &'a mut [f32], limit: f32) -> () {
        for x in x.iter_mut() {
            let low = if *x < -limit { -limit } else { *x };
            *x = if low > limit { limit } else { low };
        }
    }

    /// Which are inside, by the calling thread.
    fn note_here<'a>(x: &'a [f32], limit: f32, words: &'a mut [u32]) -> () {
        for (word, x) in words.iter_mut().zip(x.chunks(WORD)) {
            *word = x.iter().enumerate().fold(0, |word, (i, x)| word | u32::from(x.abs() <= limit) << i);
        }
    }

    /// [`keep_noted`], by the calling thread.
    fn keep_here<'a>(x: &'a mut [f32], words: &'a [u32]) -> () {
        for (x, word) in x.chunks_mut(WORD).zip(words) {
            for (i, x) in x.iter_mut().enumerate() {
                *x = if word >> i & 1 == 1 { *x } else { 0.0 };
            }
        }
    }
}
