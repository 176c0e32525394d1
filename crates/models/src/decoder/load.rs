//! Making a decoder: from stored weights, strictly; or with random weights, all trained.

use loract_autograd::{Bytes, DType, Frozen, Memory, Param, Rng, Values, Weight, to_bf16_bytes};

use super::Decoder;
use super::build::{Tensors, build};
use crate::config::DecoderConfig;
use crate::error::Error;
use crate::weights::{Checked, Weights};

/// Stored tensors, frozen.
struct FromFile<'a> {
    checked: Checked,
    memory: &'a Memory,
}

impl Tensors for FromFile<'_> {
    fn matrix(&mut self, name: &str, rows: usize, cols: usize) -> Option<Weight> {
        self.checked.matrix(name, rows, cols).map(Weight::Frozen)
    }
    fn vector(&mut self, name: &str, shape: &[usize], _: f32) -> Option<Values> {
        self.checked.vector(name, shape).map(|numbers| Values::frozen(self.memory, numbers))
    }
}

/// Random tensors: matrices normal with deviation 0.02 (GPT-2's and Llama's start), norms 1, biases 0. Trained in f32, or
/// frozen in bf16.
struct FromSeed<'a> {
    memory: &'a Memory,
    rng: Rng,
    frozen: bool,
}

impl Tensors for FromSeed<'_> {
    fn matrix(&mut self, name: &str, rows: usize, cols: usize) -> Option<Weight> {
        let numbers: Vec<f32> = (0..rows * cols).map(|_| 0.02 * self.rng.normal()).collect();
        if self.frozen {
            let bytes = Bytes::owned(to_bf16_bytes(&numbers));
            return Frozen::new(self.memory, DType::Bf16, rows, cols, bytes).ok().map(Weight::Frozen);
        }
        Some(Weight::Trained(Param::new(self.memory, name, rows, cols, numbers)))
    }
    fn vector(&mut self, name: &str, shape: &[usize], start: f32) -> Option<Values> {
        let len = shape.iter().product();
        let numbers = vec![start; len];
        Some(match self.frozen {
            true => Values::frozen(self.memory, numbers),
            false => Values::Trained(Param::new(self.memory, name, 1, len, numbers)),
        })
    }
}

impl Decoder {
    /// A decoder whose weights are all frozen, in their stored form.
    ///
    /// # Errors
    /// [`Error::Weights`] with every tensor that is missing, of a wrong shape, or unknown.
    pub fn load(memory: &Memory, config: DecoderConfig, weights: Weights) -> Result<Self, Error> {
        let path = weights.path().to_path_buf();
        let mut source = FromFile { checked: Checked::new(weights, memory), memory };
        let decoder = build(config, &mut source);
        // Tied models may store the head all the same; buffers of old checkpoints are computed.
        let mut ignored = vec!["*.rotary_emb.inv_freq"];
        if decoder.as_ref().is_none_or(|d| d.config.tied) {
            ignored.push("lm_head.weight");
        }
        source.checked.finish(&ignored)?;
        decoder.ok_or(Error::Weights { path, missing: Vec::new(), wrong: Vec::new(), unknown: Vec::new() })
    }

    /// A decoder with random weights, all trained.
    pub fn random(memory: &Memory, config: DecoderConfig, seed: u64) -> Option<Self> {
        build(config, &mut FromSeed { memory, rng: Rng::new(&[seed, 0x1717]), frozen: false })
    }

    /// A decoder with random weights, all frozen and stored in bf16: the shapes of a model, to measure with.
    pub fn random_frozen(memory: &Memory, config: DecoderConfig, seed: u64) -> Option<Self> {
        build(config, &mut FromSeed { memory, rng: Rng::new(&[seed, 0x1717]), frozen: true })
    }
}
