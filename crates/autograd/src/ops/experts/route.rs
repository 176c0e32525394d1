//! Which K of E experts each row of logits (m×E) chooses, and with what weights: a softmax over all experts, or over the
//! chosen.
//!
//! Saves the softmax (m×E or m×K) exactly, at `row_stats`: dlogits = p∘(dp − Σ p∘dp), dp being dw in the chosen columns. In a
//! segment that runs again, choice and softmax are those of its first run, though its input may only be close to the first.

use std::sync::Arc;

use crate::error::{Error, same};
use crate::kernels::route as kernel;
use crate::ledger::Category;
use crate::routing::{Choices, Decision};
use crate::saved::{SavedKind, SavedRef, Site};
use crate::tape::{Backprop, Backward, Tape, Var, VarId};
use crate::tensor::Tensor;

/// What a row's weights are shares of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shares {
    /// The softmax over all experts, so that a row's weights add up to less than 1 (OLMoE).
    OfAll,
    /// The softmax over the chosen experts: the former divided by its sum (Mixtral, Qwen3-MoE).
    OfChosen,
}

/// What [`route`] decided.
#[derive(Debug)]
pub struct Routed {
    /// Of each row's choices, m×K, the likeliest first.
    pub weights: Var,
    /// Who chose whom.
    pub choices: Arc<Choices>,
}

struct Node {
    logits: Option<VarId>,
    experts: usize,
    choices: Arc<Choices>,
    shares: Shares,
    softmax: SavedRef,
}

/// The `top_k` experts of each row of `logits` (m×E), of equally likely ones the first, and their weights. In a hollow memory,
/// where there are no logits, the experts are chosen in turn.
///
/// # Errors
/// [`Error::Shape`] if there are not that many experts.
pub fn route(tape: &mut Tape<'_>, logits: &Var, top_k: usize, shares: Shares) -> Result<Routed, Error> {
    let entered = tape.enter("route", logits.needs_grad());
    let (m, experts) = (logits.rows(), logits.cols());
    if top_k == 0 || top_k > experts {
        let what = "experts of a row against those there";
        return Err(Error::Shape { op: entered.op, what, left: top_k, right: experts });
    }
    let decision = match tape.recall_decision() {
        Some(decision) => decision,
        None => {
            let (choices, softmax) = decide(tape, logits.tensor(), top_k, shares);
            if !tape.is_training() {
                let weights = weights(tape, &softmax, &choices, shares);
                return Ok(Routed { weights: tape.value(weights, false), choices });
            }
            let softmax = tape.save_exact(Site::RowStats, &softmax);
            let decision = Decision { choices, shares: softmax };
            tape.note_decision(&decision);
            decision
        }
    };
    let Decision { choices, shares: softmax } = decision;
    same(entered.op, "rows against those of the first run", m, choices.rows())?;
    same(entered.op, "experts of a row against those of the first run", top_k, choices.top_k())?;
    let numbers = softmax.to_dense(tape.memory());
    let weights = weights(tape, &numbers, &choices, shares);
    let weights = if entered.record {
        let node = Node { logits: logits.grad_id(), experts, choices: Arc::clone(&choices), shares, softmax };
        tape.record(entered.op, weights, node)
    } else {
        tape.value(weights, entered.needs_grad)
    };
    Ok(Routed { weights, choices })
}

/// The choice, and the softmax that the weights are from.
fn decide(tape: &Tape<'_>, logits: &Tensor, top_k: usize, shares: Shares) -> (Arc<Choices>, Tensor) {
    let (memory, m, experts) = (tape.memory(), logits.rows(), logits.cols());
    let chosen = match memory.is_hollow() {
        true => (0..m * top_k).map(|place| (place % experts) as u32).collect(),
        false => kernel::largest(logits.data(), experts, top_k),
    };
    let cols = match shares {
        Shares::OfAll => experts,
        Shares::OfChosen => top_k,
    };
    let mut softmax = memory.stale(m, cols, Category::Transient);
    if !memory.is_hollow() {
        match shares {
            Shares::OfAll => softmax.slice_mut().copy_from_slice(logits.data()),
            Shares::OfChosen => kernel::pick(logits.data(), experts, &chosen, top_k, softmax.slice_mut()),
        }
        kernel::softmax(softmax.slice_mut(), cols);
    }
    let category = match tape.is_training() {
        true => Category::Saved(Site::RowStats, SavedKind::Exact),
        false => Category::Transient,
    };
    (Arc::new(Choices::new(&chosen, top_k, experts, category, memory)), softmax)
}

/// m×K.
fn weights(tape: &Tape<'_>, softmax: &Tensor, choices: &Choices, shares: Shares) -> Tensor {
    match shares {
        Shares::OfChosen => softmax.clone(),
        Shares::OfAll => {
            let memory = tape.memory();
            let mut weights = memory.stale(softmax.rows(), choices.top_k(), Category::Transient);
            if !memory.is_hollow() {
                let (cols, chosen) = (softmax.cols(), choices.chosen());
                kernel::pick(softmax.data(), cols, &chosen, choices.top_k(), weights.slice_mut());
            }
            weights
        }
    }
}

impl Backward for Node {
    fn backward(self: Box<Self>, dy: Tensor, pass: &mut Backprop<'_>) -> Result<(), Error> {
        let memory = pass.memory.clone();
        let softmax = self.softmax.to_dense(&memory);
        let (chosen, top_k) = (self.choices.chosen(), self.choices.top_k());
        let mut dlogits = memory.zeros(dy.rows(), self.experts, Category::Transient);
        match self.shares {
            Shares::OfChosen => {
                let mut among_chosen = dy.into_unique(&memory);
                if !memory.is_hollow() {
                    kernel::softmax_backward(softmax.data(), among_chosen.slice_mut(), top_k);
                    kernel::spread(among_chosen.data(), self.experts, &chosen, top_k, dlogits.slice_mut());
                }
            }
            Shares::OfAll if !memory.is_hollow() => {
                kernel::spread(dy.data(), self.experts, &chosen, top_k, dlogits.slice_mut());
                kernel::softmax_backward(softmax.data(), dlogits.slice_mut(), self.experts);
            }
            Shares::OfAll => {}
        }
        pass.accumulate(self.logits, dlogits);
        Ok(())
    }
}
