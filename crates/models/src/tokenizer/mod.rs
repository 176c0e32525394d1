//! Text to token ids and back, by Hugging Face's `tokenizers`.
//!
//! Special tokens written in a text ("<|im_start|>") are recognised; none is ever added. Whether the model was made for
//! a beginning-of-text token in front is said by [`Tokenizer::add_bos`], and adding it is the caller's choice.

mod error;
mod gguf;
mod stream;
mod to_gguf;

use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;

use serde_json::{Value, json};
use tokenizers::processors::template::TemplateProcessing;

use crate::error::Error;
use crate::weights::gguf::Gguf;

pub use error::TokenizerError;
pub use stream::TextStream;

/// A tokenizer with what a trainer asks of it.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    bos: Option<u32>,
    eos: Option<u32>,
    add_bos: bool,
    vocab_size: usize,
    /// Tokens that stand for themselves, such as the ends of turns.
    added: HashSet<u32>,
}

/// The tokens of a text and where they come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// Token ids.
    pub ids: Vec<u32>,
    /// Of each token, the bytes of the text that it stands for; whole characters (tokens that share a character have the
    /// same), empty for a token that stands for nothing in the text.
    pub places: Vec<Range<usize>>,
}

impl Tokenizer {
    /// Reads a `tokenizer.json`. The names of the tokens that begin and end a text come from a `tokenizer_config.json`
    /// beside it, if there is one; a beginning is added if the file's own post-processor adds one.
    ///
    /// # Errors
    /// [`Error::Read`]; [`Error::Json`], [`Error::Tokenizer`] if a file is damaged.
    pub fn from_file(path: &Path) -> Result<Self, Error> {
        let read = |path: &Path| std::fs::read(path).map_err(|reason| Error::Read { path: path.to_path_buf(), reason });
        let json = read(path)?;
        let beside = path.with_file_name("tokenizer_config.json");
        let names = if beside.is_file() {
            let parsed = serde_json::from_slice(&read(&beside)?);
            parsed.map_err(|reason| Error::Json { path: beside, reason })?
        } else {
            Value::Null
        };
        Self::from_json(&json, &names).map_err(|reason| Error::Tokenizer { path: path.to_path_buf(), reason })
    }

    /// The tokenizer inside a GGUF file; `None` if it has none.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if it is of a kind that is not supported or damaged; [`Error::Gguf`] if a key is.
    pub fn from_gguf(gguf: &Gguf) -> Result<Option<Self>, Error> {
        let path = || gguf.path().to_path_buf();
        let parts = gguf::read(gguf.metadata()).map_err(|reason| Error::Gguf { path: path(), reason })?;
        let Some(parts) = parts else { return Ok(None) };
        let tokenizer = parts.build().map_err(|reason| Error::Tokenizer { path: path(), reason })?;
        Ok(Some(tokenizer))
    }

    /// From the text of a `tokenizer.json` and the value of a `tokenizer_config.json` (or null).
    fn from_json(json: &[u8], names: &Value) -> Result<Self, TokenizerError> {
        let inner = tokenizers::Tokenizer::from_bytes(json);
        let inner = inner.map_err(|e| TokenizerError::Damaged { reason: e.to_string() })?;
        let named = |key: &str| {
            let value = names.get(key)?;
            inner.token_to_id(value.as_str().or_else(|| value.get("content")?.as_str())?)
        };
        let (mut bos, eos) = (named("bos_token"), named("eos_token"));
        let ids = |special| {
            let encoding = inner.encode("a", special);
            encoding.map(|e| e.get_ids().to_vec()).map_err(|e| TokenizerError::Encode { reason: e.to_string() })
        };
        let (plain, special) = (ids(false)?, ids(true)?);
        let first = special.first().filter(|_| !special.starts_with(&plain)).copied();
        let add_bos = first.is_some_and(|first| bos.is_none_or(|bos| bos == first));
        if add_bos {
            bos = first;
        }
        Ok(Self::new(inner, bos, eos, add_bos))
    }

