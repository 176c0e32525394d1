//! A row for each sequence: its first, the mean of others, or both beside each other.

use std::ops::Range;

use rayon::prelude::*;

use super::elementwise;
use super::parts::split;

/// Which rows of a sequence become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pool {
    /// The first: the class token.
    First,
    /// The mean of those after the first `skip`.
    Mean {
        /// Rows left out, such as a class token.
        skip: usize,
    },
    /// The first, and beside it the mean of those after the first `skip` (DINOv2).
    FirstAndMean {
        /// Rows left out of the mean.
        skip: usize,
    },
}

impl Pool {
    /// Rows of C numbers that lie beside each other in one of the output.
    pub(crate) fn width(self) -> usize {
        self.firsts() + usize::from(self.skipped().is_some())
    }

    /// Rows that a sequence must have.
    pub(crate) fn fewest(self) -> usize {
        self.skipped().map_or(1, |skip| skip.saturating_add(1))
    }

    fn firsts(self) -> usize {
        usize::from(!matches!(self, Pool::Mean { .. }))
    }

    fn skipped(self) -> Option<usize> {
        match self {
            Pool::First => None,
            Pool::Mean { skip } | Pool::FirstAndMean { skip } => Some(skip),
        }
    }
}

/// Row i of `out` from the rows `sequences`_i of x.
pub(crate) fn pool(x: &[f32], cols: usize, sequences: &[Range<usize>], pool: Pool, out: &mut [f32]) {
    let width = pool.width() * cols;
    out.par_chunks_mut(width.max(1)).zip(sequences).for_each(|(out, sequence)| {
        let x = &x[sequence.start * cols..sequence.end * cols];
        let (first, mean) = out.split_at_mut(pool.firsts() * cols);
        first.copy_from_slice(&x[..first.len()]);
        if let Some(skip) = pool.skipped() {
            mean.fill(0.0);
            elementwise::add_column_sums(&x[skip * cols..], mean);
            let factor = 1.0 / (sequence.len() - skip) as f32;
            mean.iter_mut().for_each(|mean| *mean *= factor);
        }
    });
}

/// Adds to the gradient of x what that of the output, dy, gives. `sequences` are end to end.
pub(crate) fn add_backward(dy: &[f32], cols: usize, sequences: &[Range<usize>], pool: Pool, dx: &mut [f32]) {
    let width = pool.width() * cols;
    let parts = split(dx, sequences.iter().map(|sequence| sequence.len() * cols));
    parts.into_par_iter().zip(dy.par_chunks(width.max(1))).for_each(|(dx, dy)| {
        let (first, mean) = dy.split_at(pool.firsts() * cols);
        elementwise::add_scaled_here(&mut dx[..first.len()], first, 1.0);
        if let Some(skip) = pool.skipped() {
            let pooled = dx[skip * cols..].chunks_exact_mut(cols);
            let factor = 1.0 / pooled.len() as f32;
            pooled.for_each(|dx| elementwise::add_scaled_here(dx, mean, factor));
        }
    });
}
