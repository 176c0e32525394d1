//! The files that belong to a model beside its weights: configuration, tokenizer, chat template.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::config::DecoderConfig;
use crate::error::Error;
use crate::files::{Content, ToWrite};
use crate::source::{CONFIG, GENERATION, ModelSource, TEMPLATE, TOKENIZER, TOKENIZER_CONFIG};
use crate::weights::store::StoredAs;

/// Files of a folder beside `config.json` and weights, which go with the model wherever it goes.
pub const COMPANION_FILES: [&str; 10] = [
    GENERATION,
    TOKENIZER,
    TOKENIZER_CONFIG,
    TEMPLATE,
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "preprocessor_config.json",
];

/// What belongs to a model beside its weights.
#[derive(Debug)]
pub struct Companions {
    config: Map<String, Value>,
    others: Vec<(&'static str, Vec<u8>)>,
}

impl Companions {
    /// Those of `source`: the files of a folder; of a GGUF file what is written in it, in the form of a folder's.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Json`], [`Error::Tokenizer`].
    pub fn of(source: &ModelSource) -> Result<Self, Error> {
        let path = source.weights.path();
        if path.is_dir() { Self::of_folder(path) } else { Self::written(source, path) }
    }

    fn of_folder(folder: &Path) -> Result<Self, Error> {
        let read = |name: &str| {
            let path = folder.join(name);
            std::fs::read(&path).map_err(|reason| Error::Read { path, reason })
        };
        let config = serde_json::from_slice(&read(CONFIG)?);
        let config = config.map_err(|reason| Error::Json { path: folder.join(CONFIG), reason })?;
        let there = COMPANION_FILES.into_iter().filter(|name| folder.join(name).is_file());
        let others = there.map(|name| Ok((name, read(name)?))).collect::<Result<_, Error>>()?;
        Ok(Self { config, others })
    }

    fn written(source: &ModelSource, path: &Path) -> Result<Self, Error> {
        let mut others = Vec::new();
        if let Some(tokenizer) = &source.tokenizer {
            let files = tokenizer.to_json();
            let files = files.map_err(|reason| Error::Tokenizer { path: path.to_path_buf(), reason })?;
            others.extend([TOKENIZER, TOKENIZER_CONFIG].into_iter().zip(files));
        }
        if let Some(template) = &source.chat_template {
            others.push((TEMPLATE, template.clone().into_bytes()));
        }
        Ok(Self { config: source.config.to_json(), others })
    }

    /// The files that go with weights so stored of the architecture `now`, which may have got a head of its own.
    pub fn files(&self, now: &DecoderConfig, stored: StoredAs) -> Vec<ToWrite<'_>> {
        let mut config = self.config.clone();
        // The name of the type of the weights before Transformers 5.
        let key = if config.contains_key("torch_dtype") { "torch_dtype" } else { "dtype" };
        config.insert(key.into(), json!(stored.torch_name()));
        // Of weights that were stored in blocks of a few bits.
        config.remove("quantization_config");
        config.insert("tie_word_embeddings".into(), json!(now.tied));
        let config = format!("{:#}\n", Value::Object(config)).into_bytes();
        let others = self.others.iter().map(|(name, bytes)| (*name, bytes.clone()));
        let all = std::iter::once((CONFIG, config)).chain(others);
        all.map(|(name, bytes)| ToWrite { name: name.into(), content: Content::Bytes(bytes) }).collect()
    }
}
