//! A model as published: a folder in Hugging Face's layout, a GGUF file, or bytes built into a program.
//!
//! Opening maps the files and checks their headers; numbers are read when the weights are taken.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::config::DecoderConfig;
use crate::error::Error;
use crate::tokenizer::Tokenizer;
use crate::weights::gguf::Gguf;
use crate::weights::{Weights, safetensors};

pub(crate) const CONFIG: &str = "config.json";
pub(crate) const GENERATION: &str = "generation_config.json";
pub(crate) const TOKENIZER: &str = "tokenizer.json";
pub(crate) const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
pub(crate) const TEMPLATE: &str = "chat_template.jinja";

/// Everything a model comes with.
#[derive(Debug)]
pub struct ModelSource {
    /// What it is.
    pub config: DecoderConfig,
    /// Its numbers, not read yet.
    pub weights: Weights,
    /// Text to tokens, if it comes with that.
    pub tokenizer: Option<Tokenizer>,
    /// Jinja template of a conversation, if it comes with one.
    pub chat_template: Option<String>,
    /// What `adapter_config.json` calls the base model: the path as given; in Hugging Face's cache the id there.
    pub name: String,
}

/// What is at a path.
enum Kind {
    Folder,
    Gguf,
}

impl ModelSource {
    /// Opens a folder or a `.gguf` file.
    ///
    /// # Errors
    /// [`Error::NoModel`] if there is none at `path`; otherwise what is wrong with its first file that is not right.
    pub fn open(path: &Path) -> Result<Self, Error> {
        match kind(path)? {
            Kind::Folder => Self::open_folder(path),
            Kind::Gguf => Self::open_gguf(path),
        }
    }

    fn open_folder(folder: &Path) -> Result<Self, Error> {
        let config = folder_config(folder)?;
        let weights = safetensors::open_folder(folder)?;
        let tokenizer = tokenizer_in(folder, &config)?;
        let chat_template = match read_if_there(&folder.join(TEMPLATE))? {
            Some(template) => Some(template),
            None => template_in(&folder.join(TOKENIZER_CONFIG))?,
        };
        Ok(Self { config, weights, tokenizer, chat_template, name: name_of(folder) })
    }

    /// A GGUF file; a `tokenizer.json` beside it goes before the tokenizer inside.
    fn open_gguf(path: &Path) -> Result<Self, Error> {
        let gguf = Gguf::open(path)?;
        let config = DecoderConfig::from_gguf(&gguf)?;
        let beside = path.parent().map(|folder| tokenizer_in(folder, &config)).transpose()?.flatten();
        Self::of_gguf(&gguf, config, beside)
    }

    fn of_gguf(gguf: &Gguf, config: DecoderConfig, beside: Option<Tokenizer>) -> Result<Self, Error> {
        let tokenizer = match beside {
            Some(tokenizer) => Some(tokenizer),
            None => Tokenizer::from_gguf(gguf)?,
        };
        let template = gguf.metadata().text("tokenizer.chat_template");
        let template = template.map_err(|reason| Error::Gguf { path: gguf.path().to_path_buf(), reason })?;
        let chat_template = template.map(str::to_owned);
        let name = name_of(gguf.path());
        Ok(Self { config, weights: gguf.weights()?, tokenizer, chat_template, name })
    }

    /// A model built into a program: the text of its `config.json` and the bytes of its `model.safetensors`. It has no
    /// tokenizer; set one if needed.
    ///
    /// # Errors
    /// As [`Self::open`], with `name` in place of a path.
    pub fn from_safetensors_bytes(name: &str, config_json: &str, bytes: Vec<u8>) -> Result<Self, Error> {
        let path = Path::new(name);
        Ok(Self {
            config: DecoderConfig::from_json(path, config_json, None)?,
            weights: safetensors::from_bytes(path, bytes)?,
            tokenizer: None,
            chat_template: None,
            name: name.to_owned(),
        })
    }

    /// A model built into a program as the bytes of a GGUF file. No file beside it is looked for.
    ///
    /// # Errors
    /// As [`Self::open`], with `name` in place of a path.
    pub fn from_gguf_bytes(name: &str, bytes: Vec<u8>) -> Result<Self, Error> {
        let gguf = Gguf::from_bytes(Path::new(name), bytes)?;
        Self::of_gguf(&gguf, DecoderConfig::from_gguf(&gguf)?, None)
    }
}

/// The configuration of a folder or a `.gguf` file, without its weights.
///
/// # Errors
/// [`Error::NoModel`] if there is none at `path`; otherwise what is wrong with the configuration.
pub fn read_config(path: &Path) -> Result<DecoderConfig, Error> {
    match kind(path)? {
        Kind::Folder => folder_config(path),
        Kind::Gguf => DecoderConfig::from_gguf(&Gguf::open(path)?),
    }
}

