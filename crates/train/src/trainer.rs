//! One optimiser step: micro-batches forward and backward, clip, update. The same for LoRA and for full fine-tuning,
//! which differ only in which parameters of the model are trained.

use std::time::Instant;

use loract_autograd::{
    Category, Grads, History, Memory, ParamId, Policy, Recompute, SiteError, StepKey, Tape, Tensor, Workers,
};
use loract_models::{Batch, Decoder, Model};
use serde::Serialize;

use crate::adamw::AdamW;
use crate::audit::{Audit, Reference, propagating_error};
use crate::error::Error;
use crate::memory::MemoryReport;
use crate::schedule::Schedule;

/// A model being trained.
#[derive(Debug)]
pub struct Trainer<M = Decoder> {
    model: M,
    memory: Memory,
    policy: Policy,
    history: History,
    workers: Option<Workers>,
    schedule: Schedule,
    optimiser: AdamW,
    max_grad_norm: f64,
    seed: u64,
    steps_done: u64,
}

/// What a step did; a line of `metrics.jsonl`.
#[derive(Debug, Clone, Serialize)]
pub struct StepReport {
    /// Counted from 1.
    pub step: u64,
    /// Mean negative log-likelihood over the step's trained tokens, before the update.
    pub loss: f64,
    /// Learning rate.
    pub lr: f64,
    /// Norm of the gradient of all trained parameters, before clipping.
    pub grad_norm: f64,
    /// Tokens that ran, trained or not.
    pub tokens: usize,
    /// Wall time of the whole step, the wait for its data and its audit included.
    pub seconds: f64,
    /// Bytes kept for backward when forward ends, the largest of the micro-batches.
    pub saved_bytes: usize,
    /// Peak of all tensor bytes less frozen weights, trained parameters, their gradients and optimiser state.
    pub peak_activation_bytes: usize,
    /// Root mean square of the relative errors of what is kept where errors propagate; absent if nothing is compressed
    /// there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub site_error: Option<f64>,
    /// Where the bytes were.
    #[serde(skip)]
    pub memory: MemoryReport,
}

/// A gradient, and how it was had.
#[derive(Debug)]
pub struct Gradient {
    /// Of every trained parameter.
    pub grads: Grads,
    /// Mean negative log-likelihood over all trained tokens.
    pub loss: f64,
    /// The ledger's account.
    pub memory: MemoryReport,
    /// How closely each compressed tensor was kept.
    pub errors: Vec<SiteError>,
}

impl<M: Model> Trainer<M> {
    /// `max_grad_norm` 0 = no clipping. `seed` names every random stream of the run.
    pub fn new(
        model: M,
        memory: &Memory,
        policy: Policy,
        schedule: Schedule,
        weight_decay: f64,
        max_grad_norm: f64,
        seed: u64,
    ) -> Self {
        let optimiser = AdamW::new(memory, weight_decay as f32);
        let (memory, history) = (memory.clone(), History::default());
        Self { model, memory, policy, history, workers: None, schedule, optimiser, max_grad_norm, seed, steps_done: 0 }
    }

