//! A run from its settings to its folder: everything that can be wrong with the input is found before anything is
//! written.
//!
//! In the order of reading: here a run is opened; `begin.rs` makes or enters its folder; `session.rs` is the loop;
//! `day.rs` says which day it is for chat templates; `tally.rs`, `report.rs` and `card.rs` say what it came to; `best.rs` keeps
//! the best adapter; `limit.rs` looks at the memory; `events.rs` writes for TensorBoard.

mod begin;
mod best;
mod card;
mod day;
mod events;
mod limit;
mod report;
mod session;
mod tally;

use std::path::{Path, PathBuf};

use loract_autograd::Memory;
use loract_models::{Decoder, ModelSource, TokenBatch, adapter};

use crate::audit::Audit;
use crate::checkpoint::{self, Checkpoint, Inputs};
use crate::config::RunConfig;
use crate::data::{Dataset, Order, Reader};
use crate::error::Error;
use crate::evaluate::Evaluation;
use crate::memory::Baseline;
use crate::plan::{Plan, Planner};
use crate::run_dir::RunDir;
use crate::trainer::StepReport;
use crate::tuning::{Product, refuse_mixing};
use day::Day;
use session::Session;
pub use tally::Best;
pub(crate) use tally::Tally;

/// Who watches a run.
pub trait Progress {
    /// Something to tell once, in a line.
    fn note(&mut self, text: &str);
    /// A step has ended.
    fn step(&mut self, report: &StepReport, steps: u64);
    /// A step's gradient was compared with the exact one.
    fn audited(&mut self, step: u64, audit: &Audit);
    /// An evaluation has ended.
    fn evaluated(&mut self, step: u64, evaluation: &Evaluation);
    /// A checkpoint was written.
    fn saved(&mut self, _step: u64, _checkpoint: &Path) {}
    /// Whether the run is to stop; asked before each step.
    fn interrupted(&self) -> bool {
        false
    }
}

/// A run ready to begin.
#[derive(Debug)]
pub struct Run {
    config: RunConfig,
    memory: Memory,
    baseline: Option<Baseline>,
    decoder: Decoder,
    product: Product,
    base_name: String,
    data: Dataset,
    eval_data: Option<Dataset>,
    steps: u64,
    inputs: Inputs,
    /// Where it goes on.
    from: Option<Checkpoint>,
    /// Facts about that.
    notes: Vec<String>,
    planner: Planner,
    /// Of a step over the longest rows.
    plan: Plan,
}

/// How a run ended.
#[derive(Debug)]
pub enum Ended {
    /// All is done and written.
    Finished(Box<RunSummary>),
    /// It was asked to stop ([`Progress::interrupted`]).
    Stopped(Stopped),
}

/// What a finished run came to.
#[derive(Debug)]
pub struct RunSummary {
    /// Last step.
    pub last: StepReport,
    /// Median of the steps' wall times.
    pub median_step_seconds: f64,
    /// Last evaluation.
    pub evaluation: Option<Evaluation>,
    /// The best evaluation, whose adapter or model is in `OUT/best`.
    pub best: Option<Best>,
    /// What the run leaves: "adapter" or "model".
    pub product: &'static str,
}

/// Where a run stopped.
#[derive(Debug)]
pub struct Stopped {
    /// Steps done.
    pub step: u64,
    /// Of so many.
    pub steps: u64,
    /// From where it can go on; `None` if no step has been done.
    pub checkpoint: Option<PathBuf>,
}

impl Run {
    /// Opens model, adapter and data. Nothing is written.
    ///
    /// # Errors
    /// Whatever is wrong with the input.
    pub fn prepare(config: RunConfig) -> Result<Self, Error> {
        config.check()?;
        RunDir::check(&config.out)?;
        checkpoint::refuse_any(&config.out)?;
        refuse_mixing(config.fine_tune_type, &config.model, &config.out)?;
        Self::open(config, None)
    }

    /// The same, to go on from the newest good checkpoint in `--out`.
    ///
    /// # Errors
    /// Whatever is wrong with the input; [`Error::NoCheckpoint`]; [`Error::Changed`] if the settings are not those of
    /// the run that is to go on.
    pub fn resume(config: RunConfig) -> Result<Self, Error> {
        config.check()?;
        RunDir::check(&config.out)?;
        let (from, damaged) = Checkpoint::newest(&config.out)?;
        let mut run = Self::open(config, Some(from))?;
        let damaged = damaged.into_iter().map(|what| format!("warning: a damaged checkpoint is passed over: {what}"));
        run.notes.splice(0..0, damaged);
        Ok(run)
    }

