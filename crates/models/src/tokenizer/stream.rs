//! The text of tokens as they come.

use tokenizers::tokenizer::DecodeStream;
use tokenizers::{DecoderWrapper, ModelWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper};

use super::{Tokenizer, TokenizerError};

/// Tokens become text piece by piece. A piece that ends within a character waits for the next; special tokens are text.
pub struct TextStream<'t>(
    DecodeStream<'t, ModelWrapper, NormalizerWrapper, PreTokenizerWrapper, PostProcessorWrapper, DecoderWrapper>,
);

impl std::fmt::Debug for TextStream<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TextStream")
    }
}

impl Tokenizer {
    /// A text of no tokens yet.
    pub fn stream(&self) -> TextStream<'_> {
        TextStream(self.inner.decode_stream(false))
    }
}

impl TextStream<'_> {
    /// What `token` adds to the text; empty if a character is not whole yet.
    ///
    /// # Errors
    /// [`TokenizerError::Decode`].
    pub fn push(&mut self, token: u32) -> Result<String, TokenizerError> {
        let piece = self.0.step(token).map_err(|e| TokenizerError::Decode { reason: e.to_string() })?;
        Ok(piece.unwrap_or_default())
    }
}
