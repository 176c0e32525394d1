//! Metadata keys that say what a key of `config.json` says, for both directions.

use serde_json::{Map, Value};

use super::architecture::Architecture;
use crate::weights::gguf::write::{Entries, Entry};
use crate::weights::gguf::{GgufError, Metadata};

/// A hyperparameter with a key here and there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    /// llama.cpp's key, without the architecture.
    pub(super) gguf: &'static str,
    /// That of `config.json`.
    pub(super) json: &'static str,
    pub(super) kind: Kind,
}

/// How its value is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// u32.
    Size,
    /// f32.
    Float,
}

const fn size(gguf: &'static str, json: &'static str) -> Key {
    Key { gguf, json, kind: Kind::Size }
}

/// What every file has to say.
const NEEDED: [Key; 5] = [
    size("block_count", "num_hidden_layers"),
    size("context_length", "max_position_embeddings"),
    size("embedding_length", "hidden_size"),
    size("feed_forward_length", "intermediate_size"),
    size("attention.head_count", "num_attention_heads"),
];

/// What it may say.
const OPTIONAL: [Key; 2] =
    [size("attention.head_count_kv", "num_key_value_heads"), size("attention.key_length", "head_dim")];

impl Architecture {
    /// Its keys, those that every file has to have first.
    fn all_keys(&self) -> impl Iterator<Item = &'static Key> {
        NEEDED.iter().chain(&OPTIONAL).chain(self.keys)
    }

    /// The metadata key with this end: `attention.head_count` is `llama.attention.head_count`.
    pub(super) fn key(&self, end: &str) -> String {
        format!("{}.{end}", self.name)
    }

    /// What `metadata` says, in the words of a `config.json`.
    pub(super) fn values(&self, metadata: &Metadata) -> Result<Map<String, Value>, GgufError> {
        let mut values = Map::new();
        for Key { gguf, json, kind } in self.all_keys() {
            let key = self.key(gguf);
            let value = match kind {
                Kind::Size => metadata.size(&key)?.map(Value::from),
                Kind::Float => metadata.float(&key)?.map(Value::from),
            };
            match value {
                Some(value) => drop(values.insert((*json).to_owned(), value)),
                None if NEEDED.iter().any(|needed| needed.gguf == *gguf) => return Err(GgufError::MissingKey { key }),
                None => {}
            }
        }
        Ok(values)
    }

    /// Writes what `values`, those of a `config.json`, say.
    pub(super) fn set(&self, values: &Map<String, Value>, entries: &mut Entries) {
        for Key { gguf, json, kind } in self.all_keys() {
            let Some(value) = values.get(*json) else { continue };
            let entry = match kind {
                // Sizes of a configuration have been checked to fit.
                Kind::Size => value.as_u64().map(|size| Entry::U32(size as u32)),
                Kind::Float => value.as_f64().map(|x| Entry::F32(x as f32)),
            };
            entry.into_iter().for_each(|entry| entries.set(self.key(gguf), entry));
        }
    }
}
