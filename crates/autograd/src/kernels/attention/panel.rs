//! The scores of a panel: N query rows of a head, a column each, against the keys that they may see, a row each.
//!
//! Lying so, P and the gradient of the scores are packed right operands as they are, softmax runs in lanes side by side, and of
//! causal scores only those of N·N/2 pairs are made for nothing.

use std::ops::Range;

use loract_linalg::tiles::{OnTiles, PackTransposed, tile};
use pulp::Simd;

use super::layout::Layout;
use crate::kernels::simd;

/// Terms of a running sum, where a sum of such sums is made of them: its error does not grow with the length of a sequence.
pub(super) const SHORT: usize = 64;

/// The same of a tile, whose terms are products.
const LONG: usize = 768;

/// [`tile`] of any depth.
#[inline(always)]
pub(super) fn long_tile<S: Simd, const M: usize, const V: usize>(
    simd: S,
    strip: &[[f32; M]],
    panel: &[f32],
) -> [[S::f32s; V]; M] {
    let mut sums = [[simd.splat_f32s(0.0); V]; M];
    for (strip, panel) in strip.chunks(LONG).zip(panel.chunks(LONG * V * S::F32_LANES)) {
        let part = tile::<S, M, V>(simd, strip, panel);
        for i in 0..M {
            for v in 0..V {
                sums[i][v] = simd.add_f32s(sums[i][v], part[i][v]);
            }
        }
    }
    sums
}

/// Some rows of a head of a sequence.
pub(super) struct Panel<'a> {
    pub(super) layout: &'a Layout<'a>,
    pub(super) sequence: &'a Range<usize>,
    pub(super) head: usize,
    /// At most N, of one head.
    pub(super) rows: Range<usize>,
    /// What they may see, and up to M − 1 before.
    pub(super) keys: Range<usize>,
}

impl<'a> Panel<'a> {
    /// The strips of the keys have `strip` rows each, from the sequence's first on.
    pub(super) fn new(
        layout: &'a Layout<'a>,
        sequence: &'a Range<usize>,
        head: usize,
        rows: Range<usize>,
        strip: usize,
    ) -> Self {
        let keys = layout.keys(sequence, &rows);
        let start = keys.start - (keys.start - sequence.start) % strip;
        Self { layout, sequence, head, rows, keys: start..keys.end }
    }

    /// Keys from the sequence's first on.
    pub(super) fn local(&self) -> Range<usize> {
        self.keys.start - self.sequence.start..self.keys.end - self.sequence.start
    }

    /// Rows of `x`, which has `cols` columns, as a panel: D×N, zeros where there are no rows. `scratch` holds N·D numbers.
    #[inline(always)]
    pub(super) fn pack<S: Simd, const M: usize, const V: usize>(
        &self,
        simd: S,
        x: &[f32],
        scratch: &mut [f32],
        out: &mut [f32],
    ) {
        let Layout { past, head_dim, .. } = *self.layout;
        let rows = self.rows.start - past..self.rows.end - past;
        let source = &self.layout.head(x, rows.clone(), self.layout.q_cols(), self.head);
        PackTransposed { source, rows: 0..rows.len(), first: 0, depth: head_dim, scratch, out }.run::<S, M, V>(simd);
    }

    /// strips·panel: a product with each key. `strips` begins with that of the first of `keys`, `panel` is D×N; `out` has a row
    /// of N for each key, and for those that fill up the last strip.
    #[inline(always)]
    pub(super) fn against<S: Simd, const M: usize, const V: usize>(
        &self,
        simd: S,
        strips: &[f32],
        panel: &[f32],
        scale: f32,
        out: &mut [f32],
    ) {
        let (d, scale) = (self.layout.head_dim, simd.splat_f32s(scale));
        let out = S::as_mut_simd_f32s(out).0.as_chunks_mut::<V>().0.as_chunks_mut::<M>().0;
        for (out, strip) in out.iter_mut().zip(strips.chunks_exact(M * d)).take(self.keys.len().div_ceil(M)) {
            let sums = tile::<S, M, V>(simd, strip.as_chunks().0, panel);
            for i in 0..M {
                for v in 0..V {
                    out[i][v] = simd.mul_f32s(sums[i][v], scale);
                }
            }
        }
    }

