//! What attention needs to know of a micro-batch's rows.

use std::ops::Range;
use std::sync::Arc;

use loract_autograd::ops::{self, RopeTable};
use loract_autograd::{Error, Tape, Var};

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
    /// Windows of images, which are then the sequences.
    pub(crate) windows: Option<Arc<Windows>>,
}

/// How the rows of images lie in square windows of attention, a sequence each.
#[derive(Debug)]
pub(crate) struct Windows {
    /// Into the windows and back, if their order is not that of the images.
    pub(crate) moved: Option<Moved>,
    /// For each two places of a window, the row of the table of relative positions.
    pub(crate) index: Arc<[u32]>,
    /// For each place of all windows a number; rows see those of the same number. `None`: all of their window.
    pub(crate) regions: Option<Arc<[u16]>>,
}

/// Rows that change their places.
#[derive(Debug)]
pub(crate) struct Moved {
    /// The row of the images at each place of the windows; `None`: zeros.
    pub(crate) there: Arc<[Option<u32>]>,
    /// The place in the windows of each row of the images.
    pub(crate) back: Arc<[Option<u32>]>,
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

    /// Whether rows have other places in windows.
    pub(crate) fn move_to_windows(&self) -> bool {
        self.moved().is_some()
    }

    fn moved(&self) -> Option<&Moved> {
        self.windows.as_ref()?.moved.as_ref()
    }

    /// The rows of images y in their windows.
    pub(crate) fn enter_windows(&self, tape: &mut Tape<'_>, y: Var) -> Result<Var, Error> {
        match self.moved() {
            None => Ok(y),
            Some(moved) => ops::gather_rows(tape, &y, &moved.there, 1),
        }
    }

    /// The other way round.
    pub(crate) fn leave_windows(&self, tape: &mut Tape<'_>, y: Var) -> Result<Var, Error> {
        match self.moved() {
            None => Ok(y),
            Some(moved) => ops::gather_rows(tape, &y, &moved.back, 1),
        }
    }
}
