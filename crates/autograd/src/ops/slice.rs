//! y = some neighbouring columns of x (m×n), copied: one head of a joined q, k, v projection, or one half of a joined gate
//! and up. Saves nothing; the gradients of several slices of one x add up in one m×n tensor.

use std::ops::Range;

use crate::error::Error;
use crate::kernels::elementwise;
use crate::ledger::Category;
use crate::tape::{Backprop, Backward, Tape, Var, VarId};
use crate::tensor::Tensor;

struct Node {
    x: Option<VarId>,
    /// n.
    cols: usize,
    first: usize,
}

/// The columns `columns` of x (m×n), m×columns.len().
///
/// # Errors
/// [`Error::Shape`] if there are no such columns.
pub fn slice(tape: &mut Tape<'_>, x: &Var, columns: Range<usize>) -> Result<Var, Error> {
    let entered = tape.enter("slice", x.needs_grad());
    let (rows, cols) = (x.rows(), x.cols());
    let wrong = |what, left, right| Err(Error::Shape { op: entered.op, what, left, right });
    if columns.start >= columns.end {
        return wrong("end of the columns against their start", columns.end, columns.start);
    }
    if columns.end > cols {
        return wrong("end of the columns against those there", columns.end, cols);
    }
    let node = Node { x: x.grad_id(), cols, first: columns.start };
    if tape.is_closing() {
        let absent = tape.memory().absent(rows, columns.len());
        return Ok(tape.finish(entered, absent, node));
    }
    let mut y = tape.memory().stale(rows, columns.len(), Category::Transient);
    elementwise::copy_columns(x.tensor().data(), cols, columns, y.slice_mut());
    Ok(tape.finish(entered, y, node))
}

impl Backward for Node {
    fn backward(self: Box<Self>, dy: Tensor, pass: &mut Backprop<'_>) -> Result<(), Error> {
        let mut dx = pass.partial(self.x, dy.rows(), self.cols);
        elementwise::add_to_columns(dx.slice_mut(), self.cols, self.first..self.first + dy.cols(), dy.data());
        drop(dy);
        pass.accumulate(self.x, dx);
        Ok(())
    }
}
