//! A byte-level BPE tokenizer as the metadata of a GGUF file: what llama.cpp's converter (`_set_vocab_gpt2`) writes.
//!
//! llama.cpp has the pre-tokenizers built in and knows them by name, so only a tokenizer that splits as one of those that the
//! reader knows can be written.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokenizers::{NormalizerWrapper, PreTokenizerWrapper};

use super::gguf::{CONTROL, Pre, USER_DEFINED};
use super::{Tokenizer, TokenizerError};
use crate::weights::gguf::write::Entry;

/// Names of llama.cpp for pre-tokenizers, each of which stands for another.
const KNOWN: [&str; 4] = ["smollm", "llama-bpe", "qwen2", "gpt-2"];

/// `LLAMA_TOKEN_TYPE_*` of llama.cpp.
const NORMAL: i32 = 1;
const UNUSED: i32 = 5;

impl Tokenizer {
    /// Keys and values for a model of `vocab_size` tokens; ids without a token get a placeholder, as llama.cpp wants a token
    /// for each.
    ///
    /// # Errors
    /// [`TokenizerError::NotForLlamaCpp`] if it is of another kind or its pre-tokenizer has no name;
    /// [`TokenizerError::TooLarge`] if there are more tokens than that.
    pub fn to_gguf(&self, vocab_size: usize) -> Result<Vec<(&'static str, Entry)>, TokenizerError> {
        if self.vocab_size > vocab_size {
            return Err(TokenizerError::TooLarge { tokens: self.vocab_size, vocab_size });
        }
        let file = self.inner.to_string(false).map_err(|e| TokenizerError::Damaged { reason: e.to_string() })?;
        let file: Value = serde_json::from_str(&file).map_err(|e| TokenizerError::Damaged { reason: e.to_string() })?;
        let pre = pre_tokenizer(&file)?;
        let (tokens, types) = self.tokens_and_types(vocab_size);
        let mut entries = vec![
            ("tokenizer.ggml.model", Entry::Text("gpt2".to_owned())),
            ("tokenizer.ggml.pre", Entry::Text(pre.to_owned())),
            ("tokenizer.ggml.tokens", Entry::Texts(tokens)),
            ("tokenizer.ggml.token_type", Entry::I32s(types)),
            ("tokenizer.ggml.merges", Entry::Texts(merges(&file))),
        ];
        entries.extend(self.bos.map(|id| ("tokenizer.ggml.bos_token_id", Entry::U32(id))));
        entries.extend(self.eos.map(|id| ("tokenizer.ggml.eos_token_id", Entry::U32(id))));
        entries.push(("tokenizer.ggml.add_bos_token", Entry::Bool(self.add_bos)));
        entries.push(("tokenizer.ggml.add_space_prefix", Entry::Bool(false)));
        Ok(entries)
    }

    fn tokens_and_types(&self, vocab_size: usize) -> (Vec<String>, Vec<i32>) {
        let mut tokens: Vec<String> = (0..vocab_size).map(|id| format!("[PAD{id}]")).collect();
        let mut types = vec![UNUSED; vocab_size];
        for (token, id) in self.inner.get_vocab(true) {
            (tokens[id as usize], types[id as usize]) = (token, NORMAL);
        }
        for (id, added) in self.inner.get_added_tokens_decoder() {
            let control = added.special || looks_special(&added.content);
            types[id as usize] = (if control { CONTROL } else { USER_DEFINED }) as i32;
        }
        (tokens, types)
    }
}

/// Tokens that some models do not mark as special and that are control tokens all the same
/// (`does_token_look_special` of the converter).
fn looks_special(token: &str) -> bool {
    let within = |start: &str, end: &str| token.starts_with(start) && token.ends_with(end);
    ["<pad>", "<mask>", "<2mass>", "[@BOS@]"].contains(&token)
        || within("<|", "|>")
        || within("<｜", "｜>")
        || within("<unused", ">")
}

/// llama.cpp's name of how the tokenizer in `file` splits and merges.
fn pre_tokenizer(file: &Value) -> Result<&'static str, TokenizerError> {
    let refused = |what: &str| TokenizerError::NotForLlamaCpp { what: what.to_owned(), known: KNOWN.join(", ") };
    let model = &file["model"];
    if model["type"] != "BPE" || model["byte_fallback"] == true {
        return Err(refused("it is not byte-level BPE"));
    }
    if ["continuing_subword_prefix", "end_of_word_suffix"]
        .iter()
        .any(|key| model[key].as_str().is_some_and(|s| !s.is_empty()))
    {
        return Err(refused("its tokens have prefixes or suffixes"));
    }
    let whole_words = model["ignore_merges"] == true;
    let (normalizer, splitter) = (without_offsets(&file["normalizer"]), without_offsets(&file["pre_tokenizer"]));
    let is_same = |name: &&str| {
        Pre::named(name).is_ok_and(|pre| {
            pre.whole_words == whole_words
                && as_the_library_writes::<NormalizerWrapper>(&pre.normalizer) == Some(normalizer.clone())
                && as_the_library_writes::<PreTokenizerWrapper>(&pre.splitter) == Some(splitter.clone())
        })
    };
    KNOWN.into_iter().find(is_same).ok_or_else(|| refused("it splits text in a way of its own"))
}

/// A part of a `tokenizer.json` with the defaults filled in, as the parts of `file` have them.
fn as_the_library_writes<T: DeserializeOwned + Serialize>(part: &Value) -> Option<Value> {
    if part.is_null() {
        return Some(Value::Null);
    }
    let part = serde_json::from_value::<T>(part.clone()).ok()?;
    Some(without_offsets(&serde_json::to_value(part).ok()?))
}

/// Itself without `trim_offsets`, which says nothing of the ids.
fn without_offsets(part: &Value) -> Value {
    match part {
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(key, _)| *key != "trim_offsets");
            Value::Object(kept.map(|(key, value)| (key.clone(), without_offsets(value))).collect())
        }
        Value::Array(parts) => Value::Array(parts.iter().map(without_offsets).collect()),
        other => other.clone(),
    }
}

/// The merges in their order, "a b" each. Old files have them so; newer ones have pairs.
fn merges(file: &Value) -> Vec<String> {
    let pair = |merge: &Value| match merge {
        Value::Array(pair) => {
            // A space within a token would be read as the one between them.
            let side = |i: usize| pair.get(i).and_then(Value::as_str).unwrap_or_default().replace(' ', "Ġ");
            format!("{} {}", side(0), side(1))
        }
        text => text.as_str().unwrap_or_default().to_owned(),
    };
    file["model"]["merges"].as_array().map(|merges| merges.iter().map(pair).collect()).unwrap_or_default()
}
