//! Gradients of attention, a block of query rows of a head at a time; of a few sequences at a time, so that what heads leave apart
//! takes a part of the memory of q only.

use std::ops::Range;

use loract_linalg::tiles::{Finish, OnTiles, PackStrips, Tile, add_square, dispatch, pack_panel, write};
use loract_linalg::with_buffers;
use pulp::{Arch, Simd};
use rayon::prelude::*;

use super::layout::Layout;
use super::panel::{Panel, SHORT, exponentials, inverse_sums, long_tile, put_lanes};
use super::{LEAST, forward_lens, in_parts};
use crate::kernels::elementwise::rows_per_task;
use crate::kernels::parts::split;

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

/// Bytes of scratch of a thread, forward and backward.
pub(crate) fn scratch_bytes(layout: &Layout<'_>) -> usize {
    let longest = layout.sequences.iter().map(Range::len).max().unwrap_or(0);
    let tile = Tile::of(Arch::new());
    4 * (lens(layout, tile, longest).iter().sum::<usize>() + forward_lens(layout, tile, longest).iter().sum::<usize>())
}

/// Gradients of q, k and v, and of the bias of windows. `by_head` is three scratch areas of [`rows_at_once`]·H·D numbers.
pub(crate) fn backward(layout: &Layout<'_>, inputs: Inputs<'_>, by_head: [&mut [f32]; 3], out: Outputs<'_>) {
    backward_on(Arch::new(), layout, inputs, by_head, out);
}

/// The same with given instructions.
pub(super) fn backward_on(
    arch: Arch,
    layout: &Layout<'_>,
    inputs: Inputs<'_>,
    by_head: [&mut [f32]; 3],
    out: Outputs<'_>,
) {
    let Outputs { dq, dk, dv, d_bias } = out;
    d_bias.fill(0.0);
    let [hq, hk, hv] = by_head;
    let shared = layout.heads / layout.kv_heads;
    for group in groups(layout) {
        let rows = rows_of(group);
        let numbers = rows.len() * layout.q_cols();
        let [hq, hk, hv] = [&mut *hq, &mut *hk, &mut *hv].map(|by_head| &mut by_head[..numbers]);
        heads_apart(arch, layout, inputs, group, Outputs { dq: &mut *hq, dk: &mut *hk, dv: &mut *hv, d_bias });
        gather(layout, hq, &mut dq[rows.start * layout.q_cols()..rows.end * layout.q_cols()], layout.heads, 1);
        let of_kv = rows.start * layout.kv_cols()..rows.end * layout.kv_cols();
        gather(layout, hk, &mut dk[of_kv.clone()], layout.kv_heads, shared);
        gather(layout, hv, &mut dv[of_kv], layout.kv_heads, shared);
    }
}

/// Gradients of some sequences, each head by itself: (head, row, D).
fn heads_apart(arch: Arch, layout: &Layout<'_>, inputs: Inputs<'_>, group: &[Range<usize>], out: Outputs<'_>) {
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
            backward_head(arch, layout, inputs, sequence, *head, Outputs { dq, dk, dv, d_bias: &mut *d_bias });
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
fn backward_head(
    arch: Arch,
    layout: &Layout<'_>,
    inputs: Inputs<'_>,
    sequence: &Range<usize>,
    head: usize,
    out: Outputs<'_>,
) {
    let lens = lens(layout, Tile::of(arch), sequence.len());
    with_buffers(lens, |buffers| {
        let [k_strips, v_strips, kt_strips, p, ds, slopes, q_panels, d_out_panels, scratch, panel, dq_panel] = buffers;
        let buffers =
            Buffers { k_strips, v_strips, kt_strips, p, ds, slopes, q_panels, d_out_panels, scratch, panel, dq_panel };
        dispatch(arch, Head { layout, inputs, sequence, head, buffers, out });
    });
}

/// Numbers of each of [`Buffers`] for a sequence of `len`.
fn lens(layout: &Layout<'_>, tile: Tile, len: usize) -> [usize; 11] {
    let d = layout.head_dim;
    let (deep, wide, high) = (len.next_multiple_of(tile.rows), d.next_multiple_of(tile.rows), rows_a_block(tile.cols));
    let (scores, panels) = (high * deep, high * d.next_multiple_of(tile.cols));
    let slopes = if layout.softcap.is_some() { deep * tile.cols } else { 0 };
    let (strips, panel, dq) = (deep * d, d * tile.cols, wide * tile.cols);
    [strips, strips, wide * len, scores, scores, slopes, panels, panels, panel, panel, dq]
}

/// Query rows, whole panels of N, whose P and dS are kept until they add up in dK and dV.
fn rows_a_block(lanes: usize) -> usize {
    LEAST.next_multiple_of(lanes)
}

struct Head<'a> {
    layout: &'a Layout<'a>,
    inputs: Inputs<'a>,
    sequence: &'a Range<usize>,
    head: usize,
    buffers: Buffers<'a>,
    out: Outputs<'a>,
}

