//! z = x + y (m×n each); the residual add. Saves nothing; both gradients are that of z.

use crate::error::{Error, same};
use crate::kernels::elementwise;
use crate::tape::{Backprop, Backward, Tape, Var, VarId};
use crate::tensor::Tensor;

struct Node {
    x: Option<VarId>,
    y: Option<VarId>,
}

/// x + y, m×n; in place of x if nobody else holds it.
///
/// # Errors
/// [`Error::Shape`] if the shapes differ.
pub fn add(tape: &mut Tape<'_>, x: Var, y: &Var) -> Result<Var, Error> {
    let entered = tape.enter("add", x.needs_grad() || y.needs_grad());
    same(entered.op, "rows", x.rows(), y.rows())?;
    same(entered.op, "features", x.cols(), y.cols())?;
    let node = Node { x: x.grad_id(), y: y.grad_id() };
    if tape.is_closing() {
        let absent = tape.memory().absent(x.rows(), x.cols());
        return Ok(tape.finish(entered, absent, node));
    }
    let mut z = x.into_tensor().into_unique(tape.memory());
    elementwise::add(z.slice_mut(), y.tensor().data());
    Ok(tape.finish(entered, z, node))
}

impl Backward for Node {
    fn backward(self: Box<Self>, dy: Tensor, pass: &mut Backprop<'_>) -> Result<(), Error> {
        pass.accumulate(self.x, dy.clone());
        pass.accumulate(self.y, dy);
        Ok(())
    }
}
