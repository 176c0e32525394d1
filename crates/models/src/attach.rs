//! Attaching LoRA pairs to the linear layers of a model.

use loract_autograd::ops::Lora;
use loract_autograd::{Memory, Param, Rng};

use crate::decoder::Decoder;
use crate::error::Error;

/// Which layers get a LoRA pair, and of what kind. r is the LoRA rank, never the compression rank.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraConfig {
    /// r.
    pub rank: usize,
    /// The branch is multiplied by alpha/r.
    pub alpha: f32,
    /// Probability that an element of a branch's input is dropped in training.
    pub dropout: f32,
    /// Last parts of layer names (`q_proj`, …).
    pub targets: Vec<String>,
}

impl LoraConfig {
    /// s = alpha/r.
    pub fn scale(&self) -> f32 {
        self.alpha / self.rank as f32
    }
}

/// The prefix that PEFT puts before a layer's name.
const PEFT_PREFIX: &str = "base_model.model.";

/// The names of a layer's A and B in a PEFT adapter file.
pub(crate) fn peft_names(layer: &str) -> [String; 2] {
    ["A", "B"].map(|side| format!("{PEFT_PREFIX}{layer}.lora_{side}.weight"))
}

impl Decoder {
    /// Gives each target layer a new pair: A uniform in ±1/√in (PEFT's `kaiming_uniform_(a=√5)`), B zero, so the model
    /// is unchanged at first. The same seed gives the same A.
    ///
    /// # Errors
    /// [`Error::LoraRank`] for rank 0; [`Error::NoSuchTarget`] if a target matches no layer.
    pub fn attach_lora(&mut self, memory: &Memory, config: &LoraConfig, seed: u64) -> Result<(), Error> {
        self.attach_with(memory, config, |tag, name, rows, cols| {
            if name.ends_with("lora_B.weight") {
                return Ok(vec![0.0; rows * cols]);
            }
            let mut rng = Rng::new(&[seed, 0x10a, tag]);
            let bound = 1.0 / (cols as f32).sqrt();
            Ok((0..rows * cols).map(|_| bound * (2.0 * rng.uniform() - 1.0)).collect())
        })
    }

    /// Sets the dropout of every pair.
    pub fn set_lora_dropout(&mut self, probability: f32) {
        for lora in self.linears_mut().filter_map(|(_, linear)| linear.lora.as_mut()) {
            lora.dropout = probability;
        }
    }

    /// As [`Decoder::attach_lora`] with numbers from `numbers(tag, PEFT name, rows, cols)`.
    pub(crate) fn attach_with(
        &mut self,
        memory: &Memory,
        config: &LoraConfig,
        mut numbers: impl FnMut(u64, &str, usize, usize) -> Result<Vec<f32>, Error>,
    ) -> Result<(), Error> {
        let r = config.rank;
        if r == 0 {
            return Err(Error::LoraRank);
        }
        let last = |name: &str| name.rsplit('.').next().unwrap_or(name).to_owned();
        let mut known: Vec<String> = Vec::new();
        for (name, _) in self.linears() {
            let last = last(&name);
            if !known.contains(&last) {
                known.push(last);
            }
        }
        if let Some(target) = config.targets.iter().find(|target| !known.contains(target)) {
            return Err(Error::NoSuchTarget { target: target.clone(), known: known.join(", ") });
        }
        if config.targets.is_empty() {
            return Err(Error::NoSuchTarget { target: String::new(), known: known.join(", ") });
        }
        for (tag, (name, linear)) in self.linears_mut().enumerate() {
            if !config.targets.contains(&last(&name)) {
                continue;
            }
            let (inputs, outputs) = (linear.weight.cols(), linear.weight.rows());
            let [a_name, b_name] = peft_names(&name);
            let a = numbers(tag as u64, &a_name, r, inputs)?;
            let b = numbers(tag as u64, &b_name, outputs, r)?;
            linear.lora = Some(Lora {
                a: Param::new(memory, a_name, r, inputs, a),
                b: Param::new(memory, b_name, outputs, r, b),
                scale: config.scale(),
                dropout: config.dropout,
                // Tags of compression streams are small; dropout's lie apart from them.
                tag: 1 << 40 | tag as u64,
            });
        }
        Ok(())
    }
}