struct Buffers<'a> {
    /// K, V and Kᵀ as strips.
    k_strips: &'a mut [f32],
    v_strips: &'a mut [f32],
    kt_strips: &'a mut [f32],
    /// P and dS of the panels of a block.
    p: &'a mut [f32],
    ds: &'a mut [f32],
    slopes: &'a mut [f32],
    /// Q and dO of a block as right operands, rows×N each.
    q_panels: &'a mut [f32],
    d_out_panels: &'a mut [f32],
    scratch: &'a mut [f32],
    /// Qᵀ or dOᵀ of a panel.
    panel: &'a mut [f32],
    dq_panel: &'a mut [f32],
}

impl OnTiles for Head<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd, const M: usize, const V: usize>(mut self, simd: S) {
        let (layout, len) = (self.layout, self.sequence.len());
        let (d, shared) = (layout.head_dim, layout.heads / layout.kv_heads);
        let of = |x| layout.head(x, self.sequence.clone(), layout.kv_cols(), self.head / shared);
        let (k, v) = (of(self.inputs.k), of(self.inputs.v));
        let Buffers { k_strips, v_strips, kt_strips, .. } = &mut self.buffers;
        PackStrips { lhs: k, first: 0, depth: d, room: d, out: k_strips }.run::<S, M, V>(simd);
        PackStrips { lhs: v, first: 0, depth: d, room: d, out: v_strips }.run::<S, M, V>(simd);
        PackStrips { lhs: k.t(), first: 0, depth: len, room: len, out: kt_strips }.run::<S, M, V>(simd);
        self.out.dk.fill(0.0);
        self.out.dv.fill(0.0);
        let lanes = V * S::F32_LANES;
        for rows in in_parts(self.sequence.clone(), rows_a_block(lanes), lanes) {
            for (at, rows) in in_parts(rows.clone(), lanes, lanes).enumerate() {
                let panel = Panel::new(layout, self.sequence, self.head, rows, M);
                self.panel::<S, M, V>(simd, &panel, at);
            }
            self.add_up::<S, M, V>(simd, rows);
        }
    }
}

