//! Attention with grouped key/value heads, a panel of query rows of a head at a time; no T×T matrix is kept or made.
//!
//! For a panel the scores against all keys that its rows may see (≤ T, fewer with a sliding window) are scratch, so softmax needs no
//! running maximum; with a causal mask keys after the panel's last row are skipped, not masked. Keys and values are packed once
//! for all panels of a task. Rows of a micro-batch are its sequences end to end, without padding.
//!
//! Backward makes the scores again from q and k, and their softmax from the panel itself, as it does the row sums
//! Σ P·dP: neither the log-sum-exp nor the output, which other implementations keep, is needed. It also keeps the rows
//! of P summing to 1 when q and k are approximate; with the exact log-sum-exp their error would grow exponentially.
//!
//! Cost for a sequence of T: 2·2·T²/2·D a head forward, 5/2 of that backward; twice that where every token sees every
//! other. Source: Dao, FlashAttention-2 (arXiv 2307.08691), sections 3.1–3.2. Deviation: a whole row of scores at a time
//! instead of key blocks.

mod backward;
mod layout;
mod panel;
mod windows;

use std::ops::Range;

use loract_linalg::tiles::{OnTiles, PackStrips, Tile, dispatch};
use loract_linalg::{Accum, MatMut, MatRef, Par, matmul, with_buffer, with_buffers};
use pulp::{Arch, Simd};
use rayon::prelude::*;

use self::panel::{Panel, exponentials, inverse_sums, long_tile, put_lanes};
use super::parts::split;
use super::simd;
pub(crate) use backward::{Inputs, Outputs, backward, rows_at_once, scratch_bytes};
pub(crate) use layout::Layout;
pub use layout::Mask;
pub(crate) use windows::{WindowScores, add_table_gradient, expand};

/// Query rows a task, at most: keys and values are packed by each.
const BLOCK: usize = 256;

/// Query rows a task, at least: fewer are not worth the packing.
const LEAST: usize = 64;

/// Tasks a thread, at least, if there are so many rows.
const TASKS: usize = 4;

/// `rows` in parts of whole panels of `lanes`, as equal as that allows; `most` rows at most, or a panel.
fn in_parts(rows: Range<usize>, most: usize, lanes: usize) -> impl Iterator<Item = Range<usize>> {
    let (panels, most, end) = (rows.len().div_ceil(lanes).max(1), (most / lanes).max(1), rows.end);
    let step = panels.div_ceil(panels.div_ceil(most)) * lanes;
    rows.step_by(step).map(move |start| start..(start + step).min(end))
}

/// o (m×H·D).
pub(crate) fn forward(layout: &Layout<'_>, q: &[f32], k: &[f32], v: &[f32], o: &mut [f32]) {
    forward_on(Arch::new(), layout, [q, k, v], o);
}

/// The same with given instructions.
fn forward_on(arch: Arch, layout: &Layout<'_>, inputs: [&[f32]; 3], o: &mut [f32]) {
    let (tile, rows) = (Tile::of(arch), o.len() / layout.q_cols().max(1));
    if rows == 1 && layout.windows.is_none() {
        return forward_row(layout, inputs, o);
    }
    let most = (rows / (TASKS * rayon::current_num_threads())).clamp(LEAST, BLOCK);
    let parts = |s: &Range<usize>| in_parts(layout.past.max(s.start)..s.end, most, tile.cols);
    let tasks: Vec<(&Range<usize>, Range<usize>)> =
        layout.sequences.iter().flat_map(|s| parts(s).map(move |rows| (s, rows))).collect();
    let outputs = split(o, tasks.iter().map(|(_, rows)| rows.len() * layout.q_cols()));
    // The longest rows last in a sequence: hand them out first.
    tasks.into_par_iter().zip(outputs).rev().with_max_len(1).for_each(|((sequence, rows), o)| {
        let keys = Panel::new(layout, sequence, 0, rows.clone(), tile.rows).keys;
        with_buffers(forward_lens(layout, tile, keys.len()), |buffers| {
            dispatch(arch, Block { layout, sequence, rows, keys, inputs, buffers, o })
        });
    });
}

