//! What can go wrong in a run.

use std::path::{Path, PathBuf};

use crate::checkpoint::Change;

/// A failure of a run. [`Error::is_bad_input`] tells the user's mistakes from failures.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The model or an adapter.
    #[error(transparent)]
    Model(#[from] loract_models::Error),
    /// An op.
    #[error(transparent)]
    Autograd(#[from] loract_autograd::Error),
    /// A file could not be read.
    #[error("cannot read {}: {reason}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's words.
        reason: std::io::Error,
    },
    /// A file could not be written.
    #[error("cannot write {}: {reason}; what was there before is untouched{}", path.display(), if_full(reason))]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's words.
        reason: std::io::Error,
    },
    /// A line of a data file cannot be used, or a row of a Parquet file.
    #[error("{} {} {line}: {what}", path.display(), crate::data::unit(path))]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong, and what was expected.
        what: String,
    },
    /// A path to data that is not a file of data.
    #[error("data {}: {what}", path.display())]
    Data {
        /// The path.
        path: PathBuf,
        /// What is there, and what was expected.
        what: String,
    },
    /// A picture cannot be used.
    #[error(
        "{name}: {reason}; --skip-broken leaves such pictures out, of a new run; one that has a checkpoint goes on with --resume \
             once the picture is whole"
    )]
    Picture {
        /// Its file, or the file and its record.
        name: String,
        /// What is wrong with it.
        reason: loract_models::vision::PictureError,
    },
    /// A data file has no rows.
    #[error("{} holds no rows; expected one JSON object a line, CSV with a line of column names, or Parquet with rows", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A setting cannot be used.
    #[error("{key}: {what}")]
    Setting {
        /// The setting, as its flag without dashes.
        key: &'static str,
        /// What is wrong with it, and what is possible.
        what: String,
    },
    /// A configuration file cannot be read as one.
    #[error("{}: {what}", path.display())]
    ConfigFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A file that a run left cannot be used.
    #[error("{}: {what}", path.display())]
    Left {
        /// The file, or the run's folder.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        what: String,
    },
    /// A file of a checkpoint is damaged.
    #[error("{}: {what}", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what was expected.
        what: String,
    },
    /// There is nothing to go on from.
    #[error("resume: {}", nothing_to_resume(out, damaged))]
    NoCheckpoint {
        /// The run's folder.
        out: PathBuf,
        /// What is wrong with each checkpoint there.
        damaged: Vec<String>,
    },
    /// A run is to go on with settings that are not its own.
    #[error("resume: {} is of a run with other settings, and going on with these would not end as that run: {}; give the earlier values, or begin anew with another --out",
        folder.display(), listed(changes))]
    Changed {
        /// The checkpoint.
        folder: PathBuf,
        /// Every setting that differs and may not.
        changes: Vec<Change>,
    },
    /// The loss or the gradient is not finite.
    #[error("{what} became {value} at step {step}: {}; nothing was written over an earlier adapter", likely(what, *step, *lr))]
    NotFinite {
        /// "loss", "gradient norm", "trained weight" or "evaluation loss".
        what: &'static str,
        /// The value.
        value: f64,
        /// Optimiser step, counted from 1.
        step: u64,
        /// Learning rate of the step.
        lr: f64,
    },
    /// An activation that is to be compressed is not finite.
    #[error("at step {step} (learning rate {lr:e}): {reason}; nothing was written over an earlier adapter")]
    Activation {
        /// Optimiser step, counted from 1.
        step: u64,
        /// Learning rate of the step.
        lr: f64,
        /// Site, layer and place.
        reason: loract_autograd::Error,
    },
    /// The loss over a data file is not finite.
    #[error("the loss over {} is {value}: a weight of the model or of the adapter is NaN, infinite or very large; fetch the model again, or train again with a lower learning rate", path.display())]
    Evaluation {
        /// The data file.
        path: PathBuf,
        /// The loss.
        value: f64,
    },
}

/// What to do where there is no room.
fn if_full(reason: &std::io::Error) -> &'static str {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    match reason.kind() {
        StorageFull | QuotaExceeded | FileTooLarge => {
            "; make room there or raise its limit, then run the same command again, with --resume if there are checkpoints \
             (--keep-checkpoints 1 needs the least room)"
        }
        _ => "",
    }
}

/// What to do where there is no good checkpoint.
fn nothing_to_resume(out: &Path, damaged: &[String]) -> String {
    let out = out.display();
    if damaged.is_empty() {
        return format!(
            "no checkpoint in {out}; leave --resume out to begin (checkpoints are kept with --save-every N, and on Ctrl-C)"
        );
    }
    format!(
        "every checkpoint in {out} is damaged: {}; begin anew with another --out (an adapter_model.safetensors that is \
         whole can be started from with --adapter)",
        damaged.join("; ")
    )
}

fn listed(changes: &[Change]) -> String {
    changes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Likely causes of numbers that are not finite, and what to try.
fn likely(what: &str, step: u64, lr: f64) -> String {
    if step == 1 && what == "loss" {
        // Nothing has been trained yet.
        return "a weight of the model, or of the adapter to start from, is NaN, infinite or very large; fetch it again, or check it with loract eval".into();
    }
    format!(
        "the learning rate ({lr:e}) may be too high (try a third of it, or --warmup), or the compression too coarse (try --activations exact)"
    )
}

impl Error {
    /// Whether the input is at fault (exit code 2) rather than the run (exit code 1).
    pub fn is_bad_input(&self) -> bool {
        match self {
            Error::Model(error) => error.is_bad_input(),
            Error::Autograd(_)
            | Error::Write { .. }
            | Error::NotFinite { .. }
            | Error::Activation { .. }
            | Error::Evaluation { .. } => false,
            Error::Read { .. }
            | Error::Line { .. }
            | Error::Data { .. }
            | Error::Picture { .. }
            | Error::Empty { .. }
            | Error::Setting { .. }
            | Error::Left { .. }
            | Error::Checkpoint { .. }
            | Error::NoCheckpoint { .. }
            | Error::Changed { .. }
            | Error::ConfigFile { .. } => true,
        }
    }
}
