//! AdamW with PyTorch's numbers (betas 0.9 and 0.999, eps 1e-8); moments in f32, counted in the ledger.

use std::collections::HashMap;

use loract_autograd::optimise::{AdamWStep, adamw};
use loract_autograd::{Category, Grads, Memory, Param, ParamId, Tensor};

/// The optimiser and its state.
#[derive(Debug)]
pub struct AdamW {
    memory: Memory,
    weight_decay: f32,
    steps: u64,
    moments: HashMap<ParamId, [Tensor; 2]>,
}

impl AdamW {
    /// No moments yet; they are made, as zeros, at the first step.
    pub fn new(memory: &Memory, weight_decay: f32) -> Self {
        Self { memory: memory.clone(), weight_decay, steps: 0, moments: HashMap::new() }
    }

    /// Both moments of a parameter; `None` before its first gradient.
    pub fn moments(&self, param: ParamId) -> Option<&[Tensor; 2]> {
        self.moments.get(&param)
    }

    /// Goes on after `steps` steps from their moments, which have the shapes of their parameters.
    pub fn resume(&mut self, steps: u64, moments: Vec<(ParamId, [Tensor; 2])>) {
        self.steps = steps;
        self.moments = moments.into_iter().collect();
    }

    /// Updates every parameter that has a gradient.
    pub fn step(&mut self, params: Vec<&mut Param>, grads: &Grads, lr: f64) {
        self.steps += 1;
        let numbers = AdamWStep {
            lr: lr as f32,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: self.weight_decay,
            step: self.steps,
        };
        for param in params {
            let Some(gradient) = grads.get(param) else { continue };
            let (rows, cols) = (gradient.rows(), gradient.cols());
            let zeros = || self.memory.zeros(rows, cols, Category::Optimiser);
            let [m, v] = self.moments.entry(param.id()).or_insert_with(|| [zeros(), zeros()]);
            let updated = adamw(param.value_mut(), gradient, m, v, &numbers);
            debug_assert!(updated, "a parameter is not shared between steps");
        }
    }
}
