//! RMSNorm: x̂ = x·rstd, rstd = 1/√(mean(x²) + eps), y = x̂·w. Its backward needs x̂, rstd and w, not x. A row may be several
//! heads side by side, each as long as w.

use rayon::prelude::*;

use super::elementwise::rows_per_task;
use super::{scratch, simd};
use crate::saved::Tiles;

/// x̂ and rstd of x, `cols` features at a time.
pub(crate) fn normalise(x: &[f32], cols: usize, eps: f32, x_hat: &mut [f32], rstd: &mut [f32]) {
    let tile = rows_per_task(cols);
    x_hat.par_chunks_mut(tile * cols).zip(rstd.par_chunks_mut(tile)).zip(x.par_chunks(tile * cols)).for_each(
        |((x_hat, rstd), x)| {
            normalise_here(x, eps, x_hat, rstd);
        },
    );
}

/// y = x̂·w, head by head.
pub(crate) fn weigh(x_hat: &[f32], w: &[f32], y: &mut [f32]) {
    let cols = w.len();
    let tile = rows_per_task(cols) * cols;
    y.par_chunks_mut(tile).zip(x_hat.par_chunks(tile)).for_each(|(y, x_hat)| {
        weigh_here(x_hat, w, y);
    });
}

/// dx += rstd·(g − x̂·mean(g·x̂)) with g = dy·w. `dx` holds what other paths contributed, or zeros.
pub(crate) fn backward(dy: &[f32], x_hat: &Tiles<'_>, rstd: &[f32], w: &[f32], dx: &mut [f32]) {
    let cols = x_hat.cols();
    let heads = cols / w.len();
    let tile = rows_per_task(cols).max(16);
    dx.par_chunks_mut(tile * cols)
        .zip(dy.par_chunks(tile * cols))
        .zip(rstd.par_chunks(tile * heads))
        .enumerate()
        .for_each(|(at, ((dx, dy), rstd))| {
            scratch::with(tile * cols, |buffer| {
                let x_hat = x_hat.get(at * tile..at * tile + rstd.len() / heads, buffer);
                backward_here(dy, x_hat, rstd, w, dx);
            });
        });
}

simd::vectorised! {
    /// [`normalise`] of some rows.
    fn normalise_here<'a>(x: &'a [f32], eps: f32, x_hat: &'a mut [f32], rstd: &'a mut [f32]) -> () {
        let cols = x.len() / rstd.len().max(1);
        for ((x_hat, rstd), x) in x_hat.chunks_exact_mut(cols).zip(rstd).zip(x.chunks_exact(cols)) {
            *rstd = 1.0 / (simd::sum(x, |x| x * x) / cols as f32 + eps).sqrt();
            x_hat.iter_mut().zip(x).for_each(|(h, &x)| *h = x * *rstd);
        }
    }

    /// [`weigh`] of some rows.
    fn weigh_here<'a>(x_hat: &'a [f32], w: &'a [f32], y: &'a mut [f32]) -> () {
        for (y, x_hat) in y.chunks_exact_mut(w.len()).zip(x_hat.chunks_exact(w.len())) {
            y.iter_mut().zip(x_hat).zip(w).for_each(|((y, &h), &w)| *y = h * w);
        }
    }

    /// [`backward`] of some rows.
    fn backward_here<'a>(dy: &'a [f32], x_hat: &'a [f32], rstd: &'a [f32], w: &'a [f32], dx: &'a mut [f32]) -> () {
        let cols = w.len();
        for (((dx, dy), x_hat), &rstd) in
            dx.chunks_exact_mut(cols).zip(dy.chunks_exact(cols)).zip(x_hat.chunks_exact(cols)).zip(rstd)
        {
            let mean = dot3(dy, w, x_hat) / cols as f32;
            for (((dx, &dy), &w), &h) in dx.iter_mut().zip(dy).zip(w).zip(x_hat) {
                *dx += rstd * (dy * w - h * mean);
            }
        }
    }

    /// dw += Σ_rows dy·x̂.
    fn add_products<'a>(dy: &'a [f32], x_hat: &'a [f32], dw: &'a mut [f32]) -> () {
        let cols = dw.len();
        for (dy, x_hat) in dy.chunks_exact(cols).zip(x_hat.chunks_exact(cols)) {
            dw.iter_mut().zip(dy).zip(x_hat).for_each(|((dw, &dy), &h)| *dw += dy * h);
        }
    }
}

#[inline(always)]
fn dot3(a: &[f32], b: &[f32], c: &[f32]) -> f32 {
    const LANES: usize = 16;
    let mut lanes = [0.0f32; LANES];
    let whole = a.len() / LANES * LANES;
    for ((a, b), c) in a.chunks_exact(LANES).zip(b.chunks_exact(LANES)).zip(c.chunks_exact(LANES)) {
        for i in 0..LANES {
            lanes[i] += a[i] * b[i] * c[i];
        }
    }
    let rest: f32 = (whole..a.len()).map(|i| a[i] * b[i] * c[i]).sum();
    lanes.iter().sum::<f32>() + rest
}

/// dw += Σ_rows dy·x̂.
pub(crate) fn weight_gradient(dy: &[f32], x_hat: &Tiles<'_>, dw: &mut [f32]) {
    let cols = x_hat.cols();
    let rows = dy.len() / cols;
    let tile = rows_per_task(cols).max(16);
    scratch::with(tile * cols, |buffer| {
        for start in (0..rows).step_by(tile) {
            let range = start..(start + tile).min(rows);
            let dy = &dy[range.start * cols..range.end * cols];
            let x_hat = x_hat.get(range, buffer);
            add_products(dy, x_hat, dw);
        }
    });
}
