//! What windows of T rows have beside q and k: a number added to each score, by head and relative position, and regions whose
//! rows do not see each other (Swin).

use std::ops::Range;

use crate::kernels::simd;

/// Added to the scores of every window, and which of its rows see each other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WindowScores<'a> {
    /// T: rows of every sequence.
    pub rows: usize,
    /// Added to each score: H×T·T.
    pub bias: &'a [f32],
    /// A number for each row of q; rows see those of the same number.
    pub regions: Option<&'a [u16]>,
}

impl<'a> WindowScores<'a> {
    /// Numbers of the scores of a window and head.
    fn scores(&self) -> usize {
        self.rows * self.rows
    }

    /// The scores `p` of `rows` against `keys`, with what a head adds.
    pub(super) fn add_bias(&self, head: usize, rows: &Range<usize>, keys: &Range<usize>, p: &mut [f32]) {
        let bias = &self.bias[head * self.scores()..][self.place(rows, keys)];
        add_to_rows(p, keys.len(), bias, self.rows);
    }

    /// Adds the gradients `dp` of such scores to sums of as many numbers as a head's scores.
    pub(super) fn add_gradient(&self, rows: &Range<usize>, keys: &Range<usize>, dp: &[f32], sums: &mut [f32]) {
        add_to_rows(&mut sums[self.place(rows, keys)], self.rows, dp, keys.len());
    }

    /// From the score of the first of `rows` and of `keys` on, in those of a window.
    fn place(&self, rows: &Range<usize>, keys: &Range<usize>) -> Range<usize> {
        let first = rows.start - rows.start % self.rows;
        (rows.start - first) * self.rows + (keys.start - first)..self.scores()
    }

    /// The regions of `keys`, if there are several.
    pub(super) fn mixed(&self, keys: &Range<usize>) -> Option<&'a [u16]> {
        let regions = &self.regions?[keys.clone()];
        regions.iter().any(|region| Some(region) != regions.first()).then_some(regions)
    }
}

/// `bias` (H×T·T) from a table with a column for each head: number i of a head is that in row `index`_i.
pub(crate) fn expand(table: &[f32], heads: usize, index: &[u32], bias: &mut [f32]) {
    for (head, bias) in bias.chunks_exact_mut(index.len().max(1)).enumerate() {
        bias.iter_mut().zip(index).for_each(|(bias, &row)| *bias = table[row as usize * heads + head]);
    }
}

/// Adds the gradient of such a bias to that of the table.
pub(crate) fn add_table_gradient(d_bias: &[f32], heads: usize, index: &[u32], d_table: &mut [f32]) {
    for (head, d_bias) in d_bias.chunks_exact(index.len().max(1)).enumerate() {
        d_bias.iter().zip(index).for_each(|(d, &row)| d_table[row as usize * heads + head] += d);
    }
}

simd::vectorised! {
    /// Rows of x, each `width` apart, += those of y, each `y_width` apart, as far as both reach.
    fn add_to_rows<'a>(x: &'a mut [f32], width: usize, y: &'a [f32], y_width: usize) -> () {
        for (x, y) in x.chunks_mut(width).zip(y.chunks(y_width)) {
            x.iter_mut().zip(y).for_each(|(x, &y)| *x += y);
        }
    }

    /// Scores of keys outside `region` become −∞.
    pub(super) fn keep_region<'a>(p: &'a mut [f32], regions: &'a [u16], region: u16) -> () {
        for (p, &other) in p.iter_mut().zip(regions) {
            *p = if other == region { *p } else { f32::NEG_INFINITY };
        }
    }
}
