//! One decoder for every family: embedding, layers, final norm, head. What differs between families is configuration
//! ([`DecoderConfig`]); field names mirror the checkpoint's keys.
//!
//! A layer of most is  x + attention(norm(x)), then x + mlp(norm(x)):  the residual stream x is m×C, m = tokens of the
//! micro-batch, its sequences end to end without padding.

mod batch;
mod build;
mod load;
mod model;
mod rope;
mod tensors;

pub use batch::{Row, TokenBatch};

use loract_autograd::ops::{self, Head, Linear, LossOutput, Norm};
use loract_autograd::{KvCache, Memory, Param, Site, Tape, Tensor, Values, Var, Weight};

use crate::config::DecoderConfig;
use crate::error::Error;
use crate::layers::Layer;
use crate::layers::parts::{Named, Part, PartMut};
use rope::RopeCache;

/// A decoder language model. C width, V vocabulary.
#[derive(Debug)]
pub struct Decoder {
    config: DecoderConfig,
    /// Token embeddings, V×C; also the head if tied.
    embed_tokens: Weight,
    layers: Vec<Layer>,
    /// Final norm.
    norm: Named<Norm>,
    /// Head, V×C; `None` if tied to the embeddings.
    lm_head: Option<Weight>,
    /// Its bias, 1×V, in families that have one.
    head_bias: Option<Values>,
    rope: RopeCache,
}

impl Decoder {
    /// The architecture.
    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// The output of the final norm, m×C.
    ///
    /// # Errors
    /// [`Error::Context`] if a sequence is longer than the model's context; those of the ops.
    pub fn forward<'m>(&'m self, tape: &mut Tape<'m>, batch: &TokenBatch) -> Result<Var, Error> {
        let positions = batch.positions_end();
        if positions > self.config.context {
            return Err(Error::Context { tokens: positions, context: self.config.context });
        }
        let rows = batch.rows_of(self.rope.tables(&self.config, positions));
        tape.set_layer(None);
        let x = ops::embedding(tape, &self.embed_tokens, batch.ids())?;
        let mut x = ops::scale(tape, x, self.config.scales.embedding)?;
        for (index, layer) in self.layers.iter().enumerate() {
            tape.set_layer(Some(index));
            let rows = rows.clone();
            x = tape.segment(Site::CkptLayer, x, Box::new(move |tape, x| layer.forward(tape, x, &rows)))?;
        }
        tape.set_layer(None);
        Ok(ops::norm(tape, &x, &self.norm.part, &[Site::Norm])?)
    }

    /// The sum of the negative log-likelihoods of the batch's targets.
    ///
    /// # Errors
    /// Those of [`Decoder::forward`].
    pub fn loss<'m>(&'m self, tape: &mut Tape<'m>, batch: &TokenBatch) -> Result<LossOutput, Error> {
        let hidden = self.forward(tape, batch)?;
        Ok(ops::cross_entropy(tape, hidden, self.head(), batch.targets())?)
    }

    /// The logits of every row, m×V; for short inputs only.
    ///
    /// # Errors
    /// Those of [`Decoder::forward`].
    pub fn logits(&self, memory: &Memory, batch: &TokenBatch) -> Result<Tensor, Error> {
        let mut tape = Tape::evaluation(memory);
        let hidden = self.forward(&mut tape, batch)?;
        Ok(ops::project(&mut tape, &hidden, 0..batch.tokens(), self.head())?.tensor().clone())
    }

    /// The logits of the token that follows `ids`, 1×V; `ids` are at least one, and follow the tokens of `cache`, to which
    /// they are added.
    ///
    /// # Errors
    /// [`Error::BecomesLong`] if what is in the cache turns otherwise in the longer text; those of [`Decoder::forward`]. The cache is
    /// then as it was.
    pub fn next_logits(&self, memory: &Memory, cache: &mut KvCache, ids: &[u32]) -> Result<Tensor, Error> {
        let past = cache.tokens();
        let tokens = past + ids.len();
        if past > 0 && self.config.is_long(past) != self.config.is_long(tokens) {
            return Err(Error::BecomesLong { past, tokens });
        }
        let logits = self.last_logits(&mut Tape::generation(memory, cache), &TokenBatch::continued(past, ids));
        if logits.is_err() {
            cache.truncate(past);
        }
        logits
    }

    fn last_logits<'m>(&'m self, tape: &mut Tape<'m>, batch: &TokenBatch) -> Result<Tensor, Error> {
        let rows = batch.tokens();
        if rows == 0 {
            return Err(Error::NoTokens);
        }
        let hidden = self.forward(tape, batch)?;
        Ok(ops::project(tape, &hidden, rows - 1..rows, self.head())?.tensor().clone())
    }

    fn head(&self) -> Head<'_> {
        Head {
            weight: self.lm_head.as_ref().unwrap_or(&self.embed_tokens),
            bias: self.head_bias.as_ref(),
            scale: self.config.scales.logits,
            softcap: self.config.logit_softcap,
        }
    }

    /// Every linear layer with its name in the checkpoint, in order (`model.layers.0.self_attn.q_proj`, …).
    pub fn linears(&self) -> impl Iterator<Item = (String, &Linear)> {
        self.layers.iter().enumerate().flat_map(|(i, layer)| {
            let linears = layer.parts().into_iter().filter_map(Part::linear);
            linears.map(move |(name, linear)| (layer_name(i, name), linear))
        })
    }

    /// As [`Decoder::linears`], to change.
    pub fn linears_mut(&mut self) -> impl Iterator<Item = (String, &mut Linear)> {
        self.layers.iter_mut().enumerate().flat_map(|(i, layer)| {
            let linears = layer.parts_mut().into_iter().filter_map(PartMut::linear);
            linears.map(move |(name, linear)| (layer_name(i, name), linear))
        })
    }

    /// Every trained parameter, in the order of the checkpoint.
    pub fn params(&self) -> Vec<&Param> {
        let mut all: Vec<&Param> = Vec::new();
        all.extend(self.embed_tokens.trained());
        for part in self.layers.iter().flat_map(Layer::parts).chain([Part::Norm(&self.norm)]) {
            part.params(&mut all);
        }
        all.extend(self.lm_head.as_ref().and_then(Weight::trained));
        all.extend(self.head_bias.as_ref().and_then(Values::trained));
        all
    }

    /// As [`Decoder::params`], to update.
    pub fn params_mut(&mut self) -> Vec<&mut Param> {
        let mut all: Vec<&mut Param> = Vec::new();
        all.extend(self.embed_tokens.trained_mut());
        for part in self.layers.iter_mut().flat_map(Layer::parts_mut).chain([PartMut::Norm(&mut self.norm)]) {
            part.params(&mut all);
        }
        all.extend(self.lm_head.as_mut().and_then(Weight::trained_mut));
        all.extend(self.head_bias.as_mut().and_then(Values::trained_mut));
        all
    }
}

fn layer_name(index: usize, name: &str) -> String {
    format!("model.layers.{index}.{name}")
}
