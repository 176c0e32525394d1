//! y = x·mask/(1−p) (m×n). Saves nothing: the mask's numbers are counter-based and made again in backward.

use loract_linalg::Rng;

use crate::error::Error;
use crate::kernels::elementwise;
use crate::tape::{Backprop, Backward, Tape, Var, VarId};
use crate::tensor::Tensor;

struct Node {
    x: Option<VarId>,
    probability: f32,
    stream: Rng,
}

/// Each element set to 0 with `probability`, the others divided by 1 − `probability`; the identity in evaluation.
/// `tag` tells this dropout from others of the same layer.
pub fn dropout(tape: &mut Tape<'_>, x: Var, probability: f32, tag: u64) -> Result<Var, Error> {
    if probability == 0.0 || !tape.is_training() {
        return Ok(x);
    }
    let entered = tape.enter("dropout", x.needs_grad());
    let node = Node { x: x.grad_id(), probability, stream: tape.stream(tag) };
    let mut y = x.into_tensor().into_unique(tape.memory());
    elementwise::dropout(y.slice_mut(), 0, probability, node.stream);
    Ok(tape.finish(entered, y, node))
}

impl Backward for Node {
    fn backward(self: Box<Self>, dy: Tensor, pass: &mut Backprop<'_>) -> Result<(), Error> {
        let mut dx = dy.into_unique(&pass.memory);
        elementwise::dropout(dx.slice_mut(), 0, self.probability, self.stream);
        pass.accumulate(self.x, dx);
        Ok(())
    }
}
