//! The settings of a run, resolved: nothing is left to be guessed, and what is written as `config.toml` runs it again.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use loract_autograd::{Compress, Policy, Rank, Recompute, Site};
use loract_models::LoraConfig;
use serde::{Serialize, Serializer};

use crate::error::Error;
use crate::schedule::ScheduleKind;

/// A named setting of what is kept for backward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activations {
    /// Everything exact, nothing recomputed: plain LoRA.
    Exact,
    /// Each layer recomputed from its exact input: gradient checkpointing.
    Checkpoint,
    /// The recommended preset; until there is one of our own, the same as `loract-paper`.
    Loract,
    /// The paper's sites compressed, nothing recomputed.
    LoractPaper,
    /// Attention and MLP recomputed from the compressed x̂ of their norm (the reference's `sublayer`).
    LoractSublayer,
    /// Each layer recomputed from its compressed input (the reference's `layer`).
    LoractLayer,
}

impl Activations {
    /// All presets with their names.
    pub const ALL: [(&'static str, Activations); 6] = [
        ("exact", Activations::Exact),
        ("checkpoint", Activations::Checkpoint),
        ("loract", Activations::Loract),
        ("loract-paper", Activations::LoractPaper),
        ("loract-sublayer", Activations::LoractSublayer),
        ("loract-layer", Activations::LoractLayer),
    ];

    /// Compression and recomputation that the preset stands for.
    pub fn parts(self) -> (Compress, Recompute) {
        match self {
            Activations::Exact => (Compress::None, Recompute::None),
            Activations::Checkpoint => (Compress::None, Recompute::Layer),
            Activations::Loract | Activations::LoractPaper => (Compress::Rqb, Recompute::None),
            Activations::LoractSublayer => (Compress::Rqb, Recompute::Sublayer),
            Activations::LoractLayer => (Compress::Rqb, Recompute::Layer),
        }
    }

    /// The policy of the preset at the paper's rank, ρ = 1/8.
    pub fn policy(self) -> Policy {
        let (compress, recompute) = self.parts();
        let sites = if compress == Compress::None { BTreeSet::new() } else { Policy::sites_of(recompute) };
        Policy { compress, recompute, sites, ..Policy::exact() }
    }
}

impl FromStr for Activations {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "loract-fast" {
            return Err("`loract-fast` is not in this version; loract-sublayer gives the same gradients, slower".into());
        }
        Self::ALL.into_iter().find(|(name, _)| *name == text).map(|(_, preset)| preset).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|(name, _)| *name).collect();
            format!("unknown preset `{text}`; the presets are {}", known.join(", "))
        })
    }
}

impl fmt::Display for Activations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(Self::ALL.iter().find(|(_, preset)| preset == self).map_or("", |(name, _)| name))
    }
}

/// The settings of `loract train`. Keys of `config.toml` are the flags without dashes, with `_` for `-`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunConfig {
    /// Hugging Face folder or GGUF file.
    pub model: PathBuf,
    /// JSONL file to train on.
    pub data: PathBuf,
    /// Folder for what the run leaves.
    pub out: PathBuf,
    /// Adapter to start from; gives rank, alpha and targets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adapter: Option<PathBuf>,
    /// Optimiser steps; absent = one pass over the data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// Rows a micro-batch, B.
    pub batch_size: usize,
    /// Rows are cut to this many tokens, T; absent = rows beyond the model's context are an error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq_len: Option<usize>,
    /// Micro-batches a step.
    pub grad_accum: usize,
    /// Highest learning rate.
    pub lr: f64,
    /// Its shape.
    #[serde(serialize_with = "as_name")]
    pub schedule: ScheduleKind,
    /// Steps of warm-up.
    pub warmup: u64,
    /// AdamW's weight decay.
    pub weight_decay: f64,
    /// Gradients are scaled down to this norm; 0 = off.
    pub max_grad_norm: f64,
    /// Names every random stream.
    pub seed: u64,
    /// Rows in file order.
    pub no_shuffle: bool,
    /// Threads.
    pub threads: usize,
    /// JSONL file to evaluate on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eval_data: Option<PathBuf>,
    /// Evaluate every this many steps (and at the end); 0 = at the end only.
    pub eval_every: u64,
    /// Keep an adapter every this many steps; 0 = at the end only.
    pub save_every: u64,
    /// LoRA rank r.
    pub lora_rank: usize,
    /// The branch is multiplied by alpha/r.
    pub lora_alpha: f64,
    /// LoRA dropout.
    pub lora_dropout: f64,
    /// Last parts of the names of layers that get a LoRA pair.
    pub lora_targets: Vec<String>,
    /// Recomputed segments.
    #[serde(serialize_with = "as_name")]
    pub recompute: Recompute,
    /// Method of compression.
    #[serde(serialize_with = "as_name")]
    pub compress: Compress,
    /// Compression rank k or fraction ρ.
    #[serde(serialize_with = "as_text")]
    pub rank: Rank,
    /// Bits of a quantised residual; 0 = none, the only choice in this version.
    pub residual_bits: u8,
    /// Compressed sites.
    #[serde(serialize_with = "as_texts")]
    pub sites: BTreeSet<Site>,
}

