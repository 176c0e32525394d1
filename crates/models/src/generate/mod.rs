//! Text from a model, a token at a time.
//!
//! A [`Generator`] holds the tokens so far. [`Generator::set_text`] gives it others, of which only those that differ run
//! again; [`Generator::next_token`] runs what has not run yet and picks the token that follows ([`Sampling`]).

mod sampling;

pub use sampling::{Sampling, SamplingError};

use loract_autograd::{KvCache, Memory};

use crate::decoder::Decoder;
use crate::error::Error;
use sampling::Sampler;

/// A text that goes on.
#[derive(Debug)]
pub struct Generator<'m> {
    decoder: &'m Decoder,
    memory: Memory,
    /// Keys and values of the first of `tokens`.
    cache: KvCache,
    /// Whether they are those of a long text ([`crate::DecoderConfig::is_long`]).
    long: bool,
    tokens: Vec<u32>,
    sampler: Sampler,
}

impl<'m> Generator<'m> {
    /// Of a model; its text is empty. The same `seed` and texts give the same tokens.
    pub fn new(decoder: &'m Decoder, memory: &Memory, sampling: Sampling, seed: u64) -> Self {
        let sampler = Sampler::new(sampling, seed);
        Self { decoder, memory: memory.clone(), cache: KvCache::new(), long: false, tokens: Vec::new(), sampler }
    }

    /// The tokens so far.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// How many more tokens the model's context takes.
    pub fn room(&self) -> usize {
        self.decoder.config().context.saturating_sub(self.tokens.len())
    }

    /// Makes `tokens` the text so far. What it begins with like the text before is not run again.
    pub fn set_text(&mut self, tokens: &[u32]) {
        let shared = self.tokens.iter().zip(tokens).take_while(|(a, b)| a == b).count();
        self.cache.truncate(if self.fits(tokens.len()) { shared } else { 0 });
        self.tokens.clear();
        self.tokens.extend_from_slice(tokens);
    }

    /// Picks the token that follows, and puts it behind the text.
    ///
    /// # Errors
    /// [`Error::NoTokens`] of an empty text, [`Error::Context`] if it is longer than the model's context, [`Error::Logits`]
    /// if the model gives numbers that are not finite; the text is then as it was.
    pub fn next_token(&mut self) -> Result<u32, Error> {
        // The last token runs again if its logits are gone.
        let ran = self.cache.tokens().min(self.tokens.len().saturating_sub(1));
        let long = self.decoder.config().is_long(self.tokens.len());
        let ran = if self.fits(self.tokens.len()) && self.decoder.config().is_long(ran) == long { ran } else { 0 };
        self.cache.truncate(ran);
        let mut logits = self.decoder.next_logits(&self.memory, &mut self.cache, &self.tokens[ran..])?.to_vec();
        self.long = long;
        let token = self.sampler.pick(&mut logits, &self.tokens).ok_or(Error::Logits { tokens: self.tokens.len() })?;
        self.tokens.push(token);
        Ok(token)
    }

    /// Whether the keys that are kept are those of a text of so many tokens.
    fn fits(&self, tokens: usize) -> bool {
        self.long == self.decoder.config().is_long(tokens)
    }
}
