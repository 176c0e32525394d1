//! Gradients of attention, a block of query rows of a head at a time.

use std::ops::Range;

use loract_linalg::{Accum, MatMut, MatRef, Par, matmul};
use rayon::prelude::*;

use super::blocks;
use super::layout::Layout;
use crate::kernels::parts::split;
use crate::kernels::{scratch, simd};

/// What backward reads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Inputs<'a> {
    pub q: &'a [f32],
    pub k: &'a [f32],
    pub v: &'a [f32],
    pub d_out: &'a [f32],
}

/// Gradients of q, k and v. `by_head` is three scratch areas of m·H·D numbers.
pub(crate) fn backward(
    layout: &Layout<'_>,
    inputs: Inputs<'_>,
    by_head: [&mut [f32]; 3],
    dq: &mut [f32],
    dk: &mut [f32],
    dv: &mut [f32],
) {
    let tasks: Vec<(Range<usize>, usize)> =
        layout.sequences.iter().flat_map(|s| (0..layout.heads).map(|head| (s.clone(), head))).collect();
    let [hq, hk, hv] = by_head;
    let lengths = || tasks.iter().map(|(s, _)| s.len() * layout.head_dim);
    let (parts_q, parts_k, parts_v) = (split(hq, lengths()), split(hk, lengths()), split(hv, lengths()));
    tasks
        .par_iter()
        .zip(parts_q)
        .zip(parts_k)
        .zip(parts_v)
        .with_max_len(1)
        .for_each(|((((sequence, head), dq), dk), dv)| backward_head(layout, inputs, sequence, *head, dq, dk, dv));
    let [hq, hk, hv] = [&*hq, &*hk, &*hv];
    let group = layout.heads / layout.kv_heads;
    gather(layout, hq, dq, layout.heads, 1);
    gather(layout, hk, dk, layout.kv_heads, group);
    gather(layout, hv, dv, layout.kv_heads, group);
}

/// From (sequence, head, row, D) to (row, head, D), summing `group` neighbouring heads into one.
fn gather(layout: &Layout<'_>, by_head: &[f32], out: &mut [f32], heads: usize, group: usize) {
    let (d, cols) = (layout.head_dim, heads * layout.head_dim);
    for sequence in layout.sequences {
        let len = sequence.len();
        let base = sequence.start * layout.q_cols();
        out[sequence.start * cols..sequence.end * cols].par_chunks_mut(cols).enumerate().for_each(|(row, out)| {
            for (head, out) in out.chunks_exact_mut(d).enumerate() {
                for member in 0..group {
                    let at = base + ((head * group + member) * len + row) * d;
                    let part = &by_head[at..at + d];
                    if member == 0 {
                        out.copy_from_slice(part);
                    } else {
                        out.iter_mut().zip(part).for_each(|(o, &x)| *o += x);
                    }
                }
            }
        });
    }
}

fn backward_head(
    layout: &Layout<'_>,
    inputs: Inputs<'_>,
    sequence: &Range<usize>,
    head: usize,
    dq: &mut [f32],
    dk: &mut [f32],
    dv: &mut [f32],
) {
    let d = layout.head_dim;
    let kv_head = head / (layout.heads / layout.kv_heads);
    dk.fill(0.0);
    dv.fill(0.0);
    for rows in blocks(sequence.clone()) {
        let keys = layout.keys(sequence, &rows);
        let (height, width) = (rows.len(), keys.len());
        let q = layout.head(inputs.q, rows.clone(), layout.q_cols(), head);
        let d_out = layout.head(inputs.d_out, rows.clone(), layout.q_cols(), head);
        let k = layout.head(inputs.k, keys.clone(), layout.kv_cols(), kv_head);
        let v = layout.head(inputs.v, keys.clone(), layout.kv_cols(), kv_head);
        let local = (keys.start - sequence.start) * d..(keys.end - sequence.start) * d;
        let local_q = (rows.start - sequence.start) * d..(rows.end - sequence.start) * d;
        let slopes = if layout.softcap.is_some() { width } else { 0 };
        scratch::with(2 * height * width + slopes, |buffer| {
            let (p, rest) = buffer.split_at_mut(height * width);
            let (dp, slopes) = rest.split_at_mut(height * width);
            matmul(MatMut::row_major(p, height, width), Accum::Replace, q, k.t(), layout.scale, Par::Serial);
            matmul(MatMut::row_major(dp, height, width), Accum::Replace, d_out, v.t(), 1.0, Par::Serial);
            for (i, (p, dp)) in p.chunks_exact_mut(width).zip(dp.chunks_exact_mut(width)).enumerate() {
                let seen = layout.seen(rows.start + i, &keys);
                for outside in [0..seen.start, seen.end..width] {
                    p[outside.clone()].fill(0.0);
                    dp[outside].fill(0.0);
                }
                let (p, dp) = (&mut p[seen.clone()], &mut dp[seen]);
                match layout.softcap {
                    None => softmax_backward(p, dp, layout.scale),
                    Some(cap) => capped_backward(p, dp, &mut slopes[..p.len()], cap, layout.scale),
                }
            }
            let (p, ds) = (MatRef::row_major(p, height, width), MatRef::row_major(dp, height, width));
            matmul(MatMut::row_major(&mut dv[local.clone()], width, d), Accum::Add, p.t(), d_out, 1.0, Par::Serial);
            matmul(MatMut::row_major(&mut dk[local], width, d), Accum::Add, ds.t(), q, 1.0, Par::Serial);
            matmul(MatMut::row_major(&mut dq[local_q], height, d), Accum::Replace, ds, k, 1.0, Par::Serial);
        });
    }
}

/// A row of scores becomes P; `dp`, a row of dP, becomes that of the scores' gradient, scale·P·(dP − Σ P·dP).
#[inline(always)]
fn softmax_backward_here(p: &mut [f32], dp: &mut [f32], scale: f32) {
    let max = simd::max(p);
    p.iter_mut().for_each(|x| *x = simd::exp(*x - max));
    let factor = 1.0 / simd::sum(p, |x| x);
    p.iter_mut().for_each(|p| *p *= factor);
    let total = simd::sum2(p, dp, |p, dp| p * dp);
    dp.iter_mut().zip(p.iter()).for_each(|(dp, &p)| *dp = p * (*dp - total) * scale);
}

simd::vectorised! {
    /// [`softmax_backward_here`], compiled for every instruction set.
    fn softmax_backward<'a>(p: &'a mut [f32], dp: &'a mut [f32], scale: f32) -> () {
        softmax_backward_here(p, dp, scale);
    }

    /// The same of scores s that are capped before: P is that of cap·tanh(s/cap), whose slope 1 − tanh² multiplies the
    /// gradient. `slopes` is scratch of a row.
    fn capped_backward<'a>(p: &'a mut [f32], dp: &'a mut [f32], slopes: &'a mut [f32], cap: f32, scale: f32) -> () {
        let inverse = 1.0 / cap;
        for (p, slope) in p.iter_mut().zip(slopes.iter_mut()) {
            let t = simd::tanh(*p * inverse);
            *p = cap * t;
            *slope = (1.0 - t) * (1.0 + t);
        }
        softmax_backward_here(p, dp, scale);
        dp.iter_mut().zip(slopes.iter()).for_each(|(dp, &slope)| *dp *= slope);
    }
}
