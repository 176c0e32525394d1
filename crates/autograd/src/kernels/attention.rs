//! Causal attention with grouped key/value heads, in blocks of query rows; no T×T matrix is kept or made.
//!
//! For a block of [`BLOCK`] query rows of one head the scores against all keys that the block may see (≤ T, fewer with a
//! sliding window) are a BLOCK×T scratch matrix, so softmax needs no running maximum; keys after the block's last row are
//! skipped, not masked. Rows of a micro-batch are its sequences end to end, without padding.
//!
//! Backward makes the scores again from q and k, and their softmax from the block itself, as it does the row sums
//! Σ P·dP: neither the log-sum-exp nor the output, which other implementations keep, is needed. It also keeps the rows
//! of P summing to 1 when q and k are approximate; with the exact log-sum-exp their error would grow exponentially.
//!
//! Cost for a sequence of T: 2·2·T²/2·D a head forward, 5/2 of that backward. Source: Dao, FlashAttention-2
//! (arXiv 2307.08691), sections 3.1–3.2. Deviation: a whole row of scores at a time instead of key blocks.

use std::ops::Range;

use loract_linalg::{Accum, MatMut, MatRef, Par, matmul};
use rayon::prelude::*;

use super::{scratch, simd};

/// Query rows a block.
const BLOCK: usize = 64;

/// Shape of an attention: which rows belong together, and how heads lie in them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout<'a> {
    /// Row ranges of the sequences in k and v, ascending and without gaps.
    pub sequences: &'a [Range<usize>],
    /// Rows of k and v before the first of q and o: 0, but for one sequence that goes on.
    pub past: usize,
    /// H.
    pub heads: usize,
    /// Key/value heads; divides H.
    pub kv_heads: usize,
    /// D.
    pub head_dim: usize,
    /// A query sees this many keys at most, itself included.
    pub window: Option<usize>,
    /// Multiplies q·k.
    pub scale: f32,
}

impl Layout<'_> {
    fn q_cols(&self) -> usize {
        self.heads * self.head_dim
    }
    fn kv_cols(&self) -> usize {
        self.kv_heads * self.head_dim
    }
    /// One head of rows `rows`.
    fn head<'b>(&self, data: &'b [f32], rows: Range<usize>, cols: usize, head: usize) -> MatRef<'b> {
        let start = rows.start * cols + head * self.head_dim;
        MatRef::with_strides(&data[start..], rows.len(), self.head_dim, cols, 1)
    }
    /// Keys that some query of `rows` may see, in a sequence that starts at `start`.
    fn keys(&self, start: usize, rows: &Range<usize>) -> Range<usize> {
        let first = self.window.map_or(start, |w| (rows.start + 1).saturating_sub(w).max(start));
        first..rows.end
    }
    /// Keys that query `row` may see, counted from `keys.start`.
    fn seen(&self, row: usize, keys: &Range<usize>) -> Range<usize> {
        let first = self.window.map_or(0, |w| (row + 1).saturating_sub(w).saturating_sub(keys.start));
        first..row + 1 - keys.start
    }
}

fn blocks(sequence: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let end = sequence.end;
    sequence.step_by(BLOCK).map(move |start| start..(start + BLOCK).min(end))
}

/// Splits `data` into consecutive parts of the given lengths.
fn split(mut data: &mut [f32], lengths: impl Iterator<Item = usize>) -> Vec<&mut [f32]> {
    lengths
        .map(|len| {
            let (part, rest) = std::mem::take(&mut data).split_at_mut(len);
            data = rest;
            part
        })
        .collect()
}

/// o (m×H·D).
pub(crate) fn forward(layout: &Layout<'_>, q: &[f32], k: &[f32], v: &[f32], o: &mut [f32]) {
    let tasks: Vec<(usize, Range<usize>)> =
        layout.sequences.iter().flat_map(|s| blocks(layout.past.max(s.start)..s.end).map(|b| (s.start, b))).collect();
    if let [(start, row)] = &tasks[..]
        && row.len() == 1
    {
        return forward_row(layout, &layout.keys(*start, row), (q, k, v), o);
    }
    let outputs = split(o, tasks.iter().map(|(_, b)| b.len() * layout.q_cols()));
    // The longest rows last in a sequence: hand them out first.
    tasks.into_par_iter().zip(outputs).rev().with_max_len(1).for_each(|((start, rows), o)| {
        let keys = layout.keys(start, &rows);
        scratch::with(rows.len() * keys.len(), |p| {
            for head in 0..layout.heads {
                forward_block(layout, head, &rows, &keys, (q, k, v), p, &mut o[head * layout.head_dim..]);
            }
        });
    });
}