/// Numbers of each of a [`Block`]'s buffers for `keys` keys.
fn forward_lens(layout: &Layout<'_>, tile: Tile, keys: usize) -> [usize; 6] {
    let (d, deep) = (layout.head_dim, keys.next_multiple_of(tile.rows));
    let (panel, wide) = (d * tile.cols, d.next_multiple_of(tile.rows));
    [deep * d, wide * keys, panel, panel, deep * tile.cols, wide * tile.cols]
}

/// Some rows of a sequence.
struct Block<'a> {
    layout: &'a Layout<'a>,
    sequence: &'a Range<usize>,
    rows: Range<usize>,
    /// What they see, from the first row of a strip on.
    keys: Range<usize>,
    inputs: [&'a [f32]; 3],
    /// Strips of K and of Vᵀ, scratch, a panel of Q, scores, and a panel of O.
    buffers: [&'a mut [f32]; 6],
    /// All heads of `rows`.
    o: &'a mut [f32],
}

impl OnTiles for Block<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd, const M: usize, const V: usize>(self, simd: S) {
        let Self { layout, sequence, rows, keys, inputs: [q, k, v], buffers, o } = self;
        let [k_strips, v_strips, scratch, q_panel, scores, o_panel] = buffers;
        let (d, cols, lanes, depth) = (layout.head_dim, layout.q_cols(), V * S::F32_LANES, keys.len());
        for head in 0..layout.heads {
            let shared = layout.heads / layout.kv_heads;
            if head % shared == 0 {
                let of = |x| layout.head(x, keys.clone(), layout.kv_cols(), head / shared);
                PackStrips { lhs: of(k), first: 0, depth: d, room: d, out: &mut *k_strips }.run::<S, M, V>(simd);
                PackStrips { lhs: of(v).t(), first: 0, depth, room: depth, out: &mut *v_strips }.run::<S, M, V>(simd);
            }
            for at in in_parts(rows.clone(), lanes, lanes) {
                let panel = Panel::new(layout, sequence, head, at, M);
                let seen = panel.keys.start - keys.start..panel.keys.end - keys.start;
                panel.pack::<S, M, V>(simd, q, scratch, q_panel);
                panel.against::<S, M, V>(simd, &k_strips[seen.start * d..], q_panel, layout.scale, scores);
                let scores = &mut scores[..seen.len() * lanes];
                panel.adjust(scores, &mut []);
                exponentials::<S, V>(simd, scores);
                let factors = inverse_sums::<S, V>(simd, scores);
                let out = S::as_mut_simd_f32s(o_panel).0.as_chunks_mut::<V>().0.as_chunks_mut::<M>().0;
                for (out, strip) in out.iter_mut().zip(v_strips.chunks_exact(M * depth)) {
                    *out = long_tile::<S, M, V>(simd, &strip.as_chunks().0[seen.clone()], scores);
                }
                let out = &mut o[(panel.rows.start - rows.start) * cols + head * d..];
                put_lanes(o_panel, bytemuck::cast_slice(&factors), out, cols, panel.rows.len(), d);
            }
        }
    }
}

/// One row alone, as generation has it, without packing. Its heads lie apart in `o`, so each is a task.
fn forward_row(layout: &Layout<'_>, [q, k, v]: [&[f32]; 3], o: &mut [f32]) {
    let row = layout.past..layout.past + 1;
    let keys = layout.keys(&(0..row.end), &row);
    o.par_chunks_mut(layout.head_dim).enumerate().for_each(|(head, o)| {
        let of = |x| layout.head(x, keys.clone(), layout.kv_cols(), head / (layout.heads / layout.kv_heads));
        let (q, k, v) = (layout.head(q, 0..1, layout.q_cols(), head), of(k), of(v));
        with_buffer(keys.len(), |p| {
            matmul(MatMut::row_major(p, 1, keys.len()), Accum::Replace, q, k.t(), layout.scale, Par::Serial);
            if let Some(cap) = layout.softcap {
                panel::cap_scores(p, &mut [], cap);
            }
            let factor = 1.0 / exponentials_of(p);
            let out = MatMut::row_major(o, 1, layout.head_dim);
            matmul(out, Accum::Replace, MatRef::row_major(p, 1, keys.len()), v, factor, Par::Serial);
        });
    });
}

