//! A backward pass under way: gradients of values and of parameters so far.

use std::collections::HashMap;

use loract_linalg::{Accum, Precision};

use super::VarId;
use crate::error::Error;
use crate::kernels;
use crate::ledger::Category;
use crate::param::{Grads, Param, ParamId};
use crate::saved::SavedRef;
use crate::tensor::{Memory, Tensor};

/// The gradient side of an op.
pub(crate) trait Backward {
    /// Passes `dy`, the gradient of the op's output, on to its inputs and parameters.
    fn backward(self: Box<Self>, dy: Tensor, pass: &mut Backprop<'_>) -> Result<(), Error>;

    /// Whether products that wait ([`Backprop::add_product`]) may wait on while this runs, or are made by it.
    fn adds_products(&self) -> bool {
        false
    }
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
    /// Of products with weights.
    pub precision: Precision,
    pub(super) values: HashMap<VarId, Tensor>,
    /// Gradients of parameters.
    pub params: &'a mut Grads,
    waiting: Vec<Waiting>,
}

/// gᵀ·x (r×n) for a parameter, not computed yet.
struct Waiting {
    g: Tensor,
    x: SavedRef,
    param: ParamId,
    accum: Accum,
}

impl<'a> Backprop<'a> {
    /// Nothing has a gradient yet.
    pub(super) fn new(memory: &Memory, precision: Precision, params: &'a mut Grads) -> Self {
        Self { memory: memory.clone(), precision, values: HashMap::new(), params, waiting: Vec::new() }
    }

    /// Adds gᵀ·x to the gradient of `param` (r×n), for g m×r and x m×n. Products with the same x are made together, so
    /// that x, if it is kept in a smaller form, is read once: at the latest when [`Backprop::catch_up`] is called.
    pub(crate) fn add_product(&mut self, param: &Param, g: Tensor, x: SavedRef) {
        if self.waiting.first().is_some_and(|first| !first.x.is_same(&x)) {
            self.catch_up();
        }
        let (_, accum) = self.params.slot(&self.memory, param);
        self.waiting.push(Waiting { g, x, param: param.id(), accum });
    }

    /// Makes the products that wait.
    pub(super) fn catch_up(&mut self) {
        let memory = self.memory.clone();
        if let Some(first) = self.waiting.first() {
            let x = first.x.clone();
            self.make(|g, out, accum| x.left_mul(g, out, accum, &memory));
        }
    }

    /// Makes the products that wait, and lets go of what they are made of, unless they are with `x`: whether they are, and wait on.
    pub(crate) fn waits_for(&mut self, x: Option<&SavedRef>) -> bool {
        let waits = self.waiting.first().is_some_and(|first| x.is_some_and(|x| first.x.is_same(x)));
        if !waits {
            self.catch_up();
        }
        waits
    }

    /// Makes the products that wait, joined, by `multiply`, which gets g (m×p), and writes gᵀ·x (p×n) or adds it.
    pub(crate) fn make(&mut self, multiply: impl FnOnce(&Tensor, &mut Tensor, Accum)) {
        let waiting = std::mem::take(&mut self.waiting);
        if let [only] = waiting.as_slice() {
            if let Some(slot) = self.params.started(only.param) {
                multiply(&only.g, slot, only.accum);
            }
            return;
        }
        let cols = waiting.first().map_or(0, |first| first.x.cols());
        let widths: usize = waiting.iter().map(|w| w.g.cols()).sum();
        let mut joined = self.stale(waiting.first().map_or(0, |first| first.x.rows()), widths);
        let mut products = self.stale(joined.cols(), cols);
        if !self.memory.is_hollow() {
            let parts: Vec<_> = waiting.iter().map(|w| (w.g.data(), w.g.cols())).collect();
            kernels::elementwise::join_columns(&parts, joined.slice_mut());
        }
        multiply(&joined, &mut products, Accum::Replace);
        let mut rows = 0;
        for waiting in &waiting {
            let part = rows * cols..(rows + waiting.g.cols()) * cols;
            rows += waiting.g.cols();
            let hollow = self.memory.is_hollow();
            let Some(slot) = self.params.started(waiting.param).filter(|_| !hollow) else { continue };
            match waiting.accum {
                Accum::Replace => slot.slice_mut().copy_from_slice(&products.data()[part]),
                Accum::Add => kernels::elementwise::add(slot.slice_mut(), &products.data()[part]),
            }
        }
    }

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
