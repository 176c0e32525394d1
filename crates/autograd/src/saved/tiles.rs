//! Rows of something saved, rebuilt a tile at a time by whichever thread needs them.

use loract_linalg::with_buffer;
use std::ops::Range;

use super::compressed::TileSource;
use super::{ColumnMap, RowMap, Saved};
use crate::kernels::activation::{self, Activation};

/// Rows of X, X·diag(w) + 1·bᵀ, f(X) or f(X)·up, in place where they are dense already.
pub(crate) enum Tiles<'a> {
    /// Already dense.
    Dense {
        /// Rows side by side.
        data: &'a [f32],
        /// n.
        cols: usize,
    },
    /// To be rebuilt.
    Compressed {
        /// Of X.
        source: TileSource<'a>,
        /// n.
        cols: usize,
    },
    /// X with its columns mapped.
    Mapped {
        /// Of X.
        tiles: Box<Tiles<'a>>,
        /// How.
        columns: &'a ColumnMap,
    },
    /// Some rows of others, or their rows weighed.
    Rows {
        /// Of the others.
        tiles: Box<Tiles<'a>>,
        /// Which, or how.
        rows: &'a RowMap,
    },
    /// f(X)·up, or f(X).
    Activated {
        /// f.
        activation: Activation,
        /// Of X, and of up.
        inputs: Box<(Tiles<'a>, Option<Tiles<'a>>)>,
    },
}

impl<'a> Tiles<'a> {
    pub(super) fn of(saved: &'a Saved) -> Self {
        match saved {
            Saved::Exact(tensor) => Tiles::Dense { data: tensor.data(), cols: tensor.cols() },
            Saved::Compressed(c) => Tiles::Compressed { source: c.get().tiles(), cols: c.shape.1 },
        }
    }

    pub(super) fn mapped(self, columns: &'a ColumnMap) -> Self {
        if columns.is_identity() { self } else { Tiles::Mapped { tiles: Box::new(self), columns } }
    }

    pub(super) fn with_rows(self, rows: &'a RowMap) -> Self {
        Tiles::Rows { tiles: Box::new(self), rows }
    }

    pub(super) fn activated(activation: Activation, x: Self, up: Option<Self>) -> Self {
        Tiles::Activated { activation, inputs: Box::new((x, up)) }
    }

    /// n.
    pub(crate) fn cols(&self) -> usize {
        match self {
            Tiles::Dense { cols, .. } | Tiles::Compressed { cols, .. } => *cols,
            Tiles::Mapped { tiles, .. } | Tiles::Rows { tiles, .. } => tiles.cols(),
            Tiles::Activated { inputs, .. } => inputs.0.cols(),
        }
    }

    /// Rows `rows`, in place or rebuilt in `scratch` (at least rows.len()·n long).
    pub(crate) fn get<'b>(&'b self, rows: Range<usize>, scratch: &'b mut [f32]) -> &'b [f32] {
        if let Tiles::Dense { data, cols } = self {
            return &data[rows.start * cols..rows.end * cols];
        }
        let out = &mut scratch[..rows.len() * self.cols()];
        self.fill(rows, out);
        out
    }

    /// Rows `rows` into `out`, rows.len()·n long.
    pub(crate) fn fill(&self, rows: Range<usize>, out: &mut [f32]) {
        match self {
            Tiles::Dense { data, cols } => out.copy_from_slice(&data[rows.start * cols..rows.end * cols]),
            Tiles::Compressed { source, .. } => source.fill(rows, out),
            Tiles::Mapped { tiles, columns } => {
                tiles.fill(rows, out);
                columns.apply_here(out);
            }
            Tiles::Rows { tiles, rows: map } => map.fill(rows, self.cols(), out, |rows, out| tiles.fill(rows, out)),
            Tiles::Activated { activation, inputs } => match &**inputs {
                (x, None) => with_buffer(out.len(), |buffer| {
                    activation::forward_here(*activation, x.get(rows, buffer), out);
                }),
                (gate, Some(up)) => with_buffer(2 * out.len(), |buffer| {
                    let (first, second) = buffer.split_at_mut(out.len());
                    let (gate, up) = (gate.get(rows.clone(), first), up.get(rows, second));
                    activation::gated_forward_here(*activation, gate, up, out);
                }),
            },
        }
    }
}
