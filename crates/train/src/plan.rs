//! What a step will take, before it is taken: the step itself, run on tensors that have shapes but no numbers.
//!
//! Ops allocate, save and free as they do in earnest and compute nothing, so the ledger's account is the real one by
//! construction; a hundred layers take milliseconds. Weights are mapped, not read. What the ledger does not count is
//! estimated: [`Plan::process_bytes`].

use std::path::Path;

use loract_autograd::{Category, Memory, Policy};
use loract_models::{Decoder, Model, ModelSource, Row, TokenBatch};

use crate::error::Error;
use crate::memory::MemoryReport;
use crate::schedule::{Schedule, ScheduleKind};
use crate::trainer::Trainer;
use crate::tuning::Tuning;

/// Scratch of a decomposition, of kernels but attention's and of the products' packing, a thread (fitted: `docs/memory.md`).
const SCRATCH_A_THREAD: usize = 4_000_000;

/// A block of a weight, widened to f32 and packed (`linalg`'s `product`).
const PANEL: usize = 5 << 20;

/// A model that can be planned with.
#[derive(Debug)]
pub struct Planner<M = Decoder> {
    trainer: Trainer<M>,
}

/// What a step takes.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The ledger's account.
    pub memory: MemoryReport,
}

impl<M: Model> Planner<M> {
    /// A model of the hollow `memory` with what is to be trained, or with the pairs of the adapter folder. A step over
    /// `smallest` is taken for the optimiser's state.
    ///
    /// # Errors
    /// Those of [`Tuning::begin`].
    pub fn of(
        mut model: M,
        memory: &Memory,
        tuning: &Tuning,
        adapter_folder: Option<&Path>,
        smallest: M::Batch,
    ) -> Result<Self, Error> {
        tuning.begin(memory, &mut model, adapter_folder, 0)?;
        let schedule = Schedule { kind: ScheduleKind::Constant, lr: 0.0, warmup: 0, steps: 1 };
        let mut trainer = Trainer::new(model, memory, Policy::exact(), schedule, 0.0, 0.0, 0);
        // The first step makes the optimiser's state.
        trainer.step(&[smallest])?;
        Ok(Self { trainer })
    }

    /// Where its tensors without numbers are counted.
    pub fn memory(&self) -> &Memory {
        self.trainer.memory()
    }

    /// The model, which has shapes and no numbers.
    pub fn model(&self) -> &M {
        self.trainer.model()
    }

    /// A step over `batches`.
    ///
    /// # Errors
    /// A row longer than the context.
    pub fn plan(&mut self, policy: &Policy, batches: &[M::Batch]) -> Result<Plan, Error> {
        self.trainer.set_policy(policy.clone());
        Ok(Plan { memory: self.trainer.gradient(batches)?.memory })
    }
}

impl Planner {
    /// The model in `source` with what is to be trained, or with the pairs of the adapter folder.
    ///
    /// # Errors
    /// Those of loading.
    pub fn new(source: ModelSource, tuning: &Tuning, adapter_folder: Option<&Path>) -> Result<Self, Error> {
        let memory = Memory::hollow();
        let decoder = Decoder::load(&memory, source.config, source.weights)?;
        Self::of(decoder, &memory, tuning, adapter_folder, rows(1, 2))
    }

    /// The longest row that the model takes.
    pub fn context(&self) -> usize {
        self.trainer.decoder().config().context
    }

    /// A step over one micro-batch of `batch` rows of `tokens` tokens, all trained.
    ///
    /// # Errors
    /// Rows longer than the context.
    pub fn plan_rows(&mut self, policy: &Policy, batch: usize, tokens: usize) -> Result<Plan, Error> {
        self.plan(policy, &[rows(batch, tokens)])
    }
}

/// `batch` rows of `tokens` tokens.
fn rows(batch: usize, tokens: usize) -> TokenBatch {
    let row = Row::all(vec![0; tokens]);
    TokenBatch::new(std::iter::repeat_n(&row, batch))
}

impl Plan {
    /// Peak resident memory of the process: what it has besides ([`crate::Baseline`]), the stored weights once they are read, the
    /// trained parameters with gradients and optimiser state, the peak of activations, and scratch of `threads` threads.
    pub fn process_bytes(&self, baseline: usize, threads: usize) -> usize {
        let resident: usize = self.memory.resident.values().sum();
        let peak = &self.memory.peak;
        baseline + resident + peak.activation_bytes + PANEL + threads * (SCRATCH_A_THREAD + peak.thread_scratch)
    }

    /// Trained parameters, their gradients, the optimiser's state, and the bases that decompositions start from.
    pub fn trained_bytes(&self) -> usize {
        let of = |category| self.memory.resident.get(&category).copied().unwrap_or(0);
        of(Category::Trainable) + of(Category::Gradients) + of(Category::Optimiser) + of(Category::WarmBases)
    }
}
