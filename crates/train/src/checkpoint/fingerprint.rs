//! Whether model and data are those of before, wherever they lie now.

use loract_models::{Row, Weights};
use serde::{Deserialize, Serialize};

use super::Change;
use crate::data::Dataset;

/// Places of each tensor that are looked at, spread over it from the first number to the last, and the bytes at each: enough
/// to tell a trained model from another without reading it all.
const PLACES: usize = 16;
const BYTES: usize = 64;

/// What a run reads, in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Inputs {
    /// Names, types, sizes of the tensors, and numbers all over them.
    pub(crate) model: String,
    /// Of all rows what they hold.
    pub(crate) data: String,
    /// The same of the rows to evaluate on.
    pub(crate) eval_data: Option<String>,
}

impl Inputs {
    /// Of weights that are not taken yet, and the fingerprints of the data.
    pub(crate) fn of(weights: &Weights, data: String, eval_data: Option<String>) -> Self {
        Self { model: model(weights), data, eval_data }
    }

    /// What differs in `now`.
    pub(super) fn changes(&self, now: &Self) -> Vec<Change> {
        let none = || "not given".to_owned();
        let (was_eval, now_eval) = (self.eval_data.clone(), now.eval_data.clone());
        [
            ("contents of model", self.model.clone(), now.model.clone()),
            ("contents of data", self.data.clone(), now.data.clone()),
            ("contents of eval-data", was_eval.unwrap_or_else(none), now_eval.unwrap_or_else(none)),
        ]
        .into_iter()
        .filter(|(_, was, now)| was != now)
        .map(|(key, was, now)| Change { key: key.into(), was, now })
        .collect()
    }
}

fn model(weights: &Weights) -> String {
    let mut hasher = crc32fast::Hasher::new();
    let names = weights.remaining();
    for name in &names {
        let Some(stored) = weights.get(name) else { continue };
        hasher.update(format!("{name} {} {:?}\n", stored.dtype, stored.shape).as_bytes());
        let bytes = stored.bytes.as_slice();
        let len = bytes.len().min(BYTES);
        for place in 0..PLACES {
            let at = (bytes.len() - len) / (PLACES - 1) * place;
            hasher.update(&bytes[at..at + len]);
        }
    }
    format!("{} tensors ({:08x})", names.len(), hasher.finalize())
}

/// Of rows of text, in short.
pub(crate) fn rows(data: &Dataset) -> String {
    let mut hasher = crc32fast::Hasher::new();
    let mut add = |row: &Row| {
        hasher.update(&(row.ids.len() as u64).to_le_bytes());
        for (id, label) in row.ids.iter().zip(&row.labels) {
            hasher.update(&id.to_le_bytes());
            hasher.update(&label.map_or(-1, i64::from).to_le_bytes());
        }
    };
    for example in data.examples() {
        add(&example.row);
        for row in example.choices.iter().flat_map(|choices| &choices.rows) {
            add(row);
        }
    }
    format!("{} rows ({:08x})", data.examples().len(), hasher.finalize())
}
