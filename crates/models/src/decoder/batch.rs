//! A micro-batch of token rows: end to end, without padding, with its targets already shifted.

use std::ops::Range;
use std::sync::Arc;

use loract_autograd::ops::Targets;

use super::rope::Tables;
use crate::layers::{Rows, Turning};

/// A row of tokens and which of them are trained.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Row {
    /// Token ids.
    pub ids: Vec<u32>,
    /// Aligned with `ids` as in Hugging Face: the token at place t, to be predicted from those before it; `None` is not
    /// trained (−100). The first cannot be predicted and never counts.
    pub labels: Vec<Option<u32>>,
}

impl Row {
    /// A row in which every token is trained.
    pub fn all(ids: Vec<u32>) -> Self {
        let labels = ids.iter().map(|&id| Some(id)).collect();
        Self { ids, labels }
    }

    /// Number of tokens that are trained: labels but the first.
    pub fn trained_tokens(&self) -> usize {
        self.labels.iter().skip(1).flatten().count()
    }
}

/// Rows of a micro-batch, laid end to end.
#[derive(Debug, Clone)]
pub struct TokenBatch {
    ids: Vec<u32>,
    sequences: Arc<[Range<usize>]>,
    positions: Arc<[u32]>,
    targets: Targets,
    /// Number of targets of each row.
    targets_by_row: Vec<usize>,
}

impl TokenBatch {
    /// Lays rows end to end. Row t of a sequence is trained towards label t+1. Empty rows vanish.
    pub fn new<'a>(rows: impl IntoIterator<Item = &'a Row>) -> Self {
        let mut ids = Vec::new();
        let mut sequences = Vec::new();
        let mut positions = Vec::new();
        let mut targets = Targets::default();
        let mut targets_by_row = Vec::new();
        for row in rows {
            let start = ids.len();
            ids.extend_from_slice(&row.ids);
            positions.extend(0..row.ids.len() as u32);
            for (t, label) in row.labels.iter().enumerate().skip(1) {
                if let Some(token) = label {
                    targets.rows.push((start + t - 1) as u32);
                    targets.tokens.push(*token);
                }
            }
            targets_by_row.push(row.trained_tokens());
            if ids.len() > start {
                sequences.push(start..ids.len());
            }
        }
        Self { ids, sequences: sequences.into(), positions: positions.into(), targets, targets_by_row }
    }

    /// One sequence that goes on behind `past` tokens; nothing of it is trained.
    pub fn continued(past: usize, ids: &[u32]) -> Self {
        let positions = (past..past + ids.len()).map(|position| position as u32).collect();
        let rows = std::iter::once(0..ids.len());
        Self {
            ids: ids.to_vec(),
            sequences: rows.filter(|rows| !rows.is_empty()).collect(),
            positions,
            targets: Targets::default(),
            targets_by_row: vec![0],
        }
    }

    /// m: tokens.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }
    /// Tokens that are trained.
    pub fn trained_tokens(&self) -> usize {
        self.targets.rows.len()
    }
    /// Trained tokens of each row, in order: how [`loract_autograd::ops::LossOutput::nll`] divides.
    pub fn targets_by_row(&self) -> &[usize] {
        &self.targets_by_row
    }
    /// Tokens of the longest row.
    pub fn longest(&self) -> usize {
        self.sequences.iter().map(Range::len).max().unwrap_or(0)
    }
    /// One more than the highest position.
    pub fn positions_end(&self) -> usize {
        self.positions.iter().max().map_or(0, |&position| position as usize + 1)
    }
    pub(crate) fn ids(&self) -> &[u32] {
        &self.ids
    }
    pub(crate) fn targets(&self) -> &Targets {
        &self.targets
    }
    pub(super) fn rows_of(&self, tables: Tables) -> Rows {
        let positions = Arc::clone(&self.positions);
        let turned = match tables.long {
            None => Arc::clone(&positions),
            Some((most, offset)) => {
                let mut turned = positions.to_vec();
                for rows in self.sequences.iter() {
                    let rows = &mut turned[rows.clone()];
                    if rows.last().is_some_and(|&last| last as usize >= most) {
                        rows.iter_mut().for_each(|position| *position += offset);
                    }
                }
                turned.into()
            }
        };
        Rows {
            sequences: Arc::clone(&self.sequences),
            global: Some(Turning { table: tables.global, places: turned }),
            local: tables.local.map(|table| Turning { table, places: positions }),
            windows: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_shifted_within_their_row() {
        let first = Row { ids: vec![5, 6, 7], labels: vec![Some(5), None, Some(7)] };
        let batch = TokenBatch::new([&first, &Row::all(vec![8]), &Row::default(), &Row::all(vec![1, 2])]);
        assert_eq!(batch.tokens(), 6);
        assert_eq!(*batch.sequences, [0..3, 3..4, 4..6]);
        assert_eq!(*batch.positions, [0, 1, 2, 0, 0, 1]);
        assert_eq!(batch.targets, Targets { rows: vec![1, 4], tokens: vec![7, 2] });
        assert_eq!(batch.targets_by_row(), [1, 0, 0, 1]);
    }
}