/// A word for flags and files.
pub trait Named: Copy + 'static {
    /// Every value with its word.
    const NAMES: &'static [(&'static str, Self)];
}

impl Named for Recompute {
    const NAMES: &'static [(&'static str, Self)] =
        &[("none", Recompute::None), ("sublayer", Recompute::Sublayer), ("layer", Recompute::Layer)];
}

impl Named for Compress {
    const NAMES: &'static [(&'static str, Self)] =
        &[("none", Compress::None), ("rqb", Compress::Rqb), ("gauss", Compress::Gauss)];
}

impl Named for ScheduleKind {
    const NAMES: &'static [(&'static str, Self)] =
        &[("constant", ScheduleKind::Constant), ("linear", ScheduleKind::Linear), ("cosine", ScheduleKind::Cosine)];
}

/// Reads a word of `T`.
///
/// # Errors
/// A message with the known words.
pub fn parse_name<T: Named>(text: &str) -> Result<T, String> {
    let known: Vec<_> = T::NAMES.iter().map(|(name, _)| *name).collect();
    if ["rsvd", "tsvd", "nystrom"].contains(&text) {
        return Err(format!("`{text}` is not in this version; possible: {}", known.join(", ")));
    }
    let found = T::NAMES.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
    found.ok_or_else(|| format!("`{text}` is none of {}", known.join(", ")))
}

fn as_name<T: Named + PartialEq, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(T::NAMES.iter().find(|(_, v)| v == value).map_or("", |(name, _)| name))
}
fn as_text<T: fmt::Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}
fn as_texts<S: Serializer>(values: &BTreeSet<Site>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(values.iter().map(|site| site.name()))
}

impl RunConfig {
    /// What is kept for backward.
    pub fn policy(&self) -> Policy {
        Policy { compress: self.compress, rank: self.rank, sites: self.sites.clone(), recompute: self.recompute }
    }

    /// The LoRA settings.
    pub fn lora(&self) -> LoraConfig {
        LoraConfig {
            rank: self.lora_rank,
            alpha: self.lora_alpha as f32,
            dropout: self.lora_dropout as f32,
            targets: self.lora_targets.clone(),
        }
    }

    /// Checks what can be checked without opening a file.
    ///
    /// # Errors
    /// [`Error::Setting`] naming the first setting that cannot be used.
    pub fn check(&self) -> Result<(), Error> {
        let wrong = |key, what: String| Err(Error::Setting { key, what });
        for (key, value) in [
            ("batch-size", self.batch_size),
            ("grad-accum", self.grad_accum),
            ("lora-rank", self.lora_rank),
            ("threads", self.threads),
        ] {
            if value == 0 {
                return wrong(key, "0; the least is 1".into());
            }
        }
        // Beyond what anyone can run; keeps sizes computed from them in range.
        let most = [
            ("batch-size", self.batch_size, 1 << 20),
            ("grad-accum", self.grad_accum, 1 << 20),
            ("lora-rank", self.lora_rank, 1 << 16),
        ];
        if let Some((key, value, most)) = most.into_iter().find(|(_, value, most)| value > most) {
            return wrong(key, format!("{value}; the most is {most}"));
        }
        if self.steps == Some(0) {
            return wrong("steps", "0; the least is 1".into());
        }
        if self.seq_len.is_some_and(|t| t < 2) {
            return wrong("seq-len", "a row needs two tokens at least, one to predict the other".into());
        }
        if !(self.lr.is_finite() && self.lr > 0.0) {
            return wrong("lr", format!("{} is not a positive number", self.lr));
        }
        for (key, value) in [("weight-decay", self.weight_decay), ("max-grad-norm", self.max_grad_norm)] {
            if !(value.is_finite() && value >= 0.0) {
                return wrong(key, format!("{value} is not a number of 0 or more"));
            }
        }
        if !(self.lora_alpha.is_finite() && self.lora_alpha > 0.0) {
            return wrong("lora-alpha", format!("{} is not a positive number", self.lora_alpha));
        }
        if !(0.0..1.0).contains(&self.lora_dropout) {
            return wrong("lora-dropout", format!("{} is not between 0 (included) and 1", self.lora_dropout));
        }
        if self.residual_bits != 0 {
            let what = format!("{} is not in this version; only 0 (no residual) is", self.residual_bits);
            return wrong("residual-bits", what);
        }
        let possible = Policy::sites_of(self.recompute);
        if let Some(site) = self.sites.iter().find(|site| !possible.contains(site)) {
            let possible: Vec<_> = possible.iter().map(|s| s.name()).collect();
            let word = Recompute::NAMES.iter().find(|(_, r)| *r == self.recompute).map_or("", |(name, _)| name);
            return wrong(
                "sites",
                format!("`{site}` does not exist with --recompute {word}; there: {}", possible.join(", ")),
            );
        }
        if self.compress == Compress::None && !self.sites.is_empty() {
            return wrong("sites", "sites are named but --compress is none; choose a method, such as rqb".into());
        }
        if self.eval_every > 0 && self.eval_data.is_none() {
            return wrong("eval-every", "needs --eval-data FILE".into());
        }
        Ok(())
    }
}
