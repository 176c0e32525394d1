//! Parameters: trained ones with an identity and gradients, frozen ones without either.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use loract_linalg::Accum;

use crate::frozen::Frozen;
use crate::kernels;
use crate::ledger::Category;
use crate::tensor::{Memory, Tensor};

/// Identity of a parameter within the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ParamId(u64);

/// A trained parameter.
#[derive(Debug)]
pub struct Param {
    id: ParamId,
    name: String,
    value: Tensor,
}

impl Param {
    /// A rows×cols parameter with the given numbers.
    ///
    /// # Panics
    /// If there are not rows·cols of them.
    pub fn new(memory: &Memory, name: impl Into<String>, rows: usize, cols: usize, numbers: Vec<f32>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let value = memory.tensor(rows, cols, numbers, Category::Trainable);
        Self { id: ParamId(NEXT.fetch_add(1, Ordering::Relaxed)), name: name.into(), value }
    }
    /// Identity.
    pub fn id(&self) -> ParamId {
        self.id
    }
    /// Name, as in the checkpoint.
    pub fn name(&self) -> &str {
        &self.name
    }
    /// The numbers.
    pub fn value(&self) -> &Tensor {
        &self.value
    }
    /// The numbers, to update.
    pub fn value_mut(&mut self) -> &mut Tensor {
        &mut self.value
    }
}

/// A matrix of a model (output features × input features): frozen in its stored form, or trained.
#[derive(Debug)]
pub enum Weight {
    /// Not trained; has no gradient.
    Frozen(Frozen),
    /// Trained.
    Trained(Param),
}

impl Weight {
    /// Output features.
    pub fn rows(&self) -> usize {
        match self {
            Weight::Frozen(w) => w.rows(),
            Weight::Trained(p) => p.value().rows(),
        }
    }
    /// Input features.
    pub fn cols(&self) -> usize {
        match self {
            Weight::Frozen(w) => w.cols(),
            Weight::Trained(p) => p.value().cols(),
        }
    }
    /// The numbers in f32: those of a trained weight themselves, of a frozen one a copy.
    pub(crate) fn in_f32(&self, memory: &Memory) -> Tensor {
        match self {
            Weight::Trained(param) => param.value().clone(),
            Weight::Frozen(frozen) => {
                let mut numbers = memory.stale(frozen.rows(), frozen.cols(), Category::Transient);
                if !memory.is_hollow() {
                    frozen.widen_rows(0..frozen.rows(), numbers.slice_mut());
                }
                numbers
            }
        }
    }
    /// The length of each row.
    pub fn row_norms(&self, memory: &Memory) -> Vec<f32> {
        let mut norms = vec![0.0; self.rows()];
        kernels::matmul::for_rows(self, memory, |range, rows| {
            kernels::elementwise::row_dots(rows, rows, self.cols(), &mut norms[range]);
        });
        norms.iter_mut().for_each(|norm| *norm = norm.sqrt());
        norms
    }
    /// The parameter, if trained.
    pub fn trained(&self) -> Option<&Param> {
        match self {
            Weight::Frozen(_) => None,
            Weight::Trained(p) => Some(p),
        }
    }
    /// The parameter, if trained, to update.
    pub fn trained_mut(&mut self) -> Option<&mut Param> {
        match self {
            Weight::Frozen(_) => None,
            Weight::Trained(p) => Some(p),
        }
    }
}

/// Numbers of a model in f32 (a norm's weight or a bias, 1×n; A of a LoRA pair, r×n): frozen or trained.
#[derive(Debug)]
pub enum Values {
    /// Not trained; has no gradient.
    Frozen(Tensor),
    /// Trained.
    Trained(Param),
}

impl Values {
    /// A frozen vector, 1×n, of the given numbers.
    pub fn frozen(memory: &Memory, numbers: Vec<f32>) -> Self {
        Values::Frozen(memory.tensor(1, numbers.len(), numbers, Category::FrozenWeights))
    }
    /// The numbers.
    pub fn value(&self) -> &Tensor {
        match self {
            Values::Frozen(t) => t,
            Values::Trained(p) => p.value(),
        }
    }
    /// The parameter, if trained.
    pub fn trained(&self) -> Option<&Param> {
        match self {
            Values::Frozen(_) => None,
            Values::Trained(p) => Some(p),
        }
    }
    /// Leaves the numbers as they are from now on.
    pub fn freeze(&mut self) {
        if let Values::Trained(param) = self {
            param.value.set_category(Category::FrozenWeights);
            *self = Values::Frozen(param.value.clone());
        }
    }
    /// The parameter, if trained, to update.
    pub fn trained_mut(&mut self) -> Option<&mut Param> {
        match self {
            Values::Frozen(_) => None,
            Values::Trained(p) => Some(p),
        }
    }
}

/// Gradients of trained parameters, summed over the micro-batches of an optimiser step.
#[derive(Debug, Default)]
pub struct Grads {
    by_param: HashMap<ParamId, Tensor>,
}

impl Grads {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The gradient of a parameter; `None` if nothing reached it.
    pub fn get(&self, param: &Param) -> Option<&Tensor> {
        self.by_param.get(&param.id())
    }

    /// Where to put a contribution, and whether to add it or to write it.
    pub(crate) fn slot(&mut self, memory: &Memory, param: &Param) -> (&mut Tensor, Accum) {
        let mut accum = Accum::Add;
        let value = param.value();
        let slot = self.by_param.entry(param.id()).or_insert_with(|| {
            accum = Accum::Replace;
            memory.stale(value.rows(), value.cols(), Category::Gradients)
        });
        (slot, accum)
    }

    /// A gradient that [`Grads::slot`] has been asked for before.
    pub(crate) fn started(&mut self, param: ParamId) -> Option<&mut Tensor> {
        self.by_param.get_mut(&param)
    }

    /// The numbers of a gradient, zeros at first, to add to.
    pub(crate) fn zeroed(&mut self, memory: &Memory, param: &Param) -> &mut [f32] {
        let (slot, accum) = self.slot(memory, param);
        let numbers = slot.slice_mut();
        if accum == Accum::Replace {
            numbers.fill(0.0);
        }
        numbers
    }

    /// Adds `contribution`, of the parameter's shape, times `scale`.
    pub(crate) fn add(&mut self, memory: &Memory, param: &Param, contribution: &[f32], scale: f32) {
        kernels::elementwise::add_scaled(self.zeroed(memory, param), contribution, scale);
    }

    /// √Σg² over all gradients, in f64, parameters in the order of their making.
    pub fn norm(&self) -> f64 {
        let mut ids: Vec<_> = self.by_param.keys().collect();
        ids.sort_unstable();
        ids.iter().map(|id| kernels::elementwise::squared_norm(self.by_param[id].data())).sum::<f64>().sqrt()
    }

    /// Multiplies every gradient.
    pub fn scale(&mut self, factor: f32) {
        self.by_param.values_mut().for_each(|g| kernels::elementwise::scale(g.slice_mut(), factor));
    }
}
