//! Gradients of attention, a block of query rows of a head at a time; of a few sequences at a time, so that what heads leave apart
//! takes a part of the memory of q only.

use std::ops::Range;

use loract_linalg::{Accum, MatMut, MatRef, Par, matmul, with_buffer};
use rayon::prelude::*;

use super::blocks;
use super::layout::Layout;
use super::windows::keep_region;
use crate::kernels::elementwise::rows_per_task;
use crate::kernels::parts::split;
use crate::kernels::simd;

/// What backward reads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Inputs<'a> {
    pub q: &'a [f32],
    pub k: &'a [f32],
    pub v: &'a [f32],
    pub d_out: &'a [f32],
}

/// What backward writes.
#[derive(Debug)]
pub(crate) struct Outputs<'a> {
    pub dq: &'a mut [f32],
    pub dk: &'a mut [f32],
    pub dv: &'a mut [f32],
    /// The gradient of what windows add to their scores, H×T·T; empty if none is wanted.
    pub d_bias: &'a mut [f32],
}

/// Tasks that some sequences give at least, if there are so many: enough for many threads.
const TASKS: usize = 128;

/// Numbers of q in some sequences, at least, if there are so many.
const AT_ONCE: usize = 1 << 20;

/// The sequences in groups that are worked on at a time.
fn groups<'a>(layout: &Layout<'a>) -> impl Iterator<Item = &'a [Range<usize>]> + use<'a> {
    let (heads, cols) = (layout.heads, layout.q_cols());
    let mut rest = layout.sequences;
    std::iter::from_fn(move || {
        let first = rest.first()?.start;
        let enough =
            |at: usize| (at + 1) * heads >= TASKS && (rest[at].end - first) * cols >= AT_ONCE || at + 1 == rest.len();
        let (group, after) = rest.split_at((0..rest.len()).find(|&at| enough(at))? + 1);
        rest = after;
        Some(group)
    })
}

/// The rows of sequences end to end.
fn rows_of(sequences: &[Range<usize>]) -> Range<usize> {
    sequences.first().map_or(0, |first| first.start)..sequences.last().map_or(0, |last| last.end)
}

/// The most rows of a group.
pub(crate) fn rows_at_once(layout: &Layout<'_>) -> usize {
    groups(layout).map(|group| rows_of(group).len()).max().unwrap_or(0)
}

/// Gradients of q, k and v, and of the bias of windows. `by_head` is three scratch areas of [`rows_at_once`]·H·D numbers.
pub(crate) fn backward(layout: &Layout<'_>, inputs: Inputs<'_>, by_head: [&mut [f32]; 3], out: Outputs<'_>) {
    let Outputs { dq, dk, dv, d_bias } = out;
    d_bias.fill(0.0);
    let [hq, hk, hv] = by_head;
    let shared = layout.heads / layout.kv_heads;
    for group in groups(layout) {
        let rows = rows_of(group);
        let numbers = rows.len() * layout.q_cols();
        let [hq, hk, hv] = [&mut *hq, &mut *hk, &mut *hv].map(|by_head| &mut by_head[..numbers]);
        heads_apart(layout, inputs, group, Outputs { dq: &mut *hq, dk: &mut *hk, dv: &mut *hv, d_bias });
        gather(layout, hq, &mut dq[rows.start * layout.q_cols()..rows.end * layout.q_cols()], layout.heads, 1);
        let of_kv = rows.start * layout.kv_cols()..rows.end * layout.kv_cols();
        gather(layout, hk, &mut dk[of_kv.clone()], layout.kv_heads, shared);
        gather(layout, hv, &mut dv[of_kv], layout.kv_heads, shared);
    }
}

/// Gradients of some sequences, each head by itself: (head, row, D).
fn heads_apart(layout: &Layout<'_>, inputs: Inputs<'_>, group: &[Range<usize>], out: Outputs<'_>) {
    // Where gradients of a head's windows add up, they do so in order: one task.
    let at_once = if out.d_bias.is_empty() { 1 } else { group.len() };
    let of_head = |head| group.chunks(at_once).map(move |sequences| (head, sequences));
    let tasks: Vec<(usize, &[Range<usize>])> = (0..layout.heads).flat_map(of_head).collect();
    let lengths = || tasks.iter().map(|(_, sequences)| rows_of(sequences).len() * layout.head_dim);
    let (parts_q, parts_k, parts_v) = (split(out.dq, lengths()), split(out.dk, lengths()), split(out.dv, lengths()));
    let biases = out.d_bias.len() / layout.heads.max(1);
    let parts_bias = split(out.d_bias, tasks.iter().map(|_| biases));
    let parts = parts_q.into_par_iter().zip(parts_k).zip(parts_v).zip(parts_bias);
    tasks.par_iter().zip(parts).with_max_len(1).for_each(|((head, sequences), (((dq, dk), dv), d_bias))| {
        let mut start = 0;
        for sequence in *sequences {
            let part = start..start + sequence.len() * layout.head_dim;
            start = part.end;
            let [dq, dk, dv] = [&mut *dq, &mut *dk, &mut *dv].map(|all| &mut all[part.clone()]);
            backward_head(layout, inputs, sequence, *head, Outputs { dq, dk, dv, d_bias: &mut *d_bias });
        }
    });
}

