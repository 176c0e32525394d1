//! What windows of T rows have beside q and k: a number added to each score, by head and relative position, and regions whose
//! rows do not see each other (Swin).

use std::ops::Range;

/// Added to the scores of every window, and which of its rows see each other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WindowScores<'a> {
    /// T: rows of every sequence.
    pub rows: usize,
    /// Added to each score, by key and query: H×T·T.
    pub bias: &'a [f32],
    /// A number for each row of q; rows see those of the same number.
    pub regions: Option<&'a [u16]>,
}

impl<'a> WindowScores<'a> {
    /// Numbers of the scores of a window and head.
    fn scores(&self) -> usize {
        self.rows * self.rows
    }

    /// The scores of `rows` rows, a lane each, with what a head adds; `first` row and key are counted from the window's first.
    #[inline(always)]
    pub(super) fn add_bias(
        &self,
        head: usize,
        [first_row, first_key]: [usize; 2],
        rows: usize,
        scores: &mut [f32],
        lanes: usize,
    ) {
        let bias = &self.bias[head * self.scores()..][first_key * self.rows..];
        for (scores, bias) in scores.chunks_exact_mut(lanes).zip(bias.chunks_exact(self.rows)) {
            scores.iter_mut().zip(&bias[first_row..first_row + rows]).for_each(|(score, bias)| *score += bias);
        }
    }

    /// Adds the gradients of such scores to sums of as many numbers as a head's scores.
    #[inline(always)]
    pub(super) fn add_gradient(
        &self,
        [first_row, first_key]: [usize; 2],
        rows: usize,
        gradients: &[f32],
        lanes: usize,
        sums: &mut [f32],
    ) {
        let sums = sums[first_key * self.rows..].chunks_exact_mut(self.rows);
        for (gradients, sums) in gradients.chunks_exact(lanes).zip(sums) {
            sums[first_row..first_row + rows].iter_mut().zip(gradients).for_each(|(sum, x)| *sum += x);
        }
    }

    /// The regions of `keys`, if there are several.
    pub(super) fn mixed(&self, keys: &Range<usize>) -> Option<&'a [u16]> {
        let regions = &self.regions?[keys.clone()];
        regions.iter().any(|region| Some(region) != regions.first()).then_some(regions)
    }
}

/// `bias` (H×T·T, by key and query) from a table with a column for each head: number i·T + j of `index` is the row of it for
/// query i and key j.
pub(crate) fn expand(table: &[f32], heads: usize, index: &[u32], bias: &mut [f32]) {
    for (head, bias) in bias.chunks_exact_mut(index.len().max(1)).enumerate() {
        bias.iter_mut().zip(by_key(index)).for_each(|(bias, row)| *bias = table[row * heads + head]);
    }
}

/// Adds the gradient of such a bias to that of the table.
pub(crate) fn add_table_gradient(d_bias: &[f32], heads: usize, index: &[u32], d_table: &mut [f32]) {
    for (head, d_bias) in d_bias.chunks_exact(index.len().max(1)).enumerate() {
        d_bias.iter().zip(by_key(index)).for_each(|(d, row)| d_table[row * heads + head] += d);
    }
}

/// Number i·T + j of `index` in the order of j.
fn by_key(index: &[u32]) -> impl Iterator<Item = usize> {
    let rows = index.len().isqrt();
    (0..rows).flat_map(move |key| (0..rows).map(move |query| index[query * rows + key] as usize))
}
