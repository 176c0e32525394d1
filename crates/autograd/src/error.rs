//! What can go wrong in a step.

use crate::frozen::DType;
use crate::saved::Site;

/// A failure of an op or of the tape, with the names of what did not fit.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// Two shapes of an op do not fit.
    #[error("{op}: {what}: {left} against {right}")]
    Shape {
        /// The op.
        op: &'static str,
        /// Which sizes.
        what: &'static str,
        /// One side.
        left: usize,
        /// The other.
        right: usize,
    },
    /// Stored bytes are not the size that type and shape ask for.
    #[error("{rows}x{cols} weight of type {dtype} in {bytes} bytes, expected {}",
        dtype.row_bytes(*cols).map_or_else(|| format!("rows of whole {}-number blocks", dtype.block_len()), |r| (r * rows).to_string()))]
    FrozenSize {
        /// Stored type.
        dtype: DType,
        /// Output features.
        rows: usize,
        /// Input features.
        cols: usize,
        /// Bytes found.
        bytes: usize,
    },
    /// An activation that is to be compressed holds NaN or infinity.
    #[error("non-finite activation {value} at site {site}{}, token row {row}, feature {col}: the learning rate may be too high, or a weight is broken",
        layer.map_or_else(String::new, |l| format!(" of layer {l}")))]
    NonFinite {
        /// Where it was to be saved.
        site: Site,
        /// Layer, counted from 0.
        layer: Option<usize>,
        /// Row (token of the micro-batch).
        row: usize,
        /// Column (feature).
        col: usize,
        /// The value.
        value: f32,
    },
    /// A token id is outside the vocabulary.
    #[error("token id {id} is outside the vocabulary of {vocabulary}")]
    TokenId {
        /// The id.
        id: u32,
        /// Size of the vocabulary.
        vocabulary: usize,
    },
    /// A setting of an op that has to be above 0, and finite, is not.
    #[error("{op}: {what} has to be a finite number above 0, not {value}")]
    NotPositive {
        /// The op.
        op: &'static str,
        /// Which setting.
        what: &'static str,
        /// What it is.
        value: f32,
    },
    /// An op was asked to pass a gradient that it cannot.
    #[error("{op} has no gradient for {what}")]
    NoGradient {
        /// The op.
        op: &'static str,
        /// Which of its inputs.
        what: &'static str,
    },
}

impl Error {
    /// `Ok` if `value` is above 0 and finite.
    pub(crate) fn if_not_positive(op: &'static str, what: &'static str, value: f32) -> Result<(), Self> {
        if value > 0.0 && value.is_finite() { Ok(()) } else { Err(Error::NotPositive { op, what, value }) }
    }
}

/// `Ok` if the two sizes are equal.
pub(crate) fn same(op: &'static str, what: &'static str, left: usize, right: usize) -> Result<(), Error> {
    if left == right { Ok(()) } else { Err(Error::Shape { op, what, left, right }) }
}