    fn new(mut inner: tokenizers::Tokenizer, bos: Option<u32>, eos: Option<u32>, add_bos: bool) -> Self {
        // It could only add tokens, cut, or take the spaces out of the places of tokens.
        inner.with_post_processor(None::<tokenizers::PostProcessorWrapper>);
        inner.with_padding(None);
        let _ = inner.with_truncation(None);
        let added = inner.get_added_tokens_decoder().into_keys().collect();
        let vocab_size = inner.get_vocab(true).into_values().max().map_or(0, |id| id as usize + 1);
        Self { inner, bos, eos, add_bos, vocab_size, added }
    }

    /// As a `tokenizer.json` and the `tokenizer_config.json` beside it, which [`Self::from_file`] reads as the same
    /// tokenizer.
    ///
    /// # Errors
    /// [`TokenizerError::Damaged`] if the library cannot write it.
    pub fn to_json(&self) -> Result<[Vec<u8>; 2], TokenizerError> {
        let damaged = |reason: String| TokenizerError::Damaged { reason };
        let mut inner = self.inner.clone();
        let token = |id: Option<u32>| id.and_then(|id| self.token(id));
        if let Some((bos, id)) = token(self.bos).zip(self.bos).filter(|_| self.add_bos) {
            let adds = TemplateProcessing::builder()
                .try_single(format!("{bos} $A"))
                .and_then(|builder| builder.try_pair(format!("{bos} $A $B")))
                .map_err(&damaged)?
                .special_tokens(vec![(bos, id)])
                .build()
                .map_err(|e| damaged(e.to_string()))?;
            inner.with_post_processor(Some(adds));
        }
        let json = inner.to_string(false).map_err(|e| damaged(e.to_string()))?;
        let names = json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": token(self.bos),
            "eos_token": token(self.eos),
            "clean_up_tokenization_spaces": false,
        });
        Ok([json.into_bytes(), format!("{names:#}\n").into_bytes()])
    }

    /// Itself, with `bos` and `eos` where it knows none of its own.
    pub fn or_ids(mut self, bos: Option<u32>, eos: Option<u32>) -> Self {
        self.bos = self.bos.or(bos);
        self.eos = self.eos.or(eos);
        self
    }

    /// The ids of a text. Special tokens in it are recognised, none is added.
    ///
    /// # Errors
    /// [`TokenizerError::Encode`].
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let encoding = self.inner.encode(text, false);
        encoding.map(|e| e.get_ids().to_vec()).map_err(|e| TokenizerError::Encode { reason: e.to_string() })
    }

    /// As [`Self::encode`], with the place of each token.
    ///
    /// # Errors
    /// [`TokenizerError::Encode`].
    pub fn encode_with_places(&self, text: &str) -> Result<Encoded, TokenizerError> {
        let encoding = self.inner.encode(text, false);
        let encoding = encoding.map_err(|e| TokenizerError::Encode { reason: e.to_string() })?;
        let places = encoding.get_offsets().iter().map(|&(start, end)| start..end).collect();
        Ok(Encoded { ids: encoding.get_ids().to_vec(), places })
    }

    /// The text of ids, special tokens included.
    ///
    /// # Errors
    /// [`TokenizerError::UnknownId`], [`TokenizerError::Decode`].
    pub fn decode(&self, ids: &[u32]) -> Result<String, TokenizerError> {
        if let Some(&id) = ids.iter().find(|&&id| self.inner.id_to_token(id).is_none()) {
            return Err(TokenizerError::UnknownId { id, vocabulary: self.vocab_size });
        }
        self.inner.decode(ids, false).map_err(|e| TokenizerError::Decode { reason: e.to_string() })
    }

    /// The id of a token by its text, special or not.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }
    /// The token with this id, as the vocabulary writes it.
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }
    /// Whether it is a token of its own, such as the end of a turn, rather than a piece of text.
    pub fn is_added(&self, id: u32) -> bool {
        self.added.contains(&id)
    }
    /// Token that begins a text.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }
    /// Token that ends a text.
    pub fn eos(&self) -> Option<u32> {
        self.eos
    }
    /// Whether the model was made for texts that begin with [`Self::bos`].
    pub fn add_bos(&self) -> bool {
        self.add_bos
    }
    /// One more than the largest id; the model's vocabulary may be larger.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }
}
