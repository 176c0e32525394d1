//! The rows of one expert: taken from x, with their weights, and added to the sum of all experts.

use crate::error::{Error, same};
use crate::kernels::rows as kernel;
use crate::ledger::Category;
use crate::routing::Places;
use crate::saved::{RowMap, SavedRef, Site};
use crate::tape::{Backprop, Backward, Tape, Var, VarId};
use crate::tensor::Tensor;

struct Gather {
    x: Option<VarId>,
    places: Places,
}

/// What is kept of x for the experts that need their rows of it, at all of `sites`.
pub(super) fn keep(tape: &mut Tape<'_>, x: &Var, sites: &[Site]) -> Result<Option<SavedRef>, Error> {
    if !tape.is_recording() || sites.is_empty() {
        return Ok(None);
    }
    match x.factors() {
        Some(factors) => Ok(Some(factors.saved.clone())),
        None => tape.save(sites, x.tensor()).map(Some),
    }
}

/// The expert's rows of x (m×C), m_e×C. Who saves them gets what is `kept` of x.
pub(super) fn gather(tape: &mut Tape<'_>, x: &Var, places: &Places, kept: Option<&SavedRef>) -> Result<Var, Error> {
    let entered = tape.enter("gather", x.needs_grad());
    let (memory, cols) = (tape.memory().clone(), x.cols());
    let mut rows = memory.stale(places.len(), cols, Category::Transient);
    if !memory.is_hollow() {
        kernel::pick(x.tensor().data(), cols, places.all(), places.choices.top_k(), rows.slice_mut());
    }
    if let Some(kept) = kept {
        tape.share(&rows, &kept.with_rows(RowMap::Picked(places.clone())));
    }
    Ok(tape.finish(entered, rows, Gather { x: x.grad_id(), places: places.clone() }))
}

impl Backward for Gather {
    fn backward(self: Box<Self>, dy: Tensor, pass: &mut Backprop<'_>) -> Result<(), Error> {
        let (places, choices) = (self.places.all(), &self.places.choices);
        let mut dx = pass.partial(self.x, choices.rows(), dy.cols());
        if !pass.memory.is_hollow() {
            kernel::add(dy.data(), dy.cols(), places, choices.top_k(), dx.slice_mut());
        }
        pass.accumulate(self.x, dx);
        Ok(())
    }
}

struct PickWeights {
    weights: Option<VarId>,
    places: Places,
}

/// The expert's weights, m_e×1, of all (m×K).
pub(super) fn pick_weights(tape: &mut Tape<'_>, weights: &Var, places: &Places) -> Result<Var, Error> {
    let entered = tape.enter("pick_weights", weights.needs_grad());
    same(entered.op, "weights against choices", weights.cols(), places.choices.top_k())?;
    let memory = tape.memory().clone();
    let mut picked = memory.stale(places.len(), 1, Category::Transient);
    if !memory.is_hollow() {
        // Places number the weights.
        kernel::pick(weights.tensor().data(), 1, places.all(), 1, picked.slice_mut());
    }
    Ok(tape.finish(entered, picked, PickWeights { weights: weights.grad_id(), places: places.clone() }))
}

impl Backward for PickWeights {
    fn backward(self: Box<Self>, dy: Tensor, pass: &mut Backprop<'_>) -> Result<(), Error> {
        let choices = &self.places.choices;
        let mut dw = pass.partial(self.weights, choices.rows(), choices.top_k());
        if !pass.memory.is_hollow() {
            kernel::add(dy.data(), 1, self.places.all(), 1, dw.slice_mut());
        }
        pass.accumulate(self.weights, dw);
        Ok(())
    }
}

struct AddTo {
    sum: Option<VarId>,
    y: Option<VarId>,
    places: Places,
}

/// y (m_e×C) added to the expert's rows of the sum so far (m×C), in place; without one, to zeros.
pub(super) fn add_to(tape: &mut Tape<'_>, sum: Option<Var>, y: Var, places: &Places) -> Result<Var, Error> {
    let needs_grad = y.needs_grad() || sum.as_ref().is_some_and(Var::needs_grad);
    let entered = tape.enter("add_rows", needs_grad);
    let (memory, m, cols) = (tape.memory().clone(), places.choices.rows(), y.cols());
    same(entered.op, "rows of an expert's output against its input", y.rows(), places.len())?;
    if let Some(sum) = &sum {
        same(entered.op, "features of experts", cols, sum.cols())?;
    }
    let node = AddTo { sum: sum.as_ref().and_then(Var::grad_id), y: y.grad_id(), places: places.clone() };
    if tape.is_closing() {
        let absent = memory.absent(m, cols);
        return Ok(tape.finish(entered, absent, node));
    }
    let mut out = match sum {
        Some(sum) => sum.into_tensor().into_unique(&memory),
        None => memory.zeros(m, cols, Category::Transient),
    };
    if !memory.is_hollow() {
        kernel::add(y.tensor().data(), cols, places.all(), places.choices.top_k(), out.slice_mut());
    }
    Ok(tape.finish(entered, out, node))
}

impl Backward for AddTo {
    fn backward(self: Box<Self>, dy: Tensor, pass: &mut Backprop<'_>) -> Result<(), Error> {
        if self.y.is_some() {
            let mut rows = pass.stale(self.places.len(), dy.cols());
            if !pass.memory.is_hollow() {
                let choices = &self.places.choices;
                kernel::pick(dy.data(), dy.cols(), self.places.all(), choices.top_k(), rows.slice_mut());
            }
            pass.accumulate(self.y, rows);
        }
        pass.accumulate(self.sum, dy);
        Ok(())
    }
}
