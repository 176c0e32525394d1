//! What can be wrong with an input.

/// Bad input to a decomposition. A failed algorithm is not among them: given finite input, ours do not fail.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// An element is NaN or infinite.
    #[error("non-finite value {value} at row {row}, column {col} of a {rows}x{cols} matrix")]
    NonFinite {
        /// Row of the first such element.
        row: usize,
        /// Column of the first such element.
        col: usize,
        /// The element.
        value: f32,
        /// Rows of the matrix.
        rows: usize,
        /// Columns of the matrix.
        cols: usize,
    },
    /// Rank zero was asked for.
    #[error("rank 0 asked for a {rows}x{cols} matrix; the least is 1")]
    ZeroRank {
        /// Rows of the matrix.
        rows: usize,
        /// Columns of the matrix.
        cols: usize,
    },
}
