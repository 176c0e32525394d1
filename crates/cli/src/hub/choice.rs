//! Which files of a repository make a model, and which of them are missing in a folder.

use std::collections::BTreeSet;
use std::path::Path;

use loract_models::COMPANION_FILES;
use serde_json::Value;

use super::cache::is_within;

const CONFIG: &str = "config.json";
const SINGLE: &str = "model.safetensors";
/// Names the shards of a model in several files.
pub const INDEX: &str = "model.safetensors.index.json";

/// Names that a message lists at most.
const LISTED: usize = 8;

/// The files to have of a repository with files `names`: the weights last, so that they are there only if all else is. Shards
/// are in the index ([`shards`]).
///
/// # Errors
/// What is missing, and what is there instead.
pub fn wanted<'a>(names: &'a [String], gguf: Option<&'a str>) -> Result<Vec<&'a str>, String> {
    let there = |name: &str| names.iter().any(|there| there == name);
    let ggufs: Vec<_> = names.iter().filter(|name| name.to_ascii_lowercase().ends_with(".gguf")).collect();
    if let Some(file) = gguf {
        return if there(file) { Ok(vec![file]) } else { Err(format!("no {file}; {}", listed(&ggufs))) };
    }
    if !there(CONFIG) {
        return Err(format!("no {CONFIG}; {}", listed(&ggufs)));
    }
    let weights = [SINGLE, INDEX].into_iter().find(|name| there(name));
    let weights = weights.ok_or_else(|| format!("neither {SINGLE} nor {INDEX}; {}", listed(&ggufs)))?;
    let companions = COMPANION_FILES.into_iter().filter(|name| there(name));
    Ok([CONFIG].into_iter().chain(companions).chain([weights]).collect())
}

fn listed(ggufs: &[&String]) -> String {
    if ggufs.is_empty() {
        return "it has no GGUF file either".to_owned();
    }
    let names: Vec<_> = ggufs.iter().take(LISTED).map(|name| name.as_str()).collect();
    let more = if ggufs.len() > LISTED { format!(" and {} more", ggufs.len() - LISTED) } else { String::new() };
    format!("its GGUF files, which can be asked for as owner/name/FILE: {}{more}", names.join(", "))
}

/// The files that an index names.
///
/// # Errors
/// If it is no index, or names something outside its folder.
pub fn shards(index: &Path) -> Result<BTreeSet<String>, String> {
    let text = std::fs::read_to_string(index).map_err(|e| e.to_string())?;
    let parsed: Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
    let map = parsed.get("weight_map").and_then(Value::as_object).ok_or("it has no weight_map")?;
    let names: BTreeSet<_> = map.values().filter_map(Value::as_str).map(str::to_owned).collect();
    match names.iter().find(|name| !is_within(name)) {
        Some(name) => Err(format!("it names the file `{name}`")),
        None => Ok(names),
    }
}

/// The first file without which the folder of a commit has no model; `None` if it is whole.
pub fn missing(folder: &Path, gguf: Option<&str>) -> Option<String> {
    let absent = |name: &str| !folder.join(name).is_file();
    if let Some(file) = gguf {
        return absent(file).then(|| file.to_owned());
    }
    if absent(CONFIG) {
        return Some(CONFIG.to_owned());
    }
    if !absent(SINGLE) {
        return None;
    }
    if absent(INDEX) {
        return Some(SINGLE.to_owned());
    }
    match shards(&folder.join(INDEX)) {
        Ok(names) => names.into_iter().find(|name| absent(name)),
        Err(_) => Some(INDEX.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted() {
        let names = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        for (there, gguf, want) in [
            (
                "README.md model.safetensors tokenizer.json config.json pytorch_model.bin onnx/model.onnx",
                None,
                Ok("config.json tokenizer.json model.safetensors"),
            ),
            (
                "config.json model-1.safetensors model.safetensors.index.json",
                None,
                Ok("config.json model.safetensors.index.json"),
            ),
            ("config.json pytorch_model.bin", None, Err("neither model.safetensors nor")),
            (
                "q4.gguf q8.gguf",
                None,
                Err("no config.json; its GGUF files, which can be asked for as owner/name/FILE: q4.gguf, q8.gguf"),
            ),
            ("q4.gguf q8.gguf", Some("q8.gguf"), Ok("q8.gguf")),
            ("config.json", Some("q8.gguf"), Err("no q8.gguf; it has no GGUF file either")),
        ] {
            match (wanted(&names(there), gguf).map(|wanted| wanted.join(" ")), want) {
                (Ok(found), Ok(want)) => assert_eq!(found, want),
                (Err(found), Err(want)) => assert!(found.contains(want), "{found}"),
                other => panic!("{there}: {other:?}"),
            }
        }
    }
}
