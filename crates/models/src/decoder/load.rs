//! Making a decoder: from stored weights, strictly; or with random weights, all trained.

use loract_autograd::Memory;

use super::Decoder;
use super::build::build;
use crate::config::DecoderConfig;
use crate::error::Error;
use crate::layers::source::{FromFile, FromSeed};
use crate::weights::Weights;

impl Decoder {
    /// A decoder whose weights are all frozen, in their stored form.
    ///
    /// # Errors
    /// [`Error::Weights`] with every tensor that is missing, of a wrong shape, or unknown.
    pub fn load(memory: &Memory, config: DecoderConfig, weights: Weights) -> Result<Self, Error> {
        let path = weights.path().to_path_buf();
        let mut source = FromFile::new(weights, memory);
        let decoder = build(config, &mut source);
        // Tied models may store the head all the same; buffers of old checkpoints are computed.
        let mut ignored = vec!["*.rotary_emb.inv_freq"];
        if decoder.as_ref().is_none_or(|d| d.config.tied) {
            ignored.push("lm_head.weight");
        }
        source.finish(&ignored)?;
        decoder.ok_or(Error::Weights { path, missing: Vec::new(), wrong: Vec::new(), unknown: Vec::new() })
    }

    /// A decoder with random weights, all trained.
    pub fn random(memory: &Memory, config: DecoderConfig, seed: u64) -> Option<Self> {
        build(config, &mut FromSeed::trained(memory, seed))
    }

    /// A decoder with random weights, all frozen and stored in bf16: the shapes of a model, to measure with.
    pub fn random_frozen(memory: &Memory, config: DecoderConfig, seed: u64) -> Option<Self> {
        build(config, &mut FromSeed::frozen(memory, seed))
    }
}
