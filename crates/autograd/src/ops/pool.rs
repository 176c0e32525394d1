//! One row for each sequence of x (m×C): its first, the mean of others, or both. Saves nothing: the gradient of a pooled row
//! goes to its first row, and in equal parts to those that the mean is of.

use std::ops::Range;
use std::sync::Arc;

use super::sequences::end_to_end;
use crate::error::Error;
use crate::kernels::pool::{self as kernel, Pool};
use crate::ledger::Category;
use crate::tape::{Backprop, Backward, Tape, Var, VarId};
use crate::tensor::Tensor;

struct Node {
    x: Option<VarId>,
    /// m and C.
    shape: (usize, usize),
    sequences: Arc<[Range<usize>]>,
    pool: Pool,
}

/// The rows of each of N sequences pooled: N×C, or N×2C where [`Pool`] puts two rows beside each other. `sequences` are the row
/// ranges of x's sequences, end to end.
///
/// # Errors
/// [`Error::Shape`] if sequences do not cover x, or one has too few rows.
pub fn pool(tape: &mut Tape<'_>, x: &Var, sequences: &Arc<[Range<usize>]>, pool: Pool) -> Result<Var, Error> {
    let entered = tape.enter("pool", x.needs_grad());
    let (rows, cols) = (x.rows(), x.cols());
    end_to_end(entered.op, sequences, rows)?;
    if let Some(short) = sequences.iter().find(|sequence| sequence.len() < pool.fewest()) {
        let (left, right) = (short.len(), pool.fewest());
        return Err(Error::Shape { op: entered.op, what: "rows of a sequence against the fewest", left, right });
    }
    let node = Node { x: x.grad_id(), shape: (rows, cols), sequences: Arc::clone(sequences), pool };
    let shape = (sequences.len(), pool.width() * cols);
    if tape.is_closing() {
        let absent = tape.memory().absent(shape.0, shape.1);
        return Ok(tape.finish(entered, absent, node));
    }
    let mut y = tape.memory().stale(shape.0, shape.1, Category::Transient);
    if !tape.memory().is_hollow() {
        kernel::pool(x.tensor().data(), cols, sequences, pool, y.slice_mut());
    }
    Ok(tape.finish(entered, y, node))
}

impl Backward for Node {
    fn backward(self: Box<Self>, dy: Tensor, pass: &mut Backprop<'_>) -> Result<(), Error> {
        let (rows, cols) = self.shape;
        let mut dx = pass.partial(self.x, rows, cols);
        if !pass.memory.is_hollow() {
            kernel::add_backward(dy.data(), cols, &self.sequences, self.pool, dx.slice_mut());
        }
        pass.accumulate(self.x, dx);
        Ok(())
    }
}
