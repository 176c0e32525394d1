//! SwiGLU: h = silu(gate)·up, silu(g) = g·σ(g).

use rayon::prelude::*;

use super::elementwise::{GRAIN, rows_per_task};
use super::{scratch, simd};
use crate::saved::Tiles;

/// h = silu(gate)·up.
pub(crate) fn forward(gate: &[f32], up: &[f32], h: &mut [f32]) {
    h.par_chunks_mut(GRAIN).zip(gate.par_chunks(GRAIN)).zip(up.par_chunks(GRAIN)).for_each(|((h, gate), up)| {
        forward_here(gate, up, h);
    });
}

simd::vectorised! {
    /// The same, by the calling thread.
    pub(crate) fn forward_here<'a>(gate: &'a [f32], up: &'a [f32], h: &'a mut [f32]) -> () {
        for ((h, &g), &u) in h.iter_mut().zip(gate).zip(up) {
            *h = g * simd::sigmoid(g) * u;
        }
    }

    /// [`backward`] of some elements.
    fn backward_here<'a>(gate: &'a [f32], up: &'a [f32], dgate: &'a mut [f32], dup: &'a mut [f32]) -> () {
        for (((dgate, dup), &g), &u) in dgate.iter_mut().zip(dup).zip(gate).zip(up) {
            let (dh, sigma) = (*dup, simd::sigmoid(g));
            *dgate = dh * u * sigma * (1.0 + g * (1.0 - sigma));
            *dup = dh * g * sigma;
        }
    }
}

/// dgate = dh·up·silu'(gate), dup = dh·silu(gate), both m×n; silu'(g) = σ(g)·(1 + g·(1 − σ(g))). `dup` holds dh when
/// called, and is overwritten.
pub(crate) fn backward(gate: &Tiles<'_>, up: &Tiles<'_>, cols: usize, dgate: &mut [f32], dup: &mut [f32]) {
    let tile = rows_per_task(cols).max(16);
    dgate.par_chunks_mut(tile * cols).zip(dup.par_chunks_mut(tile * cols)).enumerate().for_each(
        |(at, (dgate, dup))| {
            scratch::with(2 * tile * cols, |buffer| {
                let (first, second) = buffer.split_at_mut(tile * cols);
                let rows = at * tile..at * tile + dup.len() / cols;
                let (gate, up) = (gate.get(rows.clone(), first), up.get(rows, second));
                backward_here(gate, up, dgate, dup);
            });
        },
    );
}
