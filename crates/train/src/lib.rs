//! Fine-tuning: configuration, data, optimiser, the step, evaluation, and what a run leaves behind.
//!
//! Data goes one way: [`RunConfig`] → [`Trainer`] → [`StepReport`] → [`RunDir`].

mod adamw;
pub mod audit;
pub mod capture;
mod checkpoint;
mod classes;
mod config;
pub mod data;
mod error;
mod evaluate;
mod evaluate_images;
mod evaluation;
mod image_settings;
mod lock;
mod memory;
mod plan;
mod presets;
mod run;
mod run_dir;
mod schedule;
mod trainer;
mod tuning;
mod words;

pub use adamw::AdamW;
pub use checkpoint::Change;
pub use classes::open_classifier;
pub use config::{MixedPrecision, RunConfig};
pub use error::Error;
pub use evaluate::evaluate;
pub use evaluate_images::{ImageScores, evaluate_images, image_logits};
pub use evaluation::{Evaluation, ImageEvaluation, TextEvaluation};
pub use image_settings::ImageSettings;
pub use memory::{Baseline, MemoryReport, process_peak_bytes, process_resident_bytes};
pub use plan::{Plan, Planner};
pub use presets::{Activations, Common};
pub use run::{
    Best, Ended, FirstImages, ImagesLook, Progress, Run, RunSummary, Stopped, classifier_before_data, first_images,
    look_at_images, plan_images,
};
pub use run_dir::{RunDir, write_whole, write_whole_by};
pub use schedule::{Schedule, ScheduleKind};
pub use trainer::{Gradient, StepReport, Trainer};
pub use tuning::{FineTuneType, Tuning};
pub use words::{Named, parse_name};

/// The examples of `docs/library.md`.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/library.md")]
struct Library;
