//! h = f(gate)·up, or h = f(x) (m×F each), f being an [`Activation`]; with SiLU the first is SwiGLU, with GELU GeGLU.
//!
//! Saves gate and up, or x, at `act_fn`; backward reads them a tile of rows at a time. From the same h can be computed
//! again, if nothing is to be kept of the input of the projection that follows: backward makes it beside its own.

use std::ops::Range;

use crate::error::{Error, same};
use crate::kernels::activation::{self as kernel, Activation};
use crate::ledger::Category;
use crate::saved::{SavedRef, Site, left_mul_made};
use crate::tape::{Backprop, Backward, Tape, Var, VarId};
use crate::tensor::Tensor;

struct GatedNode {
    activation: Activation,
    ids: [Option<VarId>; 2],
    gate: SavedRef,
    up: SavedRef,
}

struct Node {
    activation: Activation,
    id: Option<VarId>,
    x: SavedRef,
}

/// f(gate)·up, m×F.
///
/// # Errors
/// [`Error::Shape`] if the shapes differ; [`Error::NonFinite`] if an input is to be compressed and is not finite.
pub fn gated(tape: &mut Tape<'_>, activation: Activation, gate: Var, up: Var) -> Result<Var, Error> {
    let entered = tape.enter("gated", gate.needs_grad() || up.needs_grad());
    let (m, n) = (gate.tensor().rows(), gate.tensor().cols());
    same(entered.op, "rows of gate and up", m, up.tensor().rows())?;
    same(entered.op, "features of gate and up", n, up.tensor().cols())?;
    let mut h = tape.memory().stale(m, n, Category::Transient);
    kernel::gated_forward(activation, gate.tensor().data(), up.tensor().data(), h.slice_mut());
    if !entered.record {
        return Ok(tape.value(h, entered.needs_grad));
    }
    let ids = [gate.grad_id(), up.grad_id()];
    let saved_gate = tape.save(&[Site::ActFn], gate.tensor())?;
    drop(gate);
    let saved_up = tape.save(&[Site::ActFn], up.tensor())?;
    drop(up);
    share_output(tape, &h, SavedRef::activated(activation, &saved_gate, Some(&saved_up)));
    Ok(tape.record(entered.op, h, GatedNode { activation, ids, gate: saved_gate, up: saved_up }))
}

/// f(x), m×F: an MLP without a gate.
///
/// # Errors
/// [`Error::NonFinite`] if x is to be compressed and is not finite.
pub fn activate(tape: &mut Tape<'_>, activation: Activation, x: Var) -> Result<Var, Error> {
    let entered = tape.enter("activate", x.needs_grad());
    let mut h = tape.memory().stale(x.rows(), x.cols(), Category::Transient);
    kernel::forward(activation, x.tensor().data(), h.slice_mut());
    if !entered.record {
        return Ok(tape.value(h, entered.needs_grad));
    }
    let id = x.grad_id();
    let saved = tape.save(&[Site::ActFn], x.tensor())?;
    drop(x);
    share_output(tape, &h, SavedRef::activated(activation, &saved, None));
    Ok(tape.record(entered.op, h, Node { activation, id, x: saved }))
}

/// Whoever saves h gets `computed`, if the policy keeps nothing of it.
fn share_output(tape: &mut Tape<'_>, h: &Tensor, computed: Option<SavedRef>) {
    if tape.is_computed_again(Site::MlpOut)
        && let Some(computed) = computed
    {
        tape.share(h, &computed);
    }
}

impl Backward for GatedNode {
    fn adds_products(&self) -> bool {
        true
    }

    fn backward(self: Box<Self>, dy: Tensor, pass: &mut Backprop<'_>) -> Result<(), Error> {
        let h = SavedRef::activated(self.activation, &self.gate, Some(&self.up));
        let waits = pass.waits_for(h.as_ref());
        let mut dgate = pass.stale(dy.rows(), dy.cols());
        let mut dup = dy.into_unique(&pass.memory);
        let inputs = [&self.gate.tiles(), &self.up.tiles()];
        backward_with_products(pass, waits, [&mut dgate, &mut dup], |first, [dgate, dup], h| {
            kernel::gated_backward(self.activation, inputs, first, [dgate, dup, h]);
        });
        pass.accumulate(self.ids[0], dgate);
        pass.accumulate(self.ids[1], dup);
        Ok(())
    }
}

impl Backward for Node {
    fn adds_products(&self) -> bool {
        true
    }

    fn backward(self: Box<Self>, dy: Tensor, pass: &mut Backprop<'_>) -> Result<(), Error> {
        let h = SavedRef::activated(self.activation, &self.x, None);
        let waits = pass.waits_for(h.as_ref());
        let (mut dx, x) = (dy.into_unique(&pass.memory), &self.x.tiles());
        backward_with_products(pass, waits, [&mut dx], |first, [dx], h| {
            kernel::backward(self.activation, x, first, dx, h);
        });
        pass.accumulate(self.id, dx);
        Ok(())
    }
}

/// Makes gradients by `of`, which gets the first of some rows, these rows of them, and where h goes, or nothing. If products
/// wait for h, they are made from it on the way, so that it is not computed for them alone.
fn backward_with_products<const C: usize>(
    pass: &mut Backprop<'_>,
    waits: bool,
    mut gradients: [&mut Tensor; C],
    of: impl Fn(usize, [&mut [f32]; C], &mut [f32]),
) {
    let memory = pass.memory.clone();
    let [rows, cols] = [gradients[0].rows(), gradients[0].cols()];
    if waits {
        pass.make(|g, sums, accum| {
            let make = |range: Range<usize>, h: &mut [f32]| {
                let part = range.start * cols..range.end * cols;
                of(range.start, gradients.each_mut().map(|gradient| &mut gradient.slice_mut()[part.clone()]), h);
            };
            left_mul_made(rows, cols, make, g, sums, accum, &memory);
        });
    } else if !memory.is_hollow() {
        of(0, gradients.map(Tensor::slice_mut), &mut []);
    }
}