simd::vectorised! {
    /// Scores of a row become exp(score − largest); returns their sum.
    fn exponentials_of<'a>(p: &'a mut [f32]) -> f32 {
        let max = simd::max(p);
        p.iter_mut().for_each(|x| *x = simd::exp(*x - max));
        simd::sum(p, |x| x)
    }
}

#[cfg(test)]
mod tests {
    use loract_linalg::Rng;

    use super::*;

    fn random(len: usize, seed: u64) -> Vec<f32> {
        let mut rng = Rng::new(&[seed]);
        (0..len).map(|_| rng.normal()).collect()
    }

    /// o, dq, dk, dv and the gradient of the windows' bias.
    fn run(arch: Arch, layout: &Layout<'_>, rows: usize) -> [Vec<f32>; 5] {
        let [q_len, kv_len] = [layout.q_cols(), layout.kv_cols()].map(|cols| rows * cols);
        let [q, k, v, d_out] = [(q_len, 1), (kv_len, 2), (kv_len, 3), (q_len, 4)].map(|(len, seed)| random(len, seed));
        // What is left in scratch must not matter.
        let poison = || with_buffer(1 << 18, |numbers| numbers.fill(f32::NAN));
        rayon::broadcast(|_| poison());
        poison();
        let biases = layout.windows.map_or(0, |windows| windows.bias.len());
        let mut all = [q_len, q_len, kv_len, kv_len, biases].map(|len| vec![f32::NAN; len]);
        let [o, dq, dk, dv, d_bias] = &mut all;
        forward_on(arch, layout, [&q, &k, &v], o);
        let mut by_head = [(); 3].map(|()| vec![f32::NAN; rows_at_once(layout) * layout.q_cols()]);
        let inputs = Inputs { q: &q, k: &k, v: &v, d_out: &d_out };
        let by_head = by_head.each_mut().map(Vec::as_mut_slice);
        backward::backward_on(arch, layout, inputs, by_head, Outputs { dq, dk, dv, d_bias });
        all
    }

    /// Tails of panels, strips and head sizes; what the tape's tests compare with a plain softmax, on this processor.
    #[test]
    fn plain_code_gives_what_vectors_do() {
        let (long, mixed) = (vec![0..64, 64..131], vec![0..1, 1..20, 20..87, 87..88]);
        let windows: Vec<Range<usize>> = (0..4).map(|at| at * 21..(at + 1) * 21).collect();
        let (bias, regions) = (random(4 * 21 * 21, 5), (0..84).map(|row| row % 3 * (row / 42)).collect::<Vec<u16>>());
        let in_windows = WindowScores { rows: 21, bias: &bias, regions: Some(&regions) };
        let causal = |window| Mask::Causal { window };
        for (sequences, heads, kv_heads, head_dim, mask, softcap, windows) in [
            (&long, 4, 2, 20, causal(None), None, None),
            (&mixed, 2, 2, 7, causal(Some(9)), Some(3.0), None),
            (&mixed, 6, 2, 33, Mask::None, None, None),
            (&windows, 4, 4, 8, Mask::None, None, Some(in_windows)),
        ] {
            let scale = 0.3;
            let layout = Layout { sequences, past: 0, heads, kv_heads, head_dim, mask, scale, softcap, windows };
            let rows = sequences.last().map_or(0, |last| last.end);
            let (plain, vectors) = (run(Arch::Scalar, &layout, rows), run(Arch::new(), &layout, rows));
            for (what, (plain, vectors)) in ["o", "dq", "dk", "dv", "d_bias"].iter().zip(plain.iter().zip(&vectors)) {
                assert_eq!(plain.len(), vectors.len());
                for (at, (x, y)) in plain.iter().zip(vectors).enumerate() {
                    assert!((x - y).abs() <= 2e-5 * (1.0 + y.abs()), "{what} at {at} of {layout:?}: {x}, {y}");
                }
            }
        }
    }
}