    /// What comes between scale·q·k and softmax. `slopes`, if there are any, become those of the cap.
    #[inline(always)]
    pub(super) fn adjust(&self, scores: &mut [f32], slopes: &mut [f32]) {
        let lanes = scores.len() / self.keys.len().max(1);
        let first = [self.rows.start - self.sequence.start, self.keys.start - self.sequence.start];
        if let Some(windows) = &self.layout.windows {
            windows.add_bias(self.head, first, self.rows.len(), scores, lanes);
        }
        if let Some(cap) = self.layout.softcap {
            cap_scores(scores, slopes, cap);
        }
        self.hide(scores, lanes);
    }

    /// Scores of keys that a row does not see become −∞. Lanes without a row see what the last does, or more.
    #[inline(always)]
    fn hide(&self, scores: &mut [f32], lanes: usize) {
        let seen = |row| self.layout.seen(row, self.sequence);
        let row = |lane: usize| (self.rows.start + lane).min(self.rows.end - 1);
        let by_all = seen(self.rows.end - 1).start..seen(self.rows.start).end;
        let regions = self.layout.windows.and_then(|windows| windows.mixed(self.sequence));
        for (key, scores) in self.keys.clone().zip(scores.chunks_exact_mut(lanes)) {
            if !by_all.contains(&key) {
                let lanes = scores.iter_mut().enumerate().filter(|(lane, _)| !seen(row(*lane)).contains(&key));
                lanes.for_each(|(_, score)| *score = f32::NEG_INFINITY);
            }
            if let Some(regions) = regions {
                let first = self.rows.start - self.sequence.start;
                let (rows, own) = (&regions[first..first + self.rows.len()], regions[key - self.sequence.start]);
                for (score, &region) in scores.iter_mut().zip(rows) {
                    *score = if region == own { *score } else { f32::NEG_INFINITY };
                }
            }
        }
    }
}

/// Scores become exp(score − largest of the lane).
#[inline(always)]
pub(super) fn exponentials<S: Simd, const V: usize>(simd: S, scores: &mut [f32]) {
    let lines = S::as_mut_simd_f32s(scores).0.as_chunks_mut::<V>().0;
    let mut largest = [simd.splat_f32s(f32::NEG_INFINITY); V];
    for line in &*lines {
        for v in 0..V {
            largest[v] = simd.max_f32s(line[v], largest[v]);
        }
    }
    for line in lines {
        for v in 0..V {
            line[v] = simd.sub_f32s(line[v], largest[v]);
        }
    }
    scores.iter_mut().for_each(|x| *x = simd::exp(*x));
}

/// 1/Σ of a lane.
#[inline(always)]
pub(super) fn inverse_sums<S: Simd, const V: usize>(simd: S, exponentials: &[f32]) -> [S::f32s; V] {
    let mut sums = [simd.splat_f32s(0.0); V];
    for lines in S::as_simd_f32s(exponentials).0.as_chunks::<V>().0.chunks(SHORT) {
        let mut part = [simd.splat_f32s(0.0); V];
        for line in lines {
            for v in 0..V {
                part[v] = simd.add_f32s(part[v], line[v]);
            }
        }
        for v in 0..V {
            sums[v] = simd.add_f32s(sums[v], part[v]);
        }
    }
    sums.map(|sum| simd.div_f32s(simd.splat_f32s(1.0), sum))
}

/// A D×N product into rows of `out`, `cols` apart, a lane each, which is multiplied by its number of `factors` (N).
#[inline(always)]
pub(super) fn put_lanes(product: &[f32], factors: &[f32], out: &mut [f32], cols: usize, rows: usize, d: usize) {
    for (lane, out) in out.chunks_mut(cols).take(rows).enumerate() {
        for (out, line) in out[..d].iter_mut().zip(product.chunks_exact(factors.len())) {
            *out = line[lane] * factors[lane];
        }
    }
}

simd::vectorised! {
    /// Scores s become cap·tanh(s/cap), and `slopes`, if there are any, its slope there, 1 − tanh².
    pub(super) fn cap_scores<'a>(scores: &'a mut [f32], slopes: &'a mut [f32], cap: f32) -> () {
        let inverse = 1.0 / cap;
        for (slope, s) in slopes.iter_mut().zip(scores.iter()) {
            let t = simd::tanh(*s * inverse);
            *slope = (1.0 - t) * (1.0 + t);
        }
        for s in scores.iter_mut() {
            *s = cap * simd::tanh(*s * inverse);
        }
    }
}
