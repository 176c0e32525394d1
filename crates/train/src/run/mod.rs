//! A run from its settings to its folder: everything that can be wrong with the input is found before anything is
//! written.
//!
//! In the order of reading: `ready.rs` opens a run; `begin.rs` makes or enters its folder; `session.rs` is the loop; `task.rs` says
//! what runs on one kind of model and data have of their own, `images.rs` is that of images, `text.rs` that of text, for
//! which `day.rs` says which day it is for chat templates; `tally.rs`, `report.rs` and `card.rs` say what a run came to; `best.rs` keeps the best adapter; `limit.rs`
//! looks at the memory; `events.rs` writes for TensorBoard.

mod begin;
mod best;
mod card;
mod day;
mod events;
mod images;
mod limit;
mod ready;
mod report;
mod session;
mod tally;
mod task;
mod text;

use std::path::{Path, PathBuf};

use loract_models::VisionSource;

use crate::audit::Audit;
use crate::checkpoint::{self, Checkpoint};
use crate::config::RunConfig;
use crate::error::Error;
use crate::evaluation::Evaluation;
use crate::run_dir::RunDir;
use crate::trainer::StepReport;
use crate::tuning::refuse_mixing;
use images::Images;
pub use images::{FirstImages, ImagesLook, classifier_before_data, first_images, look_at_images, plan_images};
use ready::{Prepared, Ready};
pub use tally::Best;
pub(crate) use tally::Tally;
use text::Text;

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
pub struct Run(Box<dyn Prepared>);

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
        run.0.note_first(damaged.collect());
        Ok(run)
    }

    /// What it is a run of is told by the model.
    fn open(config: RunConfig, from: Option<Checkpoint>) -> Result<Self, Error> {
        Ok(match VisionSource::is_at(&config.model) {
            true => Self(Box::new(Ready::<Images>::open(config, from)?)),
            false => Self(Box::new(Ready::<Text>::open(config, from)?)),
        })
    }

    /// The settings, with what was still open filled in.
    pub fn config(&self) -> &RunConfig {
        self.0.config()
    }

    /// Facts worth a line each before the run begins.
    pub fn facts(&self) -> Vec<String> {
        self.0.facts()
    }

    /// Trains, evaluates, and writes the run's folder.
    ///
    /// # Errors
    /// Failures of the step, of writing, of evaluation; an earlier good output, and earlier checkpoints, are then
    /// untouched.
    pub fn execute(self, progress: &mut dyn Progress) -> Result<Ended, Error> {
        self.0.execute(progress)
    }
}
