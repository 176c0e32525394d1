//! y = x cut to −limit..limit (m×n), in place: OLMo's `clip_qkv`. Saves one bit an element at `clamped`, whether |x| ≤ limit:
//! dx = dy there and 0 elsewhere.

use crate::error::Error;
use crate::kernels::clamp as kernel;
use crate::ledger::Category;
use crate::saved::{SavedRef, Site};
use crate::tape::{Backprop, Backward, Tape, Var, VarId};
use crate::tensor::Tensor;

struct Node {
    x: Option<VarId>,
    /// 32 elements to a number.
    inside: SavedRef,
}

/// Each element of x (m×n) cut to −limit..limit; in place of x if nobody else holds it. NaN stays NaN, and passes no
/// gradient.
///
/// # Errors
/// [`Error::NotPositive`] if `limit` is not above 0 and finite; [`Error::NoGradient`] behind [`Tape::closes`], where there is no x to
/// compare.
pub fn clamp(tape: &mut Tape<'_>, x: Var, limit: f32) -> Result<Var, Error> {
    let entered = tape.enter("clamp", x.needs_grad());
    Error::if_not_positive(entered.op, "limit", limit)?;
    if tape.is_closing() {
        return Err(Error::NoGradient { op: entered.op, what: "an output that is not computed" });
    }
    let (id, memory) = (x.grad_id(), tape.memory().clone());
    let mut y = x.into_tensor().into_unique(&memory);
    if !entered.record {
        kernel::clamp(y.slice_mut(), limit);
        return Ok(tape.value(y, entered.needs_grad));
    }
    let elements = y.rows() * y.cols();
    let mut inside = memory.stale(1, elements.div_ceil(kernel::WORD), Category::Transient);
    kernel::clamp_and_note(y.slice_mut(), limit, inside.slice_mut());
    let inside = tape.save_exact(Site::Clamped, &inside);
    Ok(tape.record(entered.op, y, Node { x: id, inside }))
}

impl Backward for Node {
    fn backward(self: Box<Self>, dy: Tensor, pass: &mut Backprop<'_>) -> Result<(), Error> {
        let mut dx = dy.into_unique(&pass.memory);
        kernel::keep_noted(dx.slice_mut(), self.inside.to_dense(&pass.memory).data());
        pass.accumulate(self.x, dx);
        Ok(())
    }
}
