//! How close the gradients of a setting are to the exact ones, on one step's data: fidelity, not outcome.
//!
//! The exact gradient is computed once, each layer recomputed from its exact input, so an audit needs little more memory
//! than the setting itself. Two vectors g (exact) and h: cosine ⟨g, h⟩/(‖g‖·‖h‖), relative error ‖g − h‖/‖g‖, ratio of
//! norms ‖h‖/‖g‖; sums in f64.

use loract_autograd::{Grads, SiteError};
use loract_models::Model;
use serde::Serialize;
use serde_json::{Value, json};

use crate::error::Error;
use crate::memory::MemoryReport;
use crate::trainer::{Gradient, Trainer};

/// How close a gradient is to the exact one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Fidelity {
    /// Cosine of the angle between them; 0 if one of them is zero.
    pub cosine: f64,
    /// ‖g − h‖/‖g‖.
    pub relative_error: f64,
    /// ‖h‖/‖g‖.
    pub norm_ratio: f64,
}

/// Of one parameter.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ParamFidelity {
    /// Its name in the checkpoint.
    pub param: String,
    /// How close its gradient is.
    #[serde(flatten)]
    pub fidelity: Fidelity,
}

/// What an audit found.
#[derive(Debug, Clone)]
pub struct Audit {
    /// All gradients together.
    pub whole: Fidelity,
    /// Each by itself, in the order of the checkpoint.
    pub params: Vec<ParamFidelity>,
    /// How closely each compressed tensor was kept.
    pub sites: Vec<SiteError>,
    /// What the setting took.
    pub memory: MemoryReport,
}

impl Audit {
    /// As JSON: fidelity of the whole and of each parameter, relative error of each compressed tensor.
    pub fn to_json(&self) -> Value {
        let sites: Vec<Value> = self
            .sites
            .iter()
            .map(|e| json!({ "site": e.site.name(), "layer": e.layer, "relative_error": e.relative }))
            .collect();
        json!({
            "whole": self.whole,
            "propagating_error": propagating_error(&self.sites),
            "saved_bytes": self.memory.saved_bytes,
            "peak_activation_bytes": self.memory.peak.activation_bytes,
            "params": self.params,
            "sites": sites,
        })
    }
}

/// The exact gradients of some batches.
#[derive(Debug)]
pub struct Reference {
    exact: Grads,
    /// The mean loss.
    pub loss: f64,
}

/// Sums over pairs of numbers.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    exact: f64,
    other: f64,
    cross: f64,
    difference: f64,
}

impl Sums {
    fn add(&mut self, exact: &[f32], other: &[f32]) {
        for (&g, &h) in exact.iter().zip(other) {
            let (g, h) = (f64::from(g), f64::from(h));
            self.exact += g * g;
            self.other += h * h;
            self.cross += g * h;
            self.difference += (g - h) * (g - h);
        }
    }

    fn fidelity(self) -> Fidelity {
        let ratio = |a: f64, b: f64| if b > 0.0 { a / b } else { 0.0 };
        Fidelity {
            cosine: ratio(self.cross, (self.exact * self.other).sqrt()),
            relative_error: ratio(self.difference, self.exact).sqrt(),
            norm_ratio: ratio(self.other, self.exact).sqrt(),
        }
    }
}

impl Reference {
    /// Runs `batches` exactly.
    ///
    /// # Errors
    /// Those of the step.
    pub fn new<M: Model>(trainer: &Trainer<M>, batches: &[M::Batch]) -> Result<Self, Error> {
        let found = trainer.exact_gradient(batches)?;
        Ok(Self { exact: found.grads, loss: found.loss })
    }

    /// Compares `found`, a gradient of the same batches.
    pub fn audit<M: Model>(&self, trainer: &Trainer<M>, found: &Gradient) -> Audit {
        let mut whole = Sums::default();
        let mut params = Vec::new();
        for param in trainer.model().params() {
            let (Some(exact), Some(other)) = (self.exact.get(param), found.grads.get(param)) else { continue };
            let (exact, other) = (exact.to_vec(), other.to_vec());
            let mut own = Sums::default();
            own.add(&exact, &other);
            whole.add(&exact, &other);
            params.push(ParamFidelity { param: param.name().to_owned(), fidelity: own.fidelity() });
        }
        Audit { whole: whole.fidelity(), params, sites: found.errors.clone(), memory: found.memory.clone() }
    }
}

/// Root mean square of the relative errors at sites where an error propagates; `None` if nothing is compressed there. A
/// sign of fidelity that costs nothing.
pub fn propagating_error(errors: &[SiteError]) -> Option<f64> {
    let squares: Vec<f64> =
        errors.iter().filter(|e| e.site.propagates()).map(|e| f64::from(e.relative).powi(2)).collect();
    (!squares.is_empty()).then(|| (squares.iter().sum::<f64>() / squares.len() as f64).sqrt())
}
