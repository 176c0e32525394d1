//! x̂ = (x − mean)·rstd with rstd = 1/√(mean((x − mean)²) + eps), a group of `width` features at a time; RMSNorm takes 0
//! for the mean. Then y = x̂·scale + shift. Backward needs x̂, rstd and the scale, not x.
//!
//! Scale and shift are as long as a group, or as a row of several.

use loract_linalg::with_buffer;
use rayon::prelude::*;

use super::elementwise::{add_to_rows_here, rows_per_task};
use super::simd;
use crate::saved::Tiles;

/// What a group of features is divided by, and whether its mean is subtracted first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormKind {
    /// RMSNorm: by the root of the mean square.
    Rms,
    /// LayerNorm: the mean is subtracted, then as RMSNorm.
    Layer,
}

/// x̂ and rstd of x, `width` features at a time.
pub(crate) fn normalise(x: &[f32], kind: NormKind, width: usize, eps: f32, x_hat: &mut [f32], rstd: &mut [f32]) {
    let tile = rows_per_task(width);
    x_hat.par_chunks_mut(tile * width).zip(rstd.par_chunks_mut(tile)).zip(x.par_chunks(tile * width)).for_each(
        |((x_hat, rstd), x)| {
            normalise_here(x, kind, eps, x_hat, rstd);
        },
    );
}

/// y = x̂·scale + shift.
pub(crate) fn weigh(x_hat: &[f32], scale: Option<&[f32]>, shift: Option<&[f32]>, y: &mut [f32]) {
    let row = scale.map_or(0, <[f32]>::len).max(shift.map_or(0, <[f32]>::len)).max(1);
    let tile = rows_per_task(row) * row;
    y.par_chunks_mut(tile).zip(x_hat.par_chunks(tile)).for_each(|(y, x_hat)| {
        match scale {
            Some(scale) => weigh_here(x_hat, scale, y),
            None => y.copy_from_slice(x_hat),
        }
        if let Some(shift) = shift {
            add_to_rows_here(y, shift);
        }
    });
}

/// dx += rstd·(g − mean(g) − x̂·mean(g·x̂)) with g = dy·scale; RMSNorm takes 0 for mean(g). `dx` holds what other paths
/// contributed, or zeros.
pub(crate) fn backward(
    dy: &[f32],
    x_hat: &Tiles<'_>,
    rstd: &[f32],
    (kind, width): (NormKind, usize),
    scale: Option<&[f32]>,
    dx: &mut [f32],
) {
    let cols = x_hat.cols();
    let groups = cols / width;
    let tile = rows_per_task(cols).max(16);
    let ones = if scale.is_none() { vec![1.0; width] } else { Vec::new() };
    let scale = scale.unwrap_or(&ones);
    dx.par_chunks_mut(tile * cols)
        .zip(dy.par_chunks(tile * cols))
        .zip(rstd.par_chunks(tile * groups))
        .enumerate()
        .for_each(|(at, ((dx, dy), rstd))| {
            with_buffer(tile * cols, |buffer| {
                let x_hat = x_hat.get(at * tile..at * tile + rstd.len() / groups, buffer);
                backward_here(dy, x_hat, rstd, kind, scale, dx);
            });
        });
}

simd::vectorised! {
    /// [`normalise`] of some rows.
    fn normalise_here<'a>(
        x: &'a [f32],
        kind: NormKind,
        eps: f32,
        x_hat: &'a mut [f32],
        rstd: &'a mut [f32],
    ) -> () {
        let cols = x.len() / rstd.len().max(1);
        for ((x_hat, rstd), x) in x_hat.chunks_exact_mut(cols).zip(rstd).zip(x.chunks_exact(cols)) {
            let mean = match kind {
                NormKind::Rms => 0.0,
                NormKind::Layer => simd::sum(x, |x| x) / cols as f32,
            };
            *rstd = 1.0 / (simd::sum(x, |x| (x - mean) * (x - mean)) / cols as f32 + eps).sqrt();
            x_hat.iter_mut().zip(x).for_each(|(h, &x)| *h = (x - mean) * *rstd);
        }
    }

    /// x̂·scale of some rows.
    fn weigh_here<'a>(x_hat: &'a [f32], scale: &'a [f32], y: &'a mut [f32]) -> () {
        for (y, x_hat) in y.chunks_exact_mut(scale.len()).zip(x_hat.chunks_exact(scale.len())) {
            y.iter_mut().zip(x_hat).zip(scale).for_each(|((y, &h), &s)| *y = h * s);
        }
    }

    /// [`backward`] of some rows.
    fn backward_here<'a>(
        dy: &'a [f32],
        x_hat: &'a [f32],
        rstd: &'a [f32],
        kind: NormKind,
        scale: &'a [f32],
        dx: &'a mut [f32],
    ) -> () {
        let cols = dx.len() / rstd.len().max(1);
        let groups = dx.chunks_exact_mut(cols).zip(dy.chunks_exact(cols)).zip(x_hat.chunks_exact(cols)).zip(rstd);
        for ((((dx, dy), x_hat), &rstd), scale) in groups.zip(scale.chunks_exact(cols).cycle()) {
            let mean = match kind {
                NormKind::Rms => 0.0,
                NormKind::Layer => simd::sum2(dy, scale, |dy, s| dy * s) / cols as f32,
            };
            let slope = dot3(dy, scale, x_hat) / cols as f32;
            for (((dx, &dy), &s), &h) in dx.iter_mut().zip(dy).zip(scale).zip(x_hat) {
                *dx += rstd * (dy * s - mean - h * slope);
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

/// dw += Σ_rows dy·x̂, summed over the groups of a row if dw is as long as a group.
pub(crate) fn weight_gradient(dy: &[f32], x_hat: &Tiles<'_>, dw: &mut [f32]) {
    let cols = x_hat.cols();
    let rows = dy.len() / cols;
    let tile = rows_per_task(cols).max(16);
    with_buffer(tile * cols, |buffer| {
        for start in (0..rows).step_by(tile) {
            let range = start..(start + tile).min(rows);
            let dy = &dy[range.start * cols..range.end * cols];
            let x_hat = x_hat.get(range, buffer);
            add_products(dy, x_hat, dw);
        }
    });
}

/// out = w + offset.
pub(crate) fn add_offset(w: &[f32], offset: f32, out: &mut [f32]) {
    out.iter_mut().zip(w).for_each(|(out, w)| *out = w + offset);
}
