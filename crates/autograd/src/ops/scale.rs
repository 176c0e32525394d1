//! y = factor·x (m×n), in place: the multipliers that some families put on embeddings and residual branches. Saves nothing;
//! dx = factor·dy.

use crate::error::Error;
use crate::kernels::elementwise;
use crate::tape::{Backprop, Backward, Tape, Var, VarId};
use crate::tensor::Tensor;

struct Node {
    x: Option<VarId>,
    factor: f32,
}

/// factor·x, m×n; in place of x if nobody else holds it. A factor of 1 is no op at all.
///
/// # Errors
/// None: every factor fits every x.
pub fn scale(tape: &mut Tape<'_>, x: Var, factor: f32) -> Result<Var, Error> {
    if factor == 1.0 {
        return Ok(x);
    }
    let entered = tape.enter("scale", x.needs_grad());
    let node = Node { x: x.grad_id(), factor };
    let mut y = x.into_tensor().into_unique(tape.memory());
    elementwise::scale(y.slice_mut(), factor);
    Ok(tape.finish(entered, y, node))
}

impl Backward for Node {
    fn backward(self: Box<Self>, dy: Tensor, pass: &mut Backprop<'_>) -> Result<(), Error> {
        let mut dx = dy.into_unique(&pass.memory);
        elementwise::scale(dx.slice_mut(), self.factor);
        pass.accumulate(self.x, dx);
        Ok(())
    }
}
