//! What an adapter was trained for: PEFT's files have the numbers of a head and not what they stand for, nor the size of the images,
//! so that a file `labels.json` lies beside them, with `id2label` and `image_size` as a `config.json` has them.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::build::HEAD;
use super::config::{VisionConfig, labels, numbered, pair};
use crate::adapter::WEIGHTS_FILE;
use crate::attach::peft_tensor;
use crate::config::ConfigError;
use crate::config::json::Fields;
use crate::error::Error;
use crate::files::{Content, ToWrite};
use crate::weights::safetensors::from_bytes;

/// The file.
pub const LABELS_FILE: &str = "labels.json";

/// The file for an adapter of a model of this configuration.
pub(super) fn labels_file(config: &VisionConfig) -> ToWrite<'static> {
    let named = config.labels.iter().enumerate().map(|(i, name)| (i.to_string(), json!(name)));
    let by_number: Map<String, Value> = named.collect();
    let text = format!("{:#}\n", json!({ "id2label": by_number, "image_size": config.image_size }));
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
    let (path, Some(values)) = read(folder)? else { return Ok(Some(numbered(classes))) };
    if !values.contains_key("id2label") {
        let reason = ConfigError::Missing { key: "id2label" };
        return Err(Error::Config { path, reason });
    }
    let names = labels(&Fields(&values)).map_err(|reason| Error::Config { path: path.clone(), reason })?;
    if names.len() != classes {
        let found = names.len();
        let what = format!("names {found} classes, the head of the adapter has {classes}; they do not belong together");
        return Err(Error::Adapter { path, what });
    }
    Ok(Some(names))
}

/// Height and width of the images that the adapter in `folder` was trained with, if they were told.
///
/// # Errors
/// [`Error::Read`], [`Error::Json`], [`Error::Config`] for `labels.json`.
pub(super) fn adapter_image_size(folder: &Path) -> Result<Option<[usize; 2]>, Error> {
    let (path, Some(values)) = read(folder)? else { return Ok(None) };
    if !values.contains_key("image_size") {
        return Ok(None);
    }
    pair(&Fields(&values), "image_size", 0).map(Some).map_err(|reason| Error::Config { path, reason })
}

/// The file, and what is in it, if it is there.
fn read(folder: &Path) -> Result<(PathBuf, Option<Map<String, Value>>), Error> {
    let path = folder.join(LABELS_FILE);
    match std::fs::read(&path) {
        Ok(text) => match serde_json::from_slice(&text) {
            Ok(values) => Ok((path, Some(values))),
            Err(reason) => Err(Error::Json { path, reason }),
        },
        Err(reason) if reason.kind() == std::io::ErrorKind::NotFound => Ok((path, None)),
        Err(reason) => Err(Error::Read { path, reason }),
    }
}
