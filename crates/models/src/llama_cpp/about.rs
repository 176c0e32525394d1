//! What a GGUF file says of a model beside its tensors.

use std::path::Path;

use crate::config::{ConfigError, DecoderConfig, ModelType, Rope, RopeScaling, SlidingWindow};
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
    entries: Entries,
    rope_factors: Option<Vec<f32>>,
    notes: Vec<String>,
}

impl About {
    /// That of `source`: of a GGUF file every key as it is; of a folder, what its files say.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if llama.cpp has no name for the tokenizer of a folder; [`Error::Read`], [`Error::Json`].
    pub fn of(source: &ModelSource) -> Result<Self, Error> {
        let path = source.weights.path();
        if path.is_dir() { Self::of_folder(source, path) } else { Self::of_gguf(path) }
    }

    fn of_gguf(path: &Path) -> Result<Self, Error> {
        let gguf = Gguf::open(path)?;
        let mut entries = Entries::as_read(gguf.entries());
        entries.retain(|key| !OF_ITS_FILE.iter().any(|start| key.starts_with(start)));
        Ok(Self { entries, rope_factors: gguf.rope_factors()?, notes: Vec::new() })
    }

    fn of_folder(source: &ModelSource, folder: &Path) -> Result<Self, Error> {
        let config = &source.config;
        sayable(config).map_err(|reason| Error::Config { path: folder.join(CONFIG), reason })?;
        let mut entries = Entries::default();
        entries.set("general.architecture", Entry::Text("llama".to_owned()));
        entries.set("general.type", Entry::Text("model".to_owned()));
        if let Some(name) = folder.file_name() {
            entries.set("general.name", Entry::Text(name.to_string_lossy().into_owned()));
        }
        hyper_parameters(config, &mut entries);
        let mut notes = Vec::new();
        if let Some(SlidingWindow { tokens: window, .. }) = &config.sliding_window {
            notes.push(format!(
                "llama.cpp has no sliding windows for this architecture: beyond {window} tokens its attention sees more than the \
                 model's"
            ));
        }
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
        Ok(Self { entries, rope_factors: rope_factors(config), notes })
    }

    /// What a user should know of the file, in sentences.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The divisors of the inverse rotary frequencies, if they are a tensor of the file.
    pub(super) fn rope_factors(&self) -> Option<&[f32]> {
        self.rope_factors.as_deref()
    }

    /// The metadata of a file whose matrices are mostly stored so.
    pub(super) fn entries(&self, stored: GgufType) -> Entries {
        let mut entries = self.entries.clone();
        entries.set("general.file_type", Entry::U32(stored.file_type()));
        entries.set("general.quantization_version", Entry::U32(QUANTISATION));
        entries
    }
}

/// Files of architecture `llama` are of these families.
///
/// # Errors
/// [`ConfigError::NotAsGguf`] of another.
pub(super) fn sayable(config: &DecoderConfig) -> Result<(), ConfigError> {
    if let RopeScaling::Yarn { .. } | RopeScaling::Long { .. } = config.rope.scaling {
        return Err(ConfigError::RopeNotAsGguf);
    }
    match config.model_type {
        ModelType::Llama | ModelType::Mistral => Ok(()),
        found => Err(ConfigError::NotAsGguf { found }),
    }
}

/// The keys that [`DecoderConfig::from_gguf`] reads.
fn hyper_parameters(config: &DecoderConfig, entries: &mut Entries) {
    let mut sizes = vec![
        ("block_count", config.layers),
        ("context_length", config.context),
        ("embedding_length", config.hidden_size),
        ("feed_forward_length", config.intermediate_size),
        ("attention.head_count", config.heads),
        ("attention.head_count_kv", config.kv_heads),
        ("attention.key_length", config.head_dim),
        ("attention.value_length", config.head_dim),
        ("rope.dimension_count", config.rope.rotated),
        ("vocab_size", config.vocab_size),
    ];
    let mut floats =
        vec![("rope.freq_base", config.rope.theta as f32), ("attention.layer_norm_rms_epsilon", config.norm_eps)];
    sizes.extend(config.sliding_window.as_ref().map(|window| ("attention.sliding_window", window.tokens)));
    match config.rope.scaling {
        RopeScaling::None => {}
        RopeScaling::Linear { factor } => {
            entries.set("llama.rope.scaling.type", Entry::Text("linear".to_owned()));
            floats.push(("rope.scaling.factor", factor as f32));
        }
        // llama.cpp takes the factors; of what they were made the reader needs to know this.
        RopeScaling::Llama3 { original_context, .. } => {
            sizes.push(("rope.scaling.original_context_length", original_context));
        }
        // Refused by `sayable`.
        RopeScaling::Yarn { .. } | RopeScaling::Long { .. } => {}
    }
    for (key, size) in sizes {
        // Sizes of a configuration have been checked to fit.
        entries.set(format!("llama.{key}"), Entry::U32(size as u32));
    }
    for (key, x) in floats {
        entries.set(format!("llama.{key}"), Entry::F32(x));
    }
}

/// What llama.cpp's converter writes for Llama 3.1 and later: by what each inverse frequency is divided.
fn rope_factors(config: &DecoderConfig) -> Option<Vec<f32>> {
    let Rope { theta, rotated, scaling: scaling @ RopeScaling::Llama3 { .. } } = &config.rope else { return None };
    let half = rotated / 2;
    let inverse = |i: usize| theta.powf(-(i as f64) / half as f64);
    Some((0..half).map(|i| scaling.divisor(inverse(i)) as f32).collect())
}
