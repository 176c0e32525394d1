//! A backward pass under way: gradients of values and of parameters so far.

use std::collections::HashMap;

use super::VarId;
use crate::error::Error;
use crate::kernels;
use crate::ledger::Category;
use crate::param::Grads;
use crate::tensor::{Memory, Tensor};

/// The gradient side of an op.
pub(crate) trait Backward {
    /// Passes `dy`, the gradient of the op's output, on to its inputs and parameters.
    fn backward(self: Box<Self>, dy: Tensor, pass: &mut Backprop<'_>) -> Result<(), Error>;
}

/// Gradients of a tape's inputs.
#[derive(Debug, Default)]
pub struct InputGrads(pub(super) HashMap<VarId, Tensor>);

impl InputGrads {
    /// The gradient of `input`, if one reached it.
    pub fn take(&mut self, input: VarId) -> Option<Tensor> {
        self.0.remove(&input)
    }
}

/// A backward pass under way: gradients of values so far, and of parameters.
pub(crate) struct Backprop<'a> {
    /// Where tensors come from.
    pub memory: Memory,
    pub(super) values: HashMap<VarId, Tensor>,
    /// Gradients of parameters.
    pub params: &'a mut Grads,
}

impl Backprop<'_> {
    /// A transient tensor whose numbers are unspecified.
    pub(crate) fn stale(&self, rows: usize, cols: usize) -> Tensor {
        self.memory.stale(rows, cols, Category::Transient)
    }

    /// Adds `gradient` to that of the value `id`; nothing happens if none is wanted.
    pub(crate) fn accumulate(&mut self, id: Option<VarId>, gradient: Tensor) {
        let Some(id) = id else { return };
        let sum = match self.values.remove(&id) {
            None => gradient,
            Some(first) => {
                let mut sum = first.into_unique(&self.memory);
                kernels::elementwise::add(sum.slice_mut(), gradient.data());
                sum
            }
        };
        self.values.insert(id, sum);
    }

    /// Takes the gradient of `id` so far, to add to in place; give it back with [`Backprop::accumulate`].
    pub(crate) fn take_partial(&mut self, id: Option<VarId>) -> Option<Tensor> {
        self.values.remove(&id?).map(|tensor| tensor.into_unique(&self.memory))
    }

    /// As [`Backprop::take_partial`], with zeros (rows×cols) if there is none yet.
    pub(crate) fn partial(&mut self, id: Option<VarId>, rows: usize, cols: usize) -> Tensor {
        self.take_partial(id).unwrap_or_else(|| self.memory.zeros(rows, cols, Category::Transient))
    }
}