fn kind(path: &Path) -> Result<Kind, Error> {
    let none = |found: String| Err(Error::NoModel { path: path.to_path_buf(), found });
    if path.is_dir() {
        if path.join(CONFIG).is_file() {
            Ok(Kind::Folder)
        } else if path.join("adapter_config.json").is_file() {
            none("it holds an adapter, which belongs to a base model".to_owned())
        } else if let Some(file) = gguf_in(path) {
            none(format!("it has no config.json, but {}, which can be given instead", file.display()))
        } else {
            none("it is a folder without config.json".to_owned())
        }
    } else if !path.exists() {
        none("there is no such file or folder".to_owned())
    } else if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf")) {
        Ok(Kind::Gguf)
    } else if path.extension().is_some_and(|extension| extension == "safetensors") {
        none("it is one file of a model; give its folder".to_owned())
    } else {
        none("it is a file whose name does not end in .gguf".to_owned())
    }
}

/// What a model at `path` is called: of a commit in Hugging Face's cache, `…/models--owner--name/snapshots/COMMIT`, the id
/// `owner/name`, with the file's path if it is a file; elsewhere the path.
pub(crate) fn name_of(path: &Path) -> String {
    let parts: Vec<_> = path.iter().filter_map(|part| part.to_str()).collect();
    let commit = parts.iter().rposition(|&part| part == "snapshots");
    let id = commit.and_then(|at| Some((at, parts[..at].last()?.strip_prefix("models--")?)));
    match id {
        Some((at, id)) if parts.len() > at + 1 => {
            let file = parts[at + 2..].iter().map(|part| format!("/{part}"));
            id.replace("--", "/") + &file.collect::<String>()
        }
        _ => path.display().to_string(),
    }
}

/// The first `.gguf` file of a folder, by name.
fn gguf_in(folder: &Path) -> Option<PathBuf> {
    let files = std::fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    files.filter(|file| file.extension().is_some_and(|extension| extension == "gguf")).min()
}

/// The text of a folder's `config.json`.
pub(crate) fn folder_text(folder: &Path) -> Result<String, Error> {
    let path = folder.join(CONFIG);
    std::fs::read_to_string(&path).map_err(|reason| Error::Read { path, reason })
}

fn folder_config(folder: &Path) -> Result<DecoderConfig, Error> {
    let (path, text) = (folder.join(CONFIG), folder_text(folder)?);
    let generation = read_if_there(&folder.join(GENERATION))?;
    DecoderConfig::from_json(&path, &text, generation.as_deref())
}

fn tokenizer_in(folder: &Path, config: &DecoderConfig) -> Result<Option<Tokenizer>, Error> {
    let path = folder.join(TOKENIZER);
    if !path.is_file() {
        return Ok(None);
    }
    Ok(Some(Tokenizer::from_file(&path)?.or_ids(config.bos, config.eos.first().copied())))
}

/// The template in a `tokenizer_config.json`: one, or the default of several.
fn template_in(path: &Path) -> Result<Option<String>, Error> {
    let Some(text) = read_if_there(path)? else { return Ok(None) };
    let parsed: Value =
        serde_json::from_str(&text).map_err(|reason| Error::Json { path: path.to_path_buf(), reason })?;
    let template = match parsed.get("chat_template") {
        Some(Value::Array(several)) => several
            .iter()
            .find(|one| one.get("name").and_then(Value::as_str) == Some("default"))
            .and_then(|one| one.get("template")),
        one => one,
    };
    Ok(template.and_then(Value::as_str).map(str::to_owned))
}

/// The text of a token that a `tokenizer_config.json` names: `unk_token`, for one.
pub(crate) fn token_in(path: &Path, key: &str) -> Result<Option<String>, Error> {
    let Some(text) = read_if_there(path)? else { return Ok(None) };
    let parsed: Value =
        serde_json::from_str(&text).map_err(|reason| Error::Json { path: path.to_path_buf(), reason })?;
    let token = parsed.get(key).and_then(|token| token.as_str().or_else(|| token.get("content")?.as_str()));
    Ok(token.map(str::to_owned))
}

fn read_if_there(path: &Path) -> Result<Option<String>, Error> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(reason) if reason.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(reason) => Err(Error::Read { path: path.to_path_buf(), reason }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_in_the_cache_of_the_hub_are_called_by_their_id() {
        for (path, name) in [
            ("hub/models--a--b-c/snapshots/12ab", "a/b-c"),
            ("/x/snapshots/hub/models--a--b/snapshots/12ab/q/c.gguf", "a/b/q/c.gguf"),
            ("models--gpt2/snapshots/12ab", "gpt2"),
            ("models--a--b/snapshots", "models--a--b/snapshots"),
            ("mine/snapshots/1", "mine/snapshots/1"),
            ("snapshots/1", "snapshots/1"),
            ("../m", "../m"),
        ] {
            assert_eq!(name_of(Path::new(path)), name);
        }
    }
}
