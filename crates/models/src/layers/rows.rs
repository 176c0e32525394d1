//! What attention needs to know of a micro-batch's rows.

use std::ops::Range;
use std::sync::Arc;

use loract_autograd::ops::RopeTable;

use super::attention::Turn;

/// The rows of a micro-batch.
#[derive(Debug, Clone)]
pub(crate) struct Rows {
    /// Those of each sequence, end to end.
    pub(crate) sequences: Arc<[Range<usize>]>,
    /// How heads turn in most layers; `None` where none do.
    pub(crate) global: Option<Turning>,
    /// How they turn in layers with a window, where that is another way.
    pub(crate) local: Option<Turning>,
}

/// A table of angles and each row's place in it.
#[derive(Debug, Clone)]
pub(crate) struct Turning {
    pub(crate) table: Arc<RopeTable>,
    pub(crate) places: Arc<[u32]>,
}

impl Rows {
    /// How heads turn in a layer.
    pub(crate) fn turn(&self, turn: Turn) -> Option<&Turning> {
        match turn {
            Turn::Never => None,
            Turn::Global => self.global.as_ref(),
            Turn::Local => self.local.as_ref(),
        }
    }
}
