//! Values that flow through a model, dense or known as factors.

use std::cell::OnceCell;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::saved::SavedRef;
use crate::tensor::{Memory, Tensor};

/// Identity of a value on a tape.
///
/// Unique in the process, so a value of one tape is never taken for one of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct VarId(u64);

impl VarId {
    pub(super) fn fresh() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        VarId(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// A value that flows through the model.
#[derive(Debug, Clone)]
pub struct Var {
    id: VarId,
    value: Value,
    needs_grad: bool,
}

#[derive(Debug, Clone)]
enum Value {
    Dense(Tensor),
    /// Known as factors; multiplied out for the first op that needs elements.
    Factored {
        factors: Factors,
        dense: OnceCell<Tensor>,
        memory: Memory,
    },
}

/// X = U·V with U m×k and V k×n, and what it was made from.
#[derive(Debug, Clone)]
pub(crate) struct Factors {
    pub u: Tensor,
    pub v: Tensor,
    pub saved: SavedRef,
}

impl Var {
    /// A new value of these numbers.
    pub(super) fn dense(tensor: Tensor, needs_grad: bool) -> Self {
        Self { id: VarId::fresh(), value: Value::Dense(tensor), needs_grad }
    }
    /// A new value, known as factors.
    pub(super) fn factored(factors: Factors, needs_grad: bool, memory: &Memory) -> Self {
        let value = Value::Factored { factors, dense: OnceCell::new(), memory: memory.clone() };
        Self { id: VarId::fresh(), value, needs_grad }
    }
    /// Its identity on its tape.
    pub fn id(&self) -> VarId {
        self.id
    }
    /// The numbers.
    pub fn tensor(&self) -> &Tensor {
        match &self.value {
            Value::Dense(tensor) => tensor,
            Value::Factored { factors, dense, memory } => dense.get_or_init(|| factors.saved.to_dense(memory)),
        }
    }
    /// m.
    pub fn rows(&self) -> usize {
        match &self.value {
            Value::Dense(tensor) => tensor.rows(),
            Value::Factored { factors, .. } => factors.u.rows(),
        }
    }
    /// n.
    pub fn cols(&self) -> usize {
        match &self.value {
            Value::Dense(tensor) => tensor.cols(),
            Value::Factored { factors, .. } => factors.v.cols(),
        }
    }
    /// Its factors, if it is known as such.
    pub(crate) fn factors(&self) -> Option<&Factors> {
        match &self.value {
            Value::Dense(_) => None,
            Value::Factored { factors, .. } => Some(factors),
        }
    }
    /// Whether something trained lies above it.
    pub fn needs_grad(&self) -> bool {
        self.needs_grad
    }
    /// Its identity, if a gradient is wanted for it.
    pub(crate) fn grad_id(&self) -> Option<VarId> {
        self.needs_grad.then_some(self.id)
    }
    pub(crate) fn into_tensor(self) -> Tensor {
        match self.value {
            Value::Dense(tensor) => tensor,
            Value::Factored { .. } => self.tensor().clone(),
        }
    }
}
