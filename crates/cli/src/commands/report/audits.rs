//! `audits.jsonl`: how close gradients were to the exact ones.

use std::fs;
use std::path::Path;

use loract_train::Error;
use serde::Deserialize;

use super::log::Ending;

/// Of one step.
#[derive(Debug, Clone, Deserialize)]
pub struct Audited {
    pub step: u64,
    pub whole: Whole,
    #[serde(default)]
    pub params: Vec<Param>,
    #[serde(default)]
    pub sites: Vec<Site>,
}

/// All gradients together.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Whole {
    pub cosine: f64,
    pub relative_error: f64,
}

/// The gradient of a parameter.
#[derive(Debug, Clone, Deserialize)]
pub struct Param {
    pub param: String,
    pub cosine: f64,
}

/// A compressed tensor.
#[derive(Debug, Clone, Deserialize)]
pub struct Site {
    pub site: String,
    pub layer: Option<usize>,
    pub relative_error: f64,
}

/// Reads them.
///
/// # Errors
/// [`Error::Read`]; [`Error::Line`] naming the first line that is none.
pub fn read(path: &Path, ending: Ending) -> Result<Vec<Audited>, Error> {
    let text = fs::read_to_string(path).map_err(|reason| Error::Read { path: path.to_path_buf(), reason })?;
    let last = text.lines().count();
    let mut audits = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        match serde_json::from_str(line) {
            Ok(audit) => audits.push(audit),
            Err(_) if number == last && ending == Ending::MayBeCut && !text.ends_with('\n') => {}
            Err(e) => {
                let what =
                    format!("{e}; not as `loract train --audit-every` writes it: take the file again, or move it away");
                return Err(Error::Line { path: path.to_path_buf(), line: number, what });
            }
        }
    }
    Ok(audits)
}