/// From (head, row, D) to (row, head, D), summing `group` neighbouring heads into one.
fn gather(layout: &Layout<'_>, by_head: &[f32], out: &mut [f32], heads: usize, group: usize) {
    let (d, cols) = (layout.head_dim, heads * layout.head_dim);
    let (rows, tile) = (out.len() / cols.max(1), rows_per_task(cols));
    out.par_chunks_mut(tile * cols.max(1)).enumerate().for_each(|(at, out)| {
        for (row, out) in out.chunks_exact_mut(cols).enumerate() {
            let row = at * tile + row;
            for (head, out) in out.chunks_exact_mut(d).enumerate() {
                for member in 0..group {
                    let part = &by_head[((head * group + member) * rows + row) * d..][..d];
                    if member == 0 {
                        out.copy_from_slice(part);
                    } else {
                        out.iter_mut().zip(part).for_each(|(o, &x)| *o += x);
                    }
                }
            }
        }
    });
}

/// Gradients of one head of a sequence, D numbers a row.
fn backward_head(layout: &Layout<'_>, inputs: Inputs<'_>, sequence: &Range<usize>, head: usize, out: Outputs<'_>) {
    let Outputs { dq, dk, dv, d_bias } = out;
    let d = layout.head_dim;
    let kv_head = head / (layout.heads / layout.kv_heads);
    dk.fill(0.0);
    dv.fill(0.0);
    // The gradient of a bias is that of the scores, which scale·q·k has in common with it.
    let (slope, factor) = if d_bias.is_empty() { (layout.scale, 1.0) } else { (1.0, layout.scale) };
    for rows in blocks(layout, sequence.clone()) {
        let keys = layout.keys(sequence, &rows);
        let (height, width) = (rows.len(), keys.len());
        let q = layout.head(inputs.q, rows.clone(), layout.q_cols(), head);
        let d_out = layout.head(inputs.d_out, rows.clone(), layout.q_cols(), head);
        let k = layout.head(inputs.k, keys.clone(), layout.kv_cols(), kv_head);
        let v = layout.head(inputs.v, keys.clone(), layout.kv_cols(), kv_head);
        let local = (keys.start - sequence.start) * d..(keys.end - sequence.start) * d;
        let local_q = (rows.start - sequence.start) * d..(rows.end - sequence.start) * d;
        let slopes = if layout.softcap.is_some() { width } else { 0 };
        with_buffer(2 * height * width + slopes, |buffer| {
            let (p, rest) = buffer.split_at_mut(height * width);
            let (dp, slopes) = rest.split_at_mut(height * width);
            matmul(MatMut::row_major(p, height, width), Accum::Replace, q, k.t(), layout.scale, Par::Serial);
            matmul(MatMut::row_major(dp, height, width), Accum::Replace, d_out, v.t(), 1.0, Par::Serial);
            let mut regions = None;
            if let Some(windows) = &layout.windows {
                windows.add_bias(head, &rows, &keys, p);
                regions = windows.mixed(&keys);
            }
            for (i, (p, dp)) in p.chunks_exact_mut(width).zip(dp.chunks_exact_mut(width)).enumerate() {
                let seen = layout.seen(rows.start + i, &keys);
                for outside in [0..seen.start, seen.end..width] {
                    p[outside.clone()].fill(0.0);
                    dp[outside].fill(0.0);
                }
                let regions = regions.map(|regions| (&regions[seen.clone()], regions[rows.start + i - keys.start]));
                let (p, dp) = (&mut p[seen.clone()], &mut dp[seen]);
                let capped = slopes.len().min(p.len());
                let slopes = &mut slopes[..capped];
                if let Some(cap) = layout.softcap {
                    cap_scores(p, slopes, cap);
                }
                if let Some((regions, own)) = regions {
                    keep_region(p, regions, own);
                }
                softmax_backward(p, dp, slopes, slope);
            }
            if let (Some(windows), false) = (&layout.windows, d_bias.is_empty()) {
                windows.add_gradient(&rows, &keys, dp, d_bias);
            }
            let (p, ds) = (MatRef::row_major(p, height, width), MatRef::row_major(dp, height, width));
            matmul(MatMut::row_major(&mut dv[local.clone()], width, d), Accum::Add, p.t(), d_out, 1.0, Par::Serial);
            matmul(MatMut::row_major(&mut dk[local], width, d), Accum::Add, ds.t(), q, factor, Par::Serial);
            matmul(MatMut::row_major(&mut dq[local_q], height, d), Accum::Replace, ds, k, factor, Par::Serial);
        });
    }
}

simd::vectorised! {
    /// A row of scores becomes P; `dp`, a row of dP, becomes that of the scores' gradient, scale·P·(dP − Σ P·dP), times the
    /// slopes, if there are any.
    fn softmax_backward<'a>(p: &'a mut [f32], dp: &'a mut [f32], slopes: &'a [f32], scale: f32) -> () {
        let max = simd::max(p);
        p.iter_mut().for_each(|x| *x = simd::exp(*x - max));
        let factor = 1.0 / simd::sum(p, |x| x);
        p.iter_mut().for_each(|p| *p *= factor);
        let total = simd::sum2(p, dp, |p, dp| p * dp);
        dp.iter_mut().zip(p.iter()).for_each(|(dp, &p)| *dp = p * (*dp - total) * scale);
        dp.iter_mut().zip(slopes).for_each(|(dp, &slope)| *dp *= slope);
    }

    /// Scores s become cap·tanh(s/cap), and `slopes` its slope there, 1 − tanh².
    fn cap_scores<'a>(p: &'a mut [f32], slopes: &'a mut [f32], cap: f32) -> () {
        let inverse = 1.0 / cap;
        for (p, slope) in p.iter_mut().zip(slopes.iter_mut()) {
            let t = simd::tanh(*p * inverse);
            *p = cap * t;
            *slope = (1.0 - t) * (1.0 + t);
        }
    }
}
