//! Attention in windows of T rows (Swin): each score has a number added that belongs to its head and to the place of the key
//! relative to the query, and rows see only those of their region. Saves what [`attention`](super::attention()) does; if the table
//! of those numbers is trained, its gradient is the sum of the scores' gradients over all windows.

use std::ops::Range;
use std::sync::Arc;

use super::attention::{AttentionShape, attend};
use crate::error::{Error, same};
use crate::kernels::attention::{WindowScores, add_table_gradient, expand};
use crate::ledger::Category;
use crate::param::Weight;
use crate::tape::{Backprop, Tape, Var};
use crate::tensor::{Memory, Tensor};

/// What windows have beside q, k and v.
#[derive(Debug, Clone)]
pub struct Windows<'m> {
    /// A number for each relative position (a row each, (2w − 1)² in a window of w×w) and head.
    pub table: &'m Weight,
    /// T×T rows of the table: that of key j seen from query i is number i·T + j. Every sequence has T rows.
    pub index: Arc<[u32]>,
    /// A number for each row of the micro-batch: rows of a window see those of the same number. None: all of the window.
    pub regions: Option<Arc<[u16]>>,
}

/// [`attention`](super::attention()) in windows, with the table's number added to scale·q·k before a cap and the mask, m×H·D.
///
/// # Errors
/// Those of [`attention`](super::attention()); [`Error::Shape`] if a sequence is not T rows long, or table, index and regions do
/// not fit.
pub fn window_attention<'m>(
    tape: &mut Tape<'m>,
    qkv: [Var; 3],
    shape: AttentionShape,
    sequences: &Arc<[Range<usize>]>,
    windows: Windows<'m>,
) -> Result<Var, Error> {
    attend(tape, "window_attention", qkv, shape, sequences, Some(windows))
}

impl Windows<'_> {
    /// T.
    fn rows(&self) -> usize {
        self.index.len().isqrt()
    }

    /// Whether they fit that many heads, and `rows` rows in sequences.
    pub(super) fn check(
        &self,
        op: &'static str,
        heads: usize,
        sequences: &[Range<usize>],
        rows: usize,
    ) -> Result<(), Error> {
        same(op, "index against the scores of a window", self.index.len(), self.rows() * self.rows())?;
        same(op, "heads of the table against those there", self.table.cols(), heads)?;
        if let Some(&row) = self.index.iter().find(|&&row| row as usize >= self.table.rows()) {
            let (left, right) = (row as usize, self.table.rows());
            return Err(Error::Shape { op, what: "relative position beyond the table", left, right });
        }
        for sequence in sequences {
            same(op, "rows of a sequence against those of a window", sequence.len(), self.rows())?;
        }
        self.regions.as_ref().map_or(Ok(()), |regions| same(op, "regions against rows", regions.len(), rows))
    }

    /// What is added to the scores, H×T·T.
    pub(super) fn bias(&self, memory: &Memory) -> Tensor {
        let heads = self.table.cols();
        let mut bias = memory.stale(heads, self.index.len(), Category::Transient);
        let table = self.table.in_f32(memory);
        if !memory.is_hollow() {
            expand(table.data(), heads, &self.index, bias.slice_mut());
        }
        bias
    }

    /// The same for the kernels.
    pub(super) fn scores<'a>(&'a self, bias: &'a Tensor) -> WindowScores<'a> {
        WindowScores { rows: self.rows(), bias: bias.data(), regions: self.regions.as_deref() }
    }

    /// Adds to the gradient of the table, which is trained, that of the numbers added to the scores.
    pub(super) fn add_gradient(&self, d_bias: &Tensor, pass: &mut Backprop<'_>) {
        let Some(table) = self.table.trained() else { return };
        let gradient = pass.params.zeroed(&pass.memory, table);
        if !pass.memory.is_hollow() {
            add_table_gradient(d_bias.data(), self.table.cols(), &self.index, gradient);
        }
    }
}
