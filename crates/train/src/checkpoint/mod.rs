//! Checkpoints: all that a run needs to go on, and to end as if it had never been interrupted.
//!
//! `OUT/checkpoint-N/` is a PEFT adapter, or a model (the trained parameters after step N), with more beside it:
//!
//! | file | holds |
//! |---|---|
//! | `adapter_model.safetensors`, `adapter_config.json` | trained parameters; of full fine-tuning `model.safetensors` and the files that belong to it |
//! | `optimizer.safetensors` | AdamW's moments; bases that decompositions start from |
//! | `checkpoint.json` | step, place in the data, settings, what was told of model and data, the account of the run so far |
//! | `metrics.jsonl`, `audits.jsonl` | the logs up to step N |
//! | `best.safetensors` | trained parameters at the best evaluation so far, if there was one |
//! | `checksums.txt` | length and CRC-32 of each of them |
//!
//! No state of a random generator is kept, as there is none: (seed, step, place) names every stream. A folder is there
//! whole or not at all ([`folder`]); what is read is checked first, and sizes come from the files, never from what they
//! claim.

mod changes;
mod fingerprint;
mod folder;
mod numbers;
mod save;

use std::fs;
use std::path::{Path, PathBuf};

use loract_models::Model;
use loract_models::chat::Date;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use changes::Change;
pub(crate) use changes::{Changes, Settings};
pub(crate) use fingerprint::{Inputs, rows as fingerprint_of_rows};
pub(crate) use save::Contents;

use crate::config::RunConfig;
use crate::data::{Filling, Order};
use crate::error::Error;
use crate::run::Tally;
use crate::trainer::Trainer;
use crate::tuning::{FineTuneType, weights_file};
use crate::words::parse_name;

const PREFIX: &str = "checkpoint-";
const RECORD: &str = "checkpoint.json";
const BEST: &str = "best.safetensors";
const FORMAT: u64 = 1;
const MOST_RECORD_BYTES: u64 = 1 << 28;

/// `checkpoint.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    format: u64,
    /// Version of the program.
    loract: String,
    step: u64,
    rows_taken: usize,
    settings: Settings,
    inputs: Inputs,
    tally: Tally,
    remembered: Vec<numbers::Remembered>,
}

/// A checkpoint that has been read and found good.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    folder: PathBuf,
    kind: FineTuneType,
    record: Record,
}

impl Checkpoint {
    /// The newest good one in `out`, and a line for each newer one that is damaged.
    ///
    /// # Errors
    /// [`Error::NoCheckpoint`]; [`Error::Checkpoint`] if the newest is of another format.
    pub(crate) fn newest(out: &Path) -> Result<(Self, Vec<String>), Error> {
        let mut damaged = Vec::new();
        for step in found_in(out).into_iter().rev() {
            match Self::read(path(out, step), step) {
                Ok(checkpoint) => return Ok((checkpoint, damaged)),
                Err(Error::Checkpoint { path, what }) => damaged.push(format!("{}: {what}", path.display())),
                Err(other) => return Err(other),
            }
        }
        Err(Error::NoCheckpoint { out: out.to_path_buf(), damaged })
    }

    fn read(folder: PathBuf, step: u64) -> Result<Self, Error> {
        let needed = [numbers::FILE, RECORD, "metrics.jsonl"];
        let files = folder::verify(&folder, &needed)?;
        let path = folder.join(RECORD);
        let damaged = |what: String| Error::Checkpoint { path: path.clone(), what };
        let text = folder::read_text(&path, MOST_RECORD_BYTES).map_err(|e| damaged(e.to_string()))?;
        let value: Value = serde_json::from_str(&text).map_err(|e| damaged(e.to_string()))?;
        if value["format"] != FORMAT {
            let (found, version) = (&value["format"], &value["loract"]);
            let what = format!(
                "format {found} of loract {version}; this is loract {}, which reads format {FORMAT}: go on with that version",
                env!("CARGO_PKG_VERSION")
            );
            return Err(Error::Setting { key: "resume", what: format!("{}: {what}", path.display()) });
        }
        let record: Record = serde_json::from_value(value).map_err(|e| damaged(e.to_string()))?;
        if record.step != step {
            return Err(damaged(format!("of step {}, in the folder of step {step}", record.step)));
        }
        let word = record.settings.get("fine_tune_type").and_then(Value::as_str).unwrap_or_default();
        let kind = parse_name(word).map_err(|what| damaged(format!("fine_tune_type: {what}")))?;
        let best = record.tally.has_best().then_some(BEST);
        let missing =
            [Some(weights_file(kind)), best].into_iter().flatten().find(|name| !files.iter().any(|f| f == name));
        if let Some(name) = missing {
            return Err(Error::Checkpoint { path: folder.join(name), what: "missing".into() });
        }
        Ok(Self { folder, kind, record })
    }

