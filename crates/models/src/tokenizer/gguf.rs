//! The byte-level BPE tokenizer inside a GGUF file, as the value of a `tokenizer.json`.
//!
//! | `tokenizer.ggml.pre` | pre-tokenizer, as in the models' own `tokenizer.json` |
//! |---|---|
//! | `gpt-2`, `gpt2`, `default` or absent | byte level with GPT-2's pattern |
//! | `smollm` | single digits, then byte level with GPT-2's pattern |
//! | `llama-bpe`, `llama3` | Llama 3's pattern (up to three digits), then byte level; whole words before merges |
//! | `qwen2` | NFC, Qwen 2's pattern (single digits), then byte level |

use std::collections::HashMap;

use serde_json::{Value, json};

use super::{Tokenizer, TokenizerError};
use crate::weights::gguf::{GgufError, Metadata};

const SUPPORTED: &str = "default, gpt-2, smollm, llama-bpe, qwen2";

/// `LLAMA_TOKEN_TYPE_*` of llama.cpp.
pub(super) const CONTROL: i64 = 3;
pub(super) const USER_DEFINED: i64 = 4;

/// The metadata of a tokenizer.
pub(super) struct Parts<'a> {
    model: &'a str,
    pre: &'a str,
    tokens: &'a [String],
    types: Vec<i64>,
    merges: &'a [String],
    bos: Option<u32>,
    eos: Option<u32>,
    add_bos: Option<bool>,
}

/// The tokenizer's metadata; `None` if there is no tokenizer.
pub(super) fn read(metadata: &Metadata) -> Result<Option<Parts<'_>>, GgufError> {
    let Some(model) = metadata.text("tokenizer.ggml.model")?.filter(|&model| model != "none") else {
        return Ok(None);
    };
    let id = |key| Ok(metadata.unsigned(key)?.and_then(|id| u32::try_from(id).ok()));
    let missing = |key: &str| GgufError::MissingKey { key: key.to_owned() };
    let (tokens, types) = ("tokenizer.ggml.tokens", "tokenizer.ggml.token_type");
    Ok(Some(Parts {
        model,
        pre: metadata.text("tokenizer.ggml.pre")?.unwrap_or("default"),
        tokens: metadata.texts(tokens)?.ok_or_else(|| missing(tokens))?,
        types: metadata.integers(types)?.ok_or_else(|| missing(types))?,
        merges: metadata.texts("tokenizer.ggml.merges")?.unwrap_or_default(),
        bos: id("tokenizer.ggml.bos_token_id")?,
        eos: id("tokenizer.ggml.eos_token_id")?,
        add_bos: metadata.bool("tokenizer.ggml.add_bos_token")?,
    }))
}

/// What a pre-tokenizer's name stands for.
pub(super) struct Pre {
    pub(super) normalizer: Value,
    pub(super) splitter: Value,
    /// Words that are tokens are taken whole, whatever the merges say.
    pub(super) whole_words: bool,
    /// Whether llama.cpp adds a beginning where the file does not say.
    add_bos: bool,
}

impl Pre {
    pub(super) fn named(name: &str) -> Result<Self, TokenizerError> {
        let bytes = |use_regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex});
        let plain = |splitter| Self { normalizer: Value::Null, splitter, whole_words: false, add_bos: false };
        let sequence = |first: Value, then: Value| json!({"type": "Sequence", "pretokenizers": [first, then]});
        let words = |digits: &str| {
            let pattern = format!(
                r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
            );
            let split =
                json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
            sequence(split, bytes(false))
        };
        match name {
            "default" | "gpt-2" | "gpt2" => Ok(plain(bytes(true))),
            "smollm" => Ok(plain(sequence(json!({"type": "Digits", "individual_digits": true}), bytes(true)))),
            "llama-bpe" | "llama3" => Ok(Self { whole_words: true, add_bos: true, ..plain(words(r"\p{N}{1,3}")) }),
            "qwen2" => Ok(Self { normalizer: json!({"type": "NFC"}), ..plain(words(r"\p{N}")) }),
            found => Err(TokenizerError::Pre { found: found.to_owned(), supported: SUPPORTED }),
        }
    }
}

impl Parts<'_> {
    pub(super) fn build(self) -> Result<Tokenizer, TokenizerError> {
        if self.model != "gpt2" {
            return Err(TokenizerError::Model { found: self.model.to_owned() });
        }
        let pre = Pre::named(self.pre)?;
        if self.types.len() != self.tokens.len() {
            return Err(TokenizerError::Lengths { tokens: self.tokens.len(), types: self.types.len() });
        }
        let mut vocabulary = HashMap::with_capacity(self.tokens.len());
        for (id, token) in self.tokens.iter().enumerate() {
            if let Some(first) = vocabulary.insert(token, id) {
                return Err(TokenizerError::TokenTwice { token: token.clone(), first, second: id });
            }
        }
        let added: Vec<Value> = (self.tokens.iter().zip(&self.types).enumerate())
            .filter(|(_, (_, kind))| matches!(**kind, CONTROL | USER_DEFINED))
            .map(|(id, (token, &kind))| {
                json!({"id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
                    "normalized": false, "special": kind == CONTROL})
            })
            .collect();
        let file = json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": added,
            "normalizer": pre.normalizer,
            "pre_tokenizer": pre.splitter,
            "post_processor": null,
            "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
            "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
                "ignore_merges": pre.whole_words, "vocab": vocabulary, "merges": self.merges},
        });
        let inner = tokenizers::Tokenizer::from_bytes(file.to_string());
        let inner = inner.map_err(|e| TokenizerError::Damaged { reason: e.to_string() })?;
        Ok(Tokenizer::new(inner, self.bos, self.eos, self.add_bos.unwrap_or(pre.add_bos)))
    }
}
