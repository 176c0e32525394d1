//! The names of an adapter's classes: PEFT's files have the numbers of a head and not what they stand for, so that a file
//! `labels.json` lies beside them, with `id2label` as a `config.json` has it.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::build::HEAD;
use super::config::{labels, numbered};
use crate::adapter::WEIGHTS_FILE;
use crate::attach::peft_tensor;
use crate::config::json::Fields;
use crate::error::Error;
use crate::files::{Content, ToWrite};
use crate::weights::safetensors::from_bytes;

/// The file.
pub const LABELS_FILE: &str = "labels.json";

/// The file for these classes.
pub fn labels_file(labels: &[String]) -> ToWrite<'static> {
    let by_number: Map<String, Value> =
        labels.iter().enumerate().map(|(i, name)| (i.to_string(), json!(name))).collect();
    let text = format!("{:#}\n", json!({ "id2label": by_number }));
    ToWrite { name: LABELS_FILE.into(), content: Content::Bytes(text.into_bytes()) }
}

/// The classes of the head in the adapter `folder`; `None` if it brings no head. Without names they are numbered.
///
/// # Errors
/// [`Error::Read`], [`Error::Safetensors`] for the adapter's numbers; [`Error::Json`], [`Error::Config`] for names;
/// [`Error::Adapter`] if there are other names than rows of the head.
pub fn adapter_labels(folder: &Path) -> Result<Option<Vec<String>>, Error> {
    let path = folder.join(WEIGHTS_FILE);
    let bytes = std::fs::read(&path).map_err(|reason| Error::Read { path: path.clone(), reason })?;
    let weights = from_bytes(&path, bytes)?;
    let head = weights.get(&peft_tensor(&format!("{HEAD}.weight")));
    let Some(classes) = head.and_then(|stored| stored.shape.first().copied()) else { return Ok(None) };
    let path = folder.join(LABELS_FILE);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(reason) if reason.kind() == std::io::ErrorKind::NotFound => return Ok(Some(numbered(classes))),
        Err(reason) => return Err(Error::Read { path, reason }),
    };
    let values: Map<String, Value> =
        serde_json::from_str(&text).map_err(|reason| Error::Json { path: path.clone(), reason })?;
    let names = labels(&Fields(&values)).map_err(|reason| Error::Config { path: path.clone(), reason })?;
    if names.len() != classes {
        let found = names.len();
        let what = format!("names {found} classes, the head of the adapter has {classes}; they do not belong together");
        return Err(Error::Adapter { path, what });
    }
    Ok(Some(names))
}
