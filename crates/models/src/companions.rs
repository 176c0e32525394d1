//! The files that belong to a model beside its weights: configuration, tokenizer, chat template.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::error::Error;
use crate::files::{Content, ToWrite};
use crate::model::Model;
use crate::source::{CONFIG, GENERATION, ModelSource, TEMPLATE, TOKENIZER, TOKENIZER_CONFIG};
use crate::vision::{ImageProcessor, PROCESSOR, SHARED_PROCESSOR, VisionSource};
use crate::weights::store::StoredAs;

/// Files of a folder beside `config.json` and weights, which go with the model wherever it goes.
pub const COMPANION_FILES: [&str; 11] = [
    GENERATION,
    TOKENIZER,
    TOKENIZER_CONFIG,
    TEMPLATE,
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    PROCESSOR,
    SHARED_PROCESSOR,
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

    /// Those of a folder.
    ///
    /// # Errors
    /// As [`Companions::of`].
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

    /// Those of an image model's folder. If its images have another size than pictures come out with there, the processor is that of
    /// `source`.
    ///
    /// # Errors
    /// As [`Companions::of`].
    pub fn of_images(source: &VisionSource) -> Result<Self, Error> {
        let folder = source.weights.path();
        let mut companions = Self::of_folder(folder)?;
        if ImageProcessor::read(folder)?.is_none_or(|own| own.size() != source.processor.size()) {
            let text = format!("{:#}\n", Value::Object(source.processor.to_json()));
            companions.others.retain(|(name, _)| ![PROCESSOR, SHARED_PROCESSOR].contains(name));
            companions.others.push((PROCESSOR, text.into_bytes()));
        }
        Ok(companions)
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

    /// The files that go with weights so stored of `model` as it is now.
    pub fn files<M: Model>(&self, model: &M, stored: StoredAs) -> Vec<ToWrite<'_>> {
        let config = model.config_json(&self.config, stored);
        let config = format!("{:#}\n", Value::Object(config)).into_bytes();
        let others = self.others.iter().map(|(name, bytes)| (*name, bytes.clone()));
        let all = std::iter::once((CONFIG, config)).chain(others);
        all.map(|(name, bytes)| ToWrite { name: name.into(), content: Content::Bytes(bytes) }).collect()
    }
}

/// `config` of weights so stored, whatever they were before.
pub(crate) fn config_of(config: &Map<String, Value>, stored: StoredAs) -> Map<String, Value> {
    let mut config = config.clone();
    // The name of the type of the weights before Transformers 5.
    let key = if config.contains_key("torch_dtype") { "torch_dtype" } else { "dtype" };
    config.insert(key.into(), json!(stored.torch_name()));
    // Of weights that were stored in blocks of a few bits.
    config.remove("quantization_config");
    config
}