    fn open(mut config: RunConfig, from: Option<Checkpoint>) -> Result<Self, Error> {
        let (memory, baseline) = (Memory::new(), Baseline::before_weights());
        let source = ModelSource::open(&config.model)?;
        config.check_ranks(&source.config)?;
        let day = Day::of(config.rows.chat_date, from.as_ref().and_then(Checkpoint::chat_date));
        config.rows.chat_date = Some(day.date());
        let reader = Reader::new(&source, config.seq_len, &config.rows)?;
        let data = Dataset::read(&config.data, &reader)?;
        let eval_data = config.eval_data.as_ref().map(|path| Dataset::read(path, &reader)).transpose()?;
        let wrote_date = reader.wrote_date();
        config.rows.chat_date = day.worth_keeping(wrote_date);
        let order = Order::new(data.examples().len(), (!config.no_shuffle).then_some(config.seed));
        let steps = config.steps.unwrap_or_else(|| order.steps_an_epoch(config.filling(), &data, config.grad_accum));
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
        let inputs = Inputs::of(&source.weights, &data, eval_data.as_ref());
        let mut notes = Vec::new();
        if let Some(from) = &from {
            notes = from.compare(&config, &inputs)?;
            notes.insert(0, format!("goes on from {}, step {} of {steps}", from.folder().display(), from.step()));
        }
        let base_name = source.name.clone();
        notes.extend(wrote_date.then(|| day.note()).flatten());
        let mut decoder = Decoder::load(&memory, source.config, source.weights)?;
        let stored = from.as_ref().map(Checkpoint::folder).or(config.adapter.as_deref());
        let tuning = config.tuning().begin(&memory, &mut decoder, stored, config.seed)?;
        // Mapped once more, not read once more.
        let source = ModelSource::open(&config.model)?;
        let product = tuning.product(&source)?;
        let mut planner = Planner::new(source, &tuning, None)?;
        let largest = TokenBatch::new(&data.longest_rows(config.filling()));
        let plan = planner.plan(&config.policy(), &[largest])?;
        let before = baseline.and_then(|baseline| baseline.bytes(&memory)).unwrap_or(0);
        limit::check(&config, &mut planner, &plan, &data, before)?;
        Ok(Self {
            config,
            memory,
            baseline,
            decoder,
            product,
            base_name,
            data,
            eval_data,
            steps,
            inputs,
            from,
            notes,
            planner,
            plan,
        })
    }

    /// The settings, with what was still open filled in.
    pub fn config(&self) -> &RunConfig {
        &self.config
    }

    /// Facts worth a line each before the run begins.
    pub fn facts(&self) -> Vec<String> {
        let trained: usize = self.decoder.params().iter().map(|p| p.value().rows() * p.value().cols()).sum();
        let c = self.decoder.config();
        let mut facts = self.notes.clone();
        facts.extend([
            format!(
                "model {} ({} layers, width {}, vocabulary {}), {trained} trained parameters",
                self.base_name, c.layers, c.hidden_size, c.vocab_size
            ),
            format!(
                "data {} ({} rows, {} tokens, {} of them trained)",
                self.data.path().display(),
                self.data.examples().len(),
                self.data.tokens(),
                self.data.trained_tokens()
            ),
        ]);
        facts.push(format!(
            "plan: a step over the longest rows saves {:.0} MB, and its activations peak at {:.0} MB",
            self.plan.memory.saved_bytes as f64 / 1e6,
            self.plan.memory.peak.activation_bytes as f64 / 1e6
        ));
        for data in std::iter::once(&self.data).chain(&self.eval_data) {
            if data.cut_rows() > 0 {
                facts.push(format!(
                    "{} rows of {} were longer than --seq-len {} and were cut",
                    data.cut_rows(),
                    data.path().display(),
                    self.config.seq_len.unwrap_or(c.context)
                ));
            }
        }
        facts
    }

    /// Trains, evaluates, and writes the run's folder.
    ///
    /// # Errors
    /// Failures of the step, of writing, of evaluation; an earlier good output, and earlier checkpoints, are then
    /// untouched.
    pub fn execute(self, progress: &mut dyn Progress) -> Result<Ended, Error> {
        Session::begin(self)?.run(progress)
    }
}