    /// The folder, which is an adapter or a model.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }
    /// Steps done.
    pub(crate) fn step(&self) -> u64 {
        self.record.step
    }
    /// The day that chat templates took for today, if rows hold it.
    pub(crate) fn chat_date(&self) -> Option<Date> {
        self.record.settings.get("chat_date")?.as_str()?.parse().ok()
    }
    /// The account of the run so far.
    pub(crate) fn tally(&self) -> &Tally {
        &self.record.tally
    }
    /// The file of the best weights so far, and what it is called in an adapter or a model.
    pub(crate) fn best(&self) -> Option<(PathBuf, &'static str)> {
        self.record.tally.has_best().then(|| (self.folder.join(BEST), weights_file(self.kind)))
    }

    /// Notes on what differs now.
    ///
    /// # Errors
    /// [`Error::Changed`] with every setting that rules out the result of an uninterrupted run; [`Error::Setting`] if
    /// there is no step to do; [`Error::Checkpoint`] if the place in the data is not that of the step.
    pub(crate) fn compare(&self, config: &RunConfig, inputs: &Inputs) -> Result<Vec<String>, Error> {
        let Changes { mut forbidden, mut notes } = changes::compare(&self.record.settings, &settings(config)?);
        forbidden.extend(self.record.inputs.changes(inputs));
        if !forbidden.is_empty() {
            return Err(Error::Changed { folder: self.folder.clone(), changes: forbidden });
        }
        if config.steps.is_some_and(|steps| steps <= self.record.step) {
            let what = format!("{} has done {} steps already; raise --steps", self.folder.display(), self.record.step);
            return Err(Error::Setting { key: "steps", what });
        }
        let Record { step, rows_taken, .. } = self.record;
        let (least, most) = match config.filling() {
            Filling::Rows(rows) => (rows, rows),
            // Each row has a token at least.
            Filling::Tokens(tokens) => (1, tokens),
        };
        let rows = |of_batch: usize| step.checked_mul(of_batch.checked_mul(config.grad_accum)? as u64);
        let possible = rows(least).zip(rows(most));
        if possible.is_none_or(|(least, most)| !(least..=most).contains(&(rows_taken as u64))) {
            let what = format!("{rows_taken} rows taken after {step} steps: not written by this program");
            return Err(Error::Checkpoint { path: self.folder.join(RECORD), what });
        }
        if self.record.loract != env!("CARGO_PKG_VERSION") {
            notes.push(format!(
                "the checkpoint was made by loract {}, this is {}: the result may differ from an uninterrupted run's",
                self.record.loract,
                env!("CARGO_PKG_VERSION")
            ));
        }
        Ok(notes)
    }

    /// Brings a trainer that has done no step, and whose model has this adapter, or is this model, to where the run was.
    pub(crate) fn restore<M: Model>(&self, trainer: &mut Trainer<M>, order: &mut Order) -> Result<(), Error> {
        order.skip_to(self.record.rows_taken);
        numbers::restore(trainer, self.record.step, &self.record.remembered, &self.folder.join(numbers::FILE))
    }
}

/// Refuses a folder that holds checkpoints: a new run's would be mixed with them.
///
/// # Errors
/// [`Error::Setting`].
pub(crate) fn refuse_any(out: &Path) -> Result<(), Error> {
    let Some(step) = found_in(out).pop() else { return Ok(()) };
    let what = format!(
        "{} holds {} of an earlier run; go on with it by --resume, or remove it, or give another --out",
        out.display(),
        name(step)
    );
    Err(Error::Setting { key: "out", what })
}

/// Removes what killed processes left of checkpoints.
pub(crate) fn sweep(out: &Path) -> Result<(), Error> {
    let names = fs::read_dir(out).into_iter().flatten().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    for left in names.filter(|n| n.strip_suffix(".partial").is_some_and(|n| step_of(n).is_some())) {
        let path = out.join(left);
        fs::remove_dir_all(&path).map_err(|reason| Error::Write { path: path.clone(), reason })?;
    }
    Ok(())
}

/// Where the checkpoint after `step` is.
pub(crate) fn path(out: &Path, step: u64) -> PathBuf {
    out.join(name(step))
}

fn name(step: u64) -> String {
    format!("{PREFIX}{step}")
}

fn step_of(folder: &str) -> Option<u64> {
    folder.strip_prefix(PREFIX)?.parse().ok().filter(|step| name(*step) == folder)
}

/// Steps of the checkpoints in `out`, rising.
fn found_in(out: &Path) -> Vec<u64> {
    let names = fs::read_dir(out).into_iter().flatten().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut steps: Vec<u64> = names.filter_map(|name| step_of(&name)).collect();
    steps.sort_unstable();
    steps
}

fn settings(config: &RunConfig) -> Result<Settings, Error> {
    match serde_json::to_value(config) {
        Ok(Value::Object(settings)) => Ok(settings),
        Ok(other) => Err(unwritable(RECORD.into(), std::io::Error::other(format!("settings became {other}")))),
        Err(error) => Err(unwritable(RECORD.into(), error)),
    }
}

fn unwritable(path: PathBuf, reason: impl Into<std::io::Error>) -> Error {
    Error::Write { path, reason: reason.into() }
}
