//! Which rows belong together, which keys a query sees, and how heads lie in a row.

use std::ops::Range;

use loract_linalg::MatRef;

use super::windows::WindowScores;

/// Which keys of its sequence a token sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mask {
    /// All of them, as in vision towers and encoders.
    None,
    /// Its own and those before it.
    Causal {
        /// At most so many, its own included; `None` = all before it.
        window: Option<usize>,
    },
}

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
    /// Which keys a query sees.
    pub mask: Mask,
    /// Multiplies q·k.
    pub scale: f32,
    /// Scores s become cap·tanh(s/cap).
    pub softcap: Option<f32>,
    /// Where every sequence is a window.
    pub windows: Option<WindowScores<'a>>,
}

impl Layout<'_> {
    pub(super) fn q_cols(&self) -> usize {
        self.heads * self.head_dim
    }
    pub(super) fn kv_cols(&self) -> usize {
        self.kv_heads * self.head_dim
    }
    /// One head of rows `rows`.
    pub(super) fn head<'b>(&self, data: &'b [f32], rows: Range<usize>, cols: usize, head: usize) -> MatRef<'b> {
        let start = rows.start * cols + head * self.head_dim;
        MatRef::with_strides(&data[start..], rows.len(), self.head_dim, cols, 1)
    }
    /// Keys that some query of `rows` may see, in its sequence.
    pub(super) fn keys(&self, sequence: &Range<usize>, rows: &Range<usize>) -> Range<usize> {
        let Mask::Causal { window } = self.mask else { return sequence.clone() };
        let first = |window| (rows.start + 1).saturating_sub(window).max(sequence.start);
        window.map_or(sequence.start, first)..rows.end
    }
    /// Keys of its sequence that query `row` may see.
    pub(super) fn seen(&self, row: usize, sequence: &Range<usize>) -> Range<usize> {
        self.keys(sequence, &(row..row + 1))
    }
}
