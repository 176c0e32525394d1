//! What a GGUF file says of a model beside its tensors.

use std::path::Path;

use super::architecture::{Architecture, Windows};
use super::config::{PATTERN, norm_eps};
use super::{rope, unsaid};
use crate::config::{Block, DecoderConfig, Layers, ModelType, SlidingWindow};
use crate::error::Error;
use crate::source::{CONFIG, ModelSource, TOKENIZER, TOKENIZER_CONFIG, token_in};
use crate::weights::gguf::Gguf;
use crate::weights::gguf::write::{Entries, Entry, GgufType};

/// `GGML_QNT_VERSION` of ggml: how blocks are laid out.
pub(super) const QUANTISATION: u32 = 2;

/// Keys of a GGUF file that say how it was made or laid out, which the next file is not.
const OF_ITS_FILE: [&str; 3] = ["general.alignment", "split.", "quantize."];

/// What belongs to a model beside its numbers, as a GGUF file says it.
#[derive(Debug)]
pub struct About {
    architecture: &'static Architecture,
    entries: Entries,
    /// Tensors that say how heads are turned.
    factors: Vec<(&'static str, Vec<f32>)>,
    notes: Vec<String>,
}

impl About {
    /// That of `source`: of a GGUF file every key as it is; of a folder, what its files say.
    ///
    /// # Errors
    /// [`Error::Config`] if the family is not written as GGUF; [`Error::Tokenizer`] if llama.cpp has no name for the
    /// tokenizer of a folder; [`Error::Read`], [`Error::Json`].
    pub fn of(source: &ModelSource) -> Result<Self, Error> {
        let path = source.weights.path();
        let file = if path.is_dir() { path.join(CONFIG) } else { path.to_path_buf() };
        let refused = |reason| Error::Config { path: file.clone(), reason };
        let architecture = Architecture::of_model(&source.config).map_err(refused)?;
        if !path.is_dir() {
            return Self::of_gguf(architecture, path);
        }
        unsaid::check(architecture, &source.config).map_err(refused)?;
        Self::of_folder(architecture, source, path)
    }

    fn of_gguf(architecture: &'static Architecture, path: &Path) -> Result<Self, Error> {
        let gguf = Gguf::open(path)?;
        let mut entries = Entries::as_read(gguf.entries());
        entries.retain(|key| !OF_ITS_FILE.iter().any(|start| key.starts_with(start)));
        Ok(Self { architecture, entries, factors: rope::stored_factors(&gguf)?, notes: Vec::new() })
    }

    fn of_folder(architecture: &'static Architecture, source: &ModelSource, folder: &Path) -> Result<Self, Error> {
        let config = &source.config;
        let mut entries = Entries::default();
        entries.set("general.architecture", Entry::Text(architecture.name.to_owned()));
        entries.set("general.type", Entry::Text("model".to_owned()));
        if let Some(name) = folder.file_name() {
            entries.set("general.name", Entry::Text(name.to_string_lossy().into_owned()));
        }
        hyper_parameters(architecture, config, &mut entries);
        let mut notes = Vec::new();
        if let (Windows::Ignored, Some(SlidingWindow { tokens: window, .. })) =
            (architecture.windows, &config.sliding_window)
        {
            notes.push(format!(
                "llama.cpp has no sliding windows for this architecture: beyond {window} tokens its attention sees more than the \
                 model's"
            ));
        }
        notes.extend(rope::note(&config.rope));
        match &source.tokenizer {
            Some(tokenizer) => {
                let written = tokenizer.to_gguf(config.vocab_size);
                let written = written.map_err(|reason| Error::Tokenizer { path: folder.join(TOKENIZER), reason })?;
                written.into_iter().for_each(|(key, entry)| entries.set(key, entry));
                for (token, key) in [("unk_token", "unknown"), ("pad_token", "padding")] {
                    let id =
                        token_in(&folder.join(TOKENIZER_CONFIG), token)?.and_then(|text| tokenizer.token_id(&text));
                    id.into_iter().for_each(|id| entries.set(format!("tokenizer.ggml.{key}_token_id"), Entry::U32(id)));
                }
            }
            None => {
                entries.set("tokenizer.ggml.model", Entry::Text("none".to_owned()));
                notes.push(format!("{} has no tokenizer.json, so the file has no tokenizer", folder.display()));
            }
        }
        if let Some(template) = &source.chat_template {
            entries.set("tokenizer.chat_template", Entry::Text(template.clone()));
        }
        Ok(Self { architecture, entries, factors: rope::factors(config), notes })
    }

    /// What a user should know of the file, in sentences.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// How llama.cpp stores the model.
    pub(super) fn architecture(&self) -> &'static Architecture {
        self.architecture
    }

    /// The divisors of the inverse rotary frequencies that are tensors of the file: names and numbers.
    pub(super) fn factors(&self) -> &[(&'static str, Vec<f32>)] {
        &self.factors
    }

    /// The metadata of a file whose matrices are mostly stored so.
    pub(super) fn entries(&self, stored: GgufType) -> Entries {
        let mut entries = self.entries.clone();
        entries.set("general.file_type", Entry::U32(stored.file_type()));
        entries.set("general.quantization_version", Entry::U32(QUANTISATION));
        entries
    }
}

/// The keys that [`DecoderConfig::from_gguf`] reads.
fn hyper_parameters(architecture: &Architecture, config: &DecoderConfig, entries: &mut Entries) {
    architecture.set(&config.to_json(), entries);
    // Sizes of a configuration have been checked to fit.
    let mut size = |end: &str, size: usize| entries.set(architecture.key(end), Entry::U32(size as u32));
    size("attention.value_length", config.head_dim);
    size("vocab_size", config.vocab_size);
    let eps = norm_eps(config.model_type.family().norm);
    entries.set(architecture.key(eps), Entry::F32(config.norm_eps));
    rope::set(architecture, &config.rope, entries);
    if config.model_type == ModelType::StableLm {
        entries.set(architecture.key("use_parallel_residual"), Entry::Bool(config.block == Block::Parallel));
    }
    // One that no layer has is none; Gemma 2 would be taken to have the usual one.
    let is_had = |_: &&SlidingWindow| {
        config.model_type == ModelType::Gemma2 || (0..config.layers).any(|layer| config.window(layer).is_some())
    };
    let Some(window) = config.sliding_window.as_ref().filter(is_had) else {
        // By this llama.cpp tells Phi-4 from the Phi-3 that have one.
        if config.model_type == ModelType::Phi3 {
            entries.set(architecture.key("attention.sliding_window"), Entry::U32(0));
        }
        return;
    };
    entries.set(architecture.key("attention.sliding_window"), Entry::U32(window.tokens as u32));
    // A list, unless every layer has it and none would be taken for one that has not.
    if window.layers != Layers::All || architecture.windows != Windows::Ignored {
        let list = config.each_layer(|layer| window.layers.has(layer));
        entries.set(architecture.key(PATTERN), Entry::Bools(list));
    }
}
