//! What a run says of itself: `report.json` when it has ended, the record of its newest checkpoint before.
//!
//! Every entry may be missing, as earlier versions wrote fewer.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use loract_train::Error;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// What is known of a run beside its log.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Account {
    pub loract: Option<String>,
    pub model: Option<String>,
    pub stopped_early: bool,
    pub resumed_after: Vec<u64>,
    pub evaluation: Option<Evaluation>,
    pub best: Option<Best>,
    pub wall_seconds: Option<f64>,
    /// The step that took the most memory, which the next three are of.
    pub memory_step: Option<u64>,
    pub memory: Option<Memory>,
    pub planned: Option<Memory>,
    pub timeline: Option<Timeline>,
    pub planned_process_peak_bytes: Option<usize>,
    pub process_peak_bytes: Option<usize>,
    pub config: Map<String, Value>,
}

/// The last evaluation.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Evaluation {
    pub loss: f64,
    /// Null in the file where it is beyond any number.
    pub perplexity: Option<f64>,
    pub tokens: u64,
    pub rows: u64,
    pub accuracy: Option<f64>,
    /// Of images.
    pub top5_accuracy: Option<f64>,
}

/// The best evaluation.
#[derive(Debug, Deserialize)]
pub struct Best {
    pub step: u64,
    pub loss: f64,
}

/// The ledger's account of a step, by category.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Memory {
    pub saved_bytes: usize,
    pub saved: BTreeMap<String, usize>,
    pub peak_activation_bytes: usize,
    pub peak_phase: String,
    pub peak_op: String,
    pub at_peak: BTreeMap<String, usize>,
    pub resident: BTreeMap<String, usize>,
}

/// Live bytes over a step.
#[derive(Debug, Default, Deserialize)]
pub struct Timeline {
    /// Allocations and releases that a moment stands for.
    pub changes_a_moment: usize,
    pub phase: Vec<String>,
    pub bytes: BTreeMap<String, Vec<usize>>,
}

/// `checkpoint.json`, as far as it is shown.
#[derive(Deserialize)]
struct Record {
    loract: Option<String>,
    settings: Map<String, Value>,
    tally: Tally,
}

#[derive(Deserialize)]
struct Tally {
    #[serde(default)]
    resumed_after: Vec<u64>,
    evaluation: Option<Evaluation>,
    best: Option<Best>,
    largest: Option<Largest>,
}

#[derive(Deserialize)]
struct Largest {
    step: u64,
    memory: Memory,
    timeline: Option<Timeline>,
}

impl Account {
    /// Of a run that has ended.
    ///
    /// # Errors
    /// [`Error::Read`]; [`Error::Left`] if it is none.
    pub fn of_report(path: &Path) -> Result<Self, Error> {
        let account: Self = read(path)?;
        account.checked(path)
    }

    /// Of a run under way, after a checkpoint.
    ///
    /// # Errors
    /// As [`Account::of_report`].
    pub fn of_checkpoint(path: &Path) -> Result<Self, Error> {
        let Record { loract, settings, tally } = read(path)?;
        let (memory_step, memory, timeline) = match tally.largest {
            Some(Largest { step, memory, timeline }) => (Some(step), Some(memory), timeline),
            None => (None, None, None),
        };
        let Tally { resumed_after, evaluation, best, .. } = tally;
        let config = settings;
        let account =
            Self { loract, resumed_after, evaluation, best, memory_step, memory, timeline, config, ..Self::default() };
        account.checked(path)
    }

    /// A setting as it is shown; `None` if it is not known.
    pub fn setting(&self, key: &str) -> Option<String> {
        self.config.get(key).map(shown)
    }

    /// A setting that is a whole number.
    pub fn number(&self, key: &str) -> Option<u64> {
        self.config.get(key)?.as_u64()
    }

    fn checked(self, path: &Path) -> Result<Self, Error> {
        let lengths = |t: &Timeline| t.bytes.values().all(|bytes| bytes.len() == t.phase.len());
        if self.timeline.as_ref().is_some_and(|timeline| !lengths(timeline)) {
            return Err(damaged(path, "timeline: a category has more or fewer moments than there are phases"));
        }
        Ok(self)
    }
}

/// A setting's value as text.
pub fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let text = fs::read(path).map_err(|reason| Error::Read { path: path.to_path_buf(), reason })?;
    serde_json::from_slice(&text).map_err(|e| damaged(path, &e.to_string()))
}

fn damaged(path: &Path, what: &str) -> Error {
    let what = format!("{what}; not as `loract train` writes it: take the run's folder again, or train again");
    Error::Left { path: path.to_path_buf(), what }
}
