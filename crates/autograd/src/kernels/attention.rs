//! Attention with grouped key/value heads, in blocks of query rows; no T×T matrix is kept or made.
//!
//! For a block of query rows of one head the scores against all keys that the block may see (≤ T, fewer with a
//! sliding window) are a scratch matrix of as many rows, so softmax needs no running maximum; with a causal mask keys after the
//! block's last row are skipped, not masked. Rows of a micro-batch are its sequences end to end, without padding.
//!
//! Backward makes the scores again from q and k, and their softmax from the block itself, as it does the row sums
//! Σ P·dP: neither the log-sum-exp nor the output, which other implementations keep, is needed. It also keeps the rows
//! of P summing to 1 when q and k are approximate; with the exact log-sum-exp their error would grow exponentially.
//!
//! Cost for a sequence of T: 2·2·T²/2·D a head forward, 5/2 of that backward; twice that where every token sees every
//! other. Source: Dao, FlashAttention-2 (arXiv 2307.08691), sections 3.1–3.2. Deviation: a whole row of scores at a time
//! instead of key blocks.

mod backward;
mod layout;
mod windows;

use std::ops::Range;

use loract_linalg::{Accum, MatMut, MatRef, Par, matmul, with_buffer};
use rayon::prelude::*;

use super::parts::split;
use super::simd;
pub(crate) use backward::{Inputs, Outputs, backward, rows_at_once};
pub(crate) use layout::Layout;
pub use layout::Mask;
pub(crate) use windows::{WindowScores, add_table_gradient, expand};

/// Query rows a block, where more would be scored against keys that they do not see.
const BLOCK: usize = 64;

/// Scores a block, where all keys are seen: 256 KB, which a core's second cache holds.
const SCORES: usize = 1 << 16;

/// Fewer sequences are cut into blocks of [`BLOCK`] rows all the same, which are the tasks of forward.
const FEW: usize = 4;

/// The blocks of rows `rows` of a sequence. A product with a block packs the keys anew and has a remainder of rows: where
/// nothing is gained by small blocks, they are large, and as high as each other (an image's 197 rows are one).
fn blocks(layout: &Layout<'_>, rows: Range<usize>) -> impl Iterator<Item = Range<usize>> + use<> {
    let (len, end) = (rows.len().max(1), rows.end);
    let height = match layout.mask {
        Mask::None if layout.sequences.len() >= FEW => len.div_ceil(len.div_ceil((SCORES / len).max(BLOCK))),
        _ => BLOCK,
    };
    rows.step_by(height).map(move |start| start..(start + height).min(end))
}

/// o (m×H·D).
pub(crate) fn forward(layout: &Layout<'_>, q: &[f32], k: &[f32], v: &[f32], o: &mut [f32]) {
    let cut = |s: &Range<usize>| blocks(layout, layout.past.max(s.start)..s.end);
    let tasks: Vec<(&Range<usize>, Range<usize>)> =
        layout.sequences.iter().flat_map(|s| cut(s).map(move |block| (s, block))).collect();
    if let [(sequence, row)] = &tasks[..]
        && row.len() == 1
    {
        return forward_row(layout, &layout.keys(sequence, row), (q, k, v), o);
    }
    let outputs = split(o, tasks.iter().map(|(_, b)| b.len() * layout.q_cols()));
    // The longest rows last in a sequence: hand them out first.
    tasks.into_par_iter().zip(outputs).rev().with_max_len(1).for_each(|((sequence, rows), o)| {
        let keys = layout.keys(sequence, &rows);
        with_buffer(rows.len() * (keys.len() + 1), |p| {
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
        with_buffer(keys.len() + 1, |p| forward_block(layout, head, &row, keys, inputs, p, o));
    });
}

/// Rows `rows` of a head; `o` begins with the first number of them. `scratch` is a row's scores and one number more a row.
fn forward_block(
    layout: &Layout<'_>,
    head: usize,
    rows: &Range<usize>,
    keys: &Range<usize>,
    (q, k, v): (&[f32], &[f32], &[f32]),
    scratch: &mut [f32],
    o: &mut [f32],
) {
    let kv_head = head / (layout.heads / layout.kv_heads);
    let q = layout.head(q, rows.start - layout.past..rows.end - layout.past, layout.q_cols(), head);
    let k = layout.head(k, keys.clone(), layout.kv_cols(), kv_head);
    let v = layout.head(v, keys.clone(), layout.kv_cols(), kv_head);
    let width = keys.len();
    let (p, factors) = scratch.split_at_mut(rows.len() * width);
    matmul(MatMut::row_major(p, rows.len(), width), Accum::Replace, q, k.t(), layout.scale, Par::Serial);
    let mut regions = None;
    if let Some(windows) = &layout.windows {
        windows.add_bias(head, rows, keys, p);
        regions = windows.mixed(keys);
    }
    for (i, (p, factor)) in p.chunks_exact_mut(width).zip(&mut *factors).enumerate() {
        let seen = layout.seen(rows.start + i, keys);
        p[..seen.start].fill(0.0);
        p[seen.end..].fill(0.0);
        if let Some(cap) = layout.softcap {
            cap_scores(&mut p[seen.clone()], cap);
        }
        if let Some(regions) = regions {
            windows::keep_region(&mut p[seen.clone()], &regions[seen.clone()], regions[rows.start + i - keys.start]);
        }
        *factor = 1.0 / exponentials(&mut p[seen]);
    }
    let cols = layout.q_cols();
    let out = MatMut::with_strides(o, rows.len(), layout.head_dim, cols, 1);
    matmul(out, Accum::Replace, MatRef::row_major(p, rows.len(), width), v, 1.0, Par::Serial);
    for (row, factor) in o.chunks_mut(cols).zip(factors) {
        row[..layout.head_dim].iter_mut().for_each(|x| *x *= *factor);
    }
}

simd::vectorised! {
    /// Scores s become cap·tanh(s/cap).
    fn cap_scores<'a>(p: &'a mut [f32], cap: f32) -> () {
        let inverse = 1.0 / cap;
        for s in p.iter_mut() {
            *s = cap * simd::tanh(*s * inverse);
        }
    }

    /// Scores become exp(score − largest); returns their sum.
    fn exponentials<'a>(p: &'a mut [f32]) -> f32 {
        let max = simd::max(p);
        p.iter_mut().for_each(|x| *x = simd::exp(*x - max));
        simd::sum(p, |x| x)
    }
}