impl Head<'_> {
    /// P, dS and dQ of a panel, the `at`th of its block.
    #[inline(always)]
    fn panel<S: Simd, const M: usize, const V: usize>(&mut self, simd: S, panel: &Panel<'_>, at: usize) {
        let Self { layout, inputs, sequence, buffers, out, .. } = self;
        let (d, lanes, seen) = (layout.head_dim, V * S::F32_LANES, panel.local());
        let place = place(at, sequence.len().next_multiple_of(M), lanes);
        let (p, ds) = (&mut buffers.p[place.clone()], &mut buffers.ds[place]);
        let (strips, filled) = (seen.start * d, seen.len().next_multiple_of(M) * lanes);
        panel.pack::<S, M, V>(simd, inputs.q, buffers.scratch, buffers.panel);
        panel.against::<S, M, V>(simd, &buffers.k_strips[strips..], buffers.panel, layout.scale, p);
        panel.pack::<S, M, V>(simd, inputs.d_out, buffers.scratch, buffers.panel);
        panel.against::<S, M, V>(simd, &buffers.v_strips[strips..], buffers.panel, 1.0, ds);
        // What fills up the last strip is no key.
        p[seen.len() * lanes..filled].fill(0.0);
        ds[seen.len() * lanes..filled].fill(0.0);
        let (p, ds) = (&mut p[..seen.len() * lanes], &mut ds[..seen.len() * lanes]);
        let slopes = buffers.slopes.len().min(p.len());
        let slopes = &mut buffers.slopes[..slopes];
        panel.adjust(p, slopes);
        exponentials::<S, V>(simd, p);
        softmax_backward::<S, V>(simd, p, ds, slopes);
        if let (Some(windows), false) = (&layout.windows, out.d_bias.is_empty()) {
            let first = [panel.rows.start - sequence.start, seen.start];
            windows.add_gradient(first, panel.rows.len(), ds, lanes, out.d_bias);
        }
        let columns = S::as_mut_simd_f32s(buffers.dq_panel).0.as_chunks_mut::<V>().0.as_chunks_mut::<M>().0;
        for (columns, strip) in columns.iter_mut().zip(buffers.kt_strips.chunks_exact(M * sequence.len())) {
            *columns = long_tile::<S, M, V>(simd, &strip.as_chunks().0[seen.clone()], ds);
        }
        let factors = [simd.splat_f32s(layout.scale); V];
        let dq = &mut out.dq[(panel.rows.start - sequence.start) * d..];
        put_lanes(buffers.dq_panel, bytemuck::cast_slice(&factors), dq, d, panel.rows.len(), d);
    }

    /// dK and dV of a block's P and dS.
    #[inline(always)]
    fn add_up<S: Simd, const M: usize, const V: usize>(&mut self, simd: S, rows: Range<usize>) {
        let Self { layout, inputs, sequence, head, buffers, out } = self;
        let (d, lanes, high) = (layout.head_dim, V * S::F32_LANES, rows.len().next_multiple_of(V * S::F32_LANES));
        let deep = sequence.len().next_multiple_of(M);
        for (x, panels) in [(inputs.q, &mut *buffers.q_panels), (inputs.d_out, &mut *buffers.d_out_panels)] {
            let x = layout.head(x, rows.clone(), layout.q_cols(), *head);
            for (at, panel) in panels.chunks_exact_mut(high * lanes).take(d.div_ceil(lanes)).enumerate() {
                let columns = at * lanes..((at + 1) * lanes).min(d);
                pack_panel(x.col_range(columns), 1.0, lanes, &mut panel[..rows.len() * lanes]);
                panel[rows.len() * lanes..].fill(0.0);
            }
        }
        let keys_of = |rows| Panel::new(layout, sequence, *head, rows, M).local();
        let seen: Vec<Range<usize>> = in_parts(rows.clone(), lanes, lanes).map(keys_of).collect();
        for strip in keys_of(rows).step_by(M) {
            let products = [
                (&*buffers.p, &*buffers.d_out_panels, &mut *out.dv, 1.0),
                (&*buffers.ds, &*buffers.q_panels, &mut *out.dk, layout.scale),
            ];
            for (scores, panels, out, scale) in products {
                let keys = strip * d..(strip + M).min(sequence.len()) * d;
                for (column, panel) in panels.chunks_exact(high * lanes).take(d.div_ceil(lanes)).enumerate() {
                    let mut sums = [[simd.splat_f32s(0.0); V]; M];
                    for (at, seen) in seen.iter().enumerate().filter(|(_, seen)| seen.contains(&strip)) {
                        let from = at * deep * lanes + (strip - seen.start) * lanes;
                        let (scores, panel) = (&scores[from..from + M * lanes], &panel[at * lanes * lanes..]);
                        sums = add_square::<S, M, V>(simd, sums, scores, panel);
                    }
                    let columns = column * lanes..((column + 1) * lanes).min(d);
                    for (out, sums) in out[keys.clone()].chunks_exact_mut(d).zip(&sums) {
                        write(simd, sums, &mut out[columns.clone()], Finish { scale, add: true, bias: None });
                    }
                }
            }
        }
    }
}

/// Where the scores of panel `at` of a block lie.
fn place(at: usize, deep: usize, lanes: usize) -> Range<usize> {
    at * deep * lanes..(at + 1) * deep * lanes
}

/// From exp(scores − largest) and dP, a lane each row: P and P·(dP − Σ P·dP), times the slopes, if there are any.
#[inline(always)]
fn softmax_backward<S: Simd, const V: usize>(simd: S, p: &mut [f32], dp: &mut [f32], slopes: &[f32]) {
    let factors = inverse_sums::<S, V>(simd, p);
    let p = S::as_mut_simd_f32s(p).0.as_chunks_mut::<V>().0;
    let lines = S::as_mut_simd_f32s(dp).0.as_chunks_mut::<V>().0;
    let mut totals = [simd.splat_f32s(0.0); V];
    for (p, dp) in p.chunks_mut(SHORT).zip(lines.chunks(SHORT)) {
        let mut part = [simd.splat_f32s(0.0); V];
        for (p, dp) in p.iter_mut().zip(dp) {
            for v in 0..V {
                p[v] = simd.mul_f32s(p[v], factors[v]);
                part[v] = simd.mul_add_e_f32s(p[v], dp[v], part[v]);
            }
        }
        for v in 0..V {
            totals[v] = simd.add_f32s(totals[v], part[v]);
        }
    }
    for (dp, p) in lines.iter_mut().zip(&*p) {
        for v in 0..V {
            dp[v] = simd.mul_f32s(p[v], simd.sub_f32s(dp[v], totals[v]));
        }
    }
    dp.iter_mut().zip(slopes).for_each(|(dp, &slope)| *dp *= slope);
}
