//! Rows of x (m×C) taken by an index, some of them beside each other: windows of an image, shifted and padded, their inverse, and
//! the merging of neighbouring patches (Swin). Saves the index only; the gradient of a row is the sum of those of the places
//! where it was taken, zero if it was nowhere.

use std::sync::Arc;

use crate::error::{Error, same};
use crate::kernels::gather as kernel;
use crate::ledger::Category;
use crate::tape::{Backprop, Backward, Tape, Var, VarId};
use crate::tensor::Tensor;

struct Node {
    x: Option<VarId>,
    /// m and C.
    shape: (usize, usize),
    rows: Arc<[Option<u32>]>,
}

/// The `rows` of x (m×C), `fold` of them beside each other in a row of the output, (len/fold)×(fold·C); zeros for `None`.
///
/// # Errors
/// [`Error::Shape`] if a row is not there, or `rows` are not so many whole rows.
pub fn gather_rows(tape: &mut Tape<'_>, x: &Var, rows: &Arc<[Option<u32>]>, fold: usize) -> Result<Var, Error> {
    let entered = tape.enter("gather_rows", x.needs_grad());
    let (m, cols) = (x.rows(), x.cols());
    let wrong = |what, left, right| Err(Error::Shape { op: entered.op, what, left, right });
    if fold == 0 {
        return wrong("rows beside each other against the fewest", fold, 1);
    }
    same(entered.op, "rows left over by those beside each other", rows.len() % fold, 0)?;
    if let Some(row) = rows.iter().flatten().find(|&&row| row as usize >= m) {
        return wrong("row taken beyond the rows", *row as usize, m);
    }
    let node = Node { x: x.grad_id(), shape: (m, cols), rows: Arc::clone(rows) };
    if tape.is_closing() {
        let absent = tape.memory().absent(rows.len() / fold, fold * cols);
        return Ok(tape.finish(entered, absent, node));
    }
    let mut y = tape.memory().stale(rows.len() / fold, fold * cols, Category::Transient);
    if !tape.memory().is_hollow() {
        kernel::take(x.tensor().data(), cols, rows, y.slice_mut());
    }
    Ok(tape.finish(entered, y, node))
}

impl Backward for Node {
    fn backward(self: Box<Self>, dy: Tensor, pass: &mut Backprop<'_>) -> Result<(), Error> {
        let (m, cols) = self.shape;
        let mut dx = pass.stale(m, cols);
        if !pass.memory.is_hollow() {
            kernel::bring_back(dy.data(), cols, &self.rows, dx.slice_mut());
        }
        drop(dy);
        pass.accumulate(self.x, dx);
        Ok(())
    }
}