    /// The model as it stands.
    pub fn model(&self) -> &M {
        &self.model
    }
    /// The model, at the end.
    pub fn into_model(self) -> M {
        self.model
    }
    /// From now on keeps activations as `policy` says, and forgets what compression remembered of earlier steps.
    pub fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
        self.history = History::default();
    }
    /// From now on compresses on threads of its own.
    pub fn set_workers(&mut self, workers: Option<Workers>) {
        self.workers = workers;
    }
    /// Its optimiser.
    pub fn optimiser(&self) -> &AdamW {
        &self.optimiser
    }
    /// What compression remembers from step to step.
    pub fn history(&self) -> &History {
        &self.history
    }
    /// Optimiser steps so far; names the random streams of the next.
    pub fn steps_done(&self) -> u64 {
        self.steps_done
    }
    /// Goes on after `steps` steps, with what the optimiser and compression had then; the model must be that of then.
    pub fn resume(&mut self, steps: u64, moments: Vec<(ParamId, [Tensor; 2])>, history: History) {
        self.steps_done = steps;
        self.optimiser.resume(steps, moments);
        self.history = history;
    }
    /// Where its tensors are counted.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The gradient of the mean loss over all trained tokens of `micro_batches`, without an update; and that loss.
    ///
    /// Losses are summed over tokens and divided once, so micro-batches of any sizes equal one large batch.
    ///
    /// # Errors
    /// Those of the ops; [`Error::NotFinite`] if the loss is.
    pub fn gradient(&mut self, micro_batches: &[M::Batch]) -> Result<Gradient, Error> {
        let mut history = std::mem::take(&mut self.history);
        let found = self.differentiate(micro_batches, &self.policy, &mut history);
        self.history = history;
        found
    }

    /// The same without any compression, each layer recomputed from its exact input: little memory, a third more time.
    ///
    /// # Errors
    /// Those of [`Trainer::gradient`].
    pub fn exact_gradient(&self, micro_batches: &[M::Batch]) -> Result<Gradient, Error> {
        let policy = Policy { recompute: Recompute::Layer, ..Policy::exact() };
        self.differentiate(micro_batches, &policy, &mut History::default())
    }

    fn differentiate(
        &self,
        micro_batches: &[M::Batch],
        policy: &Policy,
        history: &mut History,
    ) -> Result<Gradient, Error> {
        let trained: usize = micro_batches.iter().map(Batch::trained).sum();
        let weight = 1.0 / trained.max(1) as f32;
        let mut grads = Grads::new();
        let mut errors = Vec::new();
        let mut total = 0.0;
        let mut report = MemoryReport::begin(&self.memory);
        for (micro_batch, batch) in micro_batches.iter().enumerate() {
            let key = StepKey { seed: self.seed, step: self.steps_done, micro_batch: micro_batch as u64 };
            let mut tape = Tape::new(&self.memory, policy.clone(), key);
            tape.recall(history);
            if let Some(workers) = &self.workers {
                tape.compress_on(workers);
            }
            let output = self.model.loss(&mut tape, batch).map_err(|error| self.at_step(error.into()))?;
            tape.settle().map_err(|error| self.at_step(error.into()))?;
            let sum = output.nll.iter().map(|&x| f64::from(x)).sum::<f64>();
            if !sum.is_finite() {
                let lr = self.schedule.at(self.steps_done);
                return Err(Error::NotFinite { what: "loss", value: sum, step: self.steps_done + 1, lr });
            }
            total += sum;
            report.forward_ended(&self.memory);
            errors.extend_from_slice(tape.errors());
            let seed = self.memory.tensor(1, 1, vec![weight], Category::Transient);
            tape.backward(output.loss.id(), seed, &mut grads).map_err(|error| self.at_step(error.into()))?;
        }
        report.end(&self.memory);
        Ok(Gradient { grads, loss: total * f64::from(weight), memory: report, errors })
    }

    /// Names the step of an activation that is not finite.
    fn at_step(&self, error: Error) -> Error {
        match error {
            Error::Autograd(reason @ loract_autograd::Error::NonFinite { .. })
            | Error::Model(loract_models::Error::Autograd(reason @ loract_autograd::Error::NonFinite { .. })) => {
                Error::Activation { step: self.steps_done + 1, lr: self.schedule.at(self.steps_done), reason }
            }
            other => other,
        }
    }

    /// One optimiser step over `micro_batches`.
    ///
    /// # Errors
    /// Those of [`Trainer::gradient`]; [`Error::NotFinite`] if the gradient is not finite, in which case nothing is
    /// updated, or if a trained weight is not after the update, in which case the model is of no use.
    pub fn step(&mut self, micro_batches: &[M::Batch]) -> Result<StepReport, Error> {
        self.step_since(Instant::now(), micro_batches)
    }

    /// The same for a caller that began to wait for the micro-batches at `start`: the report's time is counted from there.
    ///
    /// # Errors
    /// Those of [`Trainer::step`].
    pub fn step_since(&mut self, start: Instant, micro_batches: &[M::Batch]) -> Result<StepReport, Error> {
        let gradient = self.gradient(micro_batches)?;
        self.update(micro_batches, gradient, start)
    }

    /// As [`Trainer::step_since`], and how close its gradient was to the exact one, for which the micro-batches run once more.
    ///
    /// # Errors
    /// Those of [`Trainer::step`].
    pub fn audited_step(&mut self, start: Instant, micro_batches: &[M::Batch]) -> Result<(StepReport, Audit), Error> {
        let gradient = self.gradient(micro_batches)?;
        let audit = Reference::new(self, micro_batches)?.audit(self, &gradient);
        Ok((self.update(micro_batches, gradient, start)?, audit))
    }

    /// Clips and updates.
    fn update(&mut self, micro_batches: &[M::Batch], gradient: Gradient, start: Instant) -> Result<StepReport, Error> {
        let lr = self.schedule.at(self.steps_done);
        let Gradient { mut grads, loss, memory, errors } = gradient;
        let grad_norm = grads.norm();
        if !grad_norm.is_finite() {
            return Err(Error::NotFinite { what: "gradient norm", value: grad_norm, step: self.steps_done + 1, lr });
        }
        // As torch.nn.utils.clip_grad_norm_.
        if self.max_grad_norm > 0.0 && grad_norm + 1e-6 > self.max_grad_norm {
            grads.scale((self.max_grad_norm / (grad_norm + 1e-6)) as f32);
        }
        self.optimiser.step(self.model.params_mut(), &grads, lr);
        for param in self.model.params() {
            if let Some(value) = param.value().first_not_finite() {
                let (value, step) = (f64::from(value), self.steps_done + 1);
                return Err(Error::NotFinite { what: "trained weight", value, step, lr });
            }
        }
        self.steps_done += 1;
        Ok(StepReport {
            step: self.steps_done,
            loss,
            lr,
            grad_norm,
            tokens: micro_batches.iter().map(Batch::rows).sum(),
            seconds: start.elapsed().as_secs_f64(),
            saved_bytes: memory.saved_bytes,
            peak_activation_bytes: memory.peak.activation_bytes,
            site_error: propagating_error(&errors),
            memory,
        })
    }
}

impl Trainer {
    /// The decoder as it stands.
    pub fn decoder(&self) -> &Decoder {
        self.model()
    }
    /// The decoder, at the end.
    pub fn into_decoder(self) -> Decoder {
        self.into_model()
    }
}
