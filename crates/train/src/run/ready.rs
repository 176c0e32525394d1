//! A run that is ready to begin: model, adapter and data opened, its memory planned; nothing written.

use std::fmt::Debug;

use loract_autograd::Memory;
use loract_models::{Model, adapter};

use super::session::Session;
use super::task::Task;
use super::{Ended, Progress, limit};
use crate::checkpoint::{Checkpoint, Inputs};
use crate::config::RunConfig;
use crate::error::Error;
use crate::memory::Baseline;
use crate::plan::{Plan, Planner};
use crate::tuning::Product;

/// A ready run of any task.
pub(super) trait Prepared: Debug {
    /// See [`super::Run::config`].
    fn config(&self) -> &RunConfig;
    /// See [`super::Run::facts`].
    fn facts(&self) -> Vec<String>;
    /// Adds facts before the others.
    fn note_first(&mut self, notes: Vec<String>);
    /// See [`super::Run::execute`].
    fn execute(self: Box<Self>, progress: &mut dyn Progress) -> Result<Ended, Error>;
}

/// A ready run of a task.
#[derive(Debug)]
pub(super) struct Ready<T: Task> {
    pub(super) config: RunConfig,
    pub(super) memory: Memory,
    pub(super) baseline: Option<Baseline>,
    pub(super) model: T::Model,
    pub(super) product: Product,
    pub(super) base_name: String,
    pub(super) task: T,
    pub(super) steps: u64,
    pub(super) inputs: Inputs,
    /// Where it goes on.
    pub(super) from: Option<Checkpoint>,
    /// Facts about that.
    notes: Vec<String>,
    pub(super) planner: Planner<T::Model>,
    /// Of a step over the largest micro-batch.
    plan: Plan,
}

impl<T: Task> Ready<T> {
    /// Opens all that is read.
    pub(super) fn open(mut config: RunConfig, from: Option<Checkpoint>) -> Result<Self, Error> {
        let (memory, baseline) = (Memory::new(), Baseline::before_weights());
        let source = T::source(&config)?;
        let (task, told) = T::open(&mut config, &source, from.as_ref())?;
        let steps = config.steps.unwrap_or_else(|| task.steps_an_epoch(&config));
        config.steps = Some(steps);
        if let Some(folder) = from.as_ref().map(Checkpoint::folder).or(config.adapter.as_deref())
            && config.adapter.is_some()
        {
            let stored = adapter::read_config(folder)?;
            config.adopt(&stored);
            config.check()?;
        }
        // As an adapter stores it.
        config.lora_alpha = f64::from(config.lora_alpha as f32);
        let (name, weights) = T::base(&source);
        let (base_name, inputs) = (name.to_owned(), task.inputs(weights)?);
        let mut notes = Vec::new();
        if let Some(from) = &from {
            notes = from.compare(&config, &inputs)?;
            notes.insert(0, format!("goes on from {}, step {} of {steps}", from.folder().display(), from.step()));
        }
        notes.extend(told);
        let mut model = task.load(&memory, source)?;
        let stored = from.as_ref().map(Checkpoint::folder).or(config.adapter.as_deref());
        let tuning = config.tuning().begin(&memory, &mut model, stored, config.seed)?;
        // Mapped once more, not read once more.
        let source = T::source(&config)?;
        let product = tuning.product(&base_name, || task.companions(&source))?;
        let hollow = Memory::hollow();
        let shape = task.load(&hollow, source)?;
        let mut planner = Planner::of(shape, &hollow, &tuning, None, task.smallest())?;
        let plan = planner.plan(&config.policy(), &[task.largest(config.filling())])?;
        let before = baseline.and_then(|baseline| baseline.bytes(&memory)).unwrap_or(0);
        limit::check(&config, &mut planner, &plan, &task, before)?;
        Ok(Self {
            config,
            memory,
            baseline,
            model,
            product,
            base_name,
            task,
            steps,
            inputs,
            from,
            notes,
            planner,
            plan,
        })
    }
}

impl<T: Task> Prepared for Ready<T> {
    fn config(&self) -> &RunConfig {
        &self.config
    }

    fn facts(&self) -> Vec<String> {
        let trained: usize = self.model.params().iter().map(|p| p.value().rows() * p.value().cols()).sum();
        let mut facts = self.notes.clone();
        facts.extend([
            format!("model {} ({}), {trained} trained parameters", self.base_name, self.task.sizes(&self.model)),
            format!("data {}", self.task.told()),
            format!(
                "plan: a step over {} saves {:.0} MB, and its activations peak at {:.0} MB",
                T::WORDS.largest,
                self.plan.memory.saved_bytes as f64 / 1e6,
                self.plan.memory.peak.activation_bytes as f64 / 1e6
            ),
        ]);
        facts.extend(self.task.warnings(&self.config, &self.model));
        facts
    }

    fn note_first(&mut self, notes: Vec<String>) {
        self.notes.splice(0..0, notes);
    }

    fn execute(self: Box<Self>, progress: &mut dyn Progress) -> Result<Ended, Error> {
        Session::begin(*self)?.run(progress)
    }
}
