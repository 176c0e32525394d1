//! h = silu(gate)·up (m×F each). Saves gate and up at `act_fn`; backward reads them a tile of rows at a time.

use crate::error::{Error, same};
use crate::kernels::swiglu as kernel;
use crate::ledger::Category;
use crate::saved::{SavedRef, Site};
use crate::tape::{Backprop, Backward, Tape, Var, VarId};
use crate::tensor::Tensor;

struct Node {
    ids: [Option<VarId>; 2],
    gate: SavedRef,
    up: SavedRef,
}

/// silu(gate)·up, m×F.
///
/// # Errors
/// [`Error::Shape`] if the shapes differ; [`Error::NonFinite`] if an input is to be compressed and is not finite.
pub fn swiglu(tape: &mut Tape<'_>, gate: Var, up: Var) -> Result<Var, Error> {
    let entered = tape.enter("swiglu", gate.needs_grad() || up.needs_grad());
    let (m, n) = (gate.tensor().rows(), gate.tensor().cols());
    same(entered.op, "rows of gate and up", m, up.tensor().rows())?;
    same(entered.op, "features of gate and up", n, up.tensor().cols())?;
    let mut h = tape.memory().stale(m, n, Category::Transient);
    kernel::forward(gate.tensor().data(), up.tensor().data(), h.slice_mut());
    if !entered.record {
        return Ok(tape.value(h, entered.needs_grad));
    }
    let ids = [gate.grad_id(), up.grad_id()];
    let saved_gate = tape.save(&[Site::ActFn], gate.tensor())?;
    drop(gate);
    let saved_up = tape.save(&[Site::ActFn], up.tensor())?;
    drop(up);
    if tape.is_computed_again(Site::MlpOut)
        && let Some(product) = SavedRef::swiglu(&saved_gate, &saved_up)
    {
        tape.share(&h, &product);
    }
    Ok(tape.record(entered.op, h, Node { ids, gate: saved_gate, up: saved_up }))
}

impl Backward for Node {
    fn backward(self: Box<Self>, dy: Tensor, pass: &mut Backprop<'_>) -> Result<(), Error> {
        let cols = dy.cols();
        let mut dgate = pass.stale(dy.rows(), cols);
        let mut dup = dy.into_unique(&pass.memory);
        kernel::backward(&self.gate.tiles(), &self.up.tiles(), cols, dgate.slice_mut(), dup.slice_mut());
        pass.accumulate(self.ids[0], dgate);
        pass.accumulate(self.ids[1], dup);
        Ok(())
    }
}