/// One row alone, as generation has it: its heads lie apart in `o`, so each is a task.
fn forward_row(layout: &Layout<'_>, keys: &Range<usize>, inputs: (&[f32], &[f32], &[f32]), o: &mut [f32]) {
    let row = keys.end - 1..keys.end;
    o.par_chunks_mut(layout.head_dim).enumerate().for_each(|(head, o)| {
        scratch::with(keys.len(), |p| forward_block(layout, head, &row, keys, inputs, p, o));
    });
}

/// Rows `rows` of a head; `o` begins with the first number of them.
fn forward_block(
    layout: &Layout<'_>,
    head: usize,
    rows: &Range<usize>,
    keys: &Range<usize>,
    (q, k, v): (&[f32], &[f32], &[f32]),
    p: &mut [f32],
    o: &mut [f32],
) {
    let kv_head = head / (layout.heads / layout.kv_heads);
    let q = layout.head(q, rows.start - layout.past..rows.end - layout.past, layout.q_cols(), head);
    let k = layout.head(k, keys.clone(), layout.kv_cols(), kv_head);
    let v = layout.head(v, keys.clone(), layout.kv_cols(), kv_head);
    let width = keys.len();
    matmul(MatMut::row_major(p, rows.len(), width), Accum::Replace, q, k.t(), layout.scale, Par::Serial);
    let mut factors = [0.0f32; BLOCK];
    for (i, p) in p.chunks_exact_mut(width).enumerate() {
        let seen = layout.seen(rows.start + i, keys);
        p[..seen.start].fill(0.0);
        p[seen.end..].fill(0.0);
        factors[i] = 1.0 / exponentials(&mut p[seen]);
    }
    let cols = layout.q_cols();
    let out = MatMut::with_strides(o, rows.len(), layout.head_dim, cols, 1);
    matmul(out, Accum::Replace, MatRef::row_major(p, rows.len(), width), v, 1.0, Par::Serial);
    for (row, factor) in o.chunks_mut(cols).zip(factors) {
        row[..layout.head_dim].iter_mut().for_each(|x| *x *= factor);
    }
}

simd::vectorised! {
    /// Scores become exp(score − largest); returns their sum.
    fn exponentials<'a>(p: &'a mut [f32]) -> f32 {
        let max = simd::max(p);
        p.iter_mut().for_each(|x| *x = simd::exp(*x - max));
        simd::sum(p, |x| x)
    }

    /// A row of scores becomes P; `dp`, a row of dP, becomes that of the scores' gradient, scale·P·(dP − Σ P·dP).
    fn softmax_backward<'a>(p: &'a mut [f32], dp: &'a mut [f32], scale: f32) -> () {
        let max = simd::max(p);
        p.iter_mut().for_each(|x| *x = simd::exp(*x - max));
        let factor = 1.0 / simd::sum(p, |x| x);
        p.iter_mut().for_each(|p| *p *= factor);
        let total = simd::sum2(p, dp, |p, dp| p * dp);
        dp.iter_mut().zip(p.iter()).for_each(|(dp, &p)| *dp = p * (*dp - total) * scale);
    }
}

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
        let keys = layout.keys(sequence.start, &rows);
        let (height, width) = (rows.len(), keys.len());
        let q = layout.head(inputs.q, rows.clone(), layout.q_cols(), head);
        let d_out = layout.head(inputs.d_out, rows.clone(), layout.q_cols(), head);
        let k = layout.head(inputs.k, keys.clone(), layout.kv_cols(), kv_head);
        let v = layout.head(inputs.v, keys.clone(), layout.kv_cols(), kv_head);
        let local = (keys.start - sequence.start) * d..(keys.end - sequence.start) * d;
        let local_q = (rows.start - sequence.start) * d..(rows.end - sequence.start) * d;
        scratch::with(2 * height * width, |buffer| {
            let (p, dp) = buffer.split_at_mut(height * width);
            matmul(MatMut::row_major(p, height, width), Accum::Replace, q, k.t(), layout.scale, Par::Serial);
            matmul(MatMut::row_major(dp, height, width), Accum::Replace, d_out, v.t(), 1.0, Par::Serial);
            for (i, (p, dp)) in p.chunks_exact_mut(width).zip(dp.chunks_exact_mut(width)).enumerate() {
                let seen = layout.seen(rows.start + i, &keys);
                for outside in [0..seen.start, seen.end..width] {
                    p[outside.clone()].fill(0.0);
                    dp[outside].fill(0.0);
                }
                softmax_backward(&mut p[seen.clone()], &mut dp[seen], layout.scale);
            }
            let (p, ds) = (MatRef::row_major(p, height, width), MatRef::row_major(dp, height, width));
            matmul(MatMut::row_major(&mut dv[local.clone()], width, d), Accum::Add, p.t(), d_out, 1.0, Par::Serial);
            matmul(MatMut::row_major(&mut dk[local], width, d), Accum::Add, ds.t(), q, 1.0, Par::Serial);
            matmul(MatMut::row_major(&mut dq[local_q], height, d), Accum::Replace, ds, k, 1.0, Par::Serial);
        });
    }
}
