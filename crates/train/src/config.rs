//! The settings of a run, resolved: nothing is left to be guessed, and what is written as `config.toml` runs it again.

use std::collections::BTreeMap;
use std::path::PathBuf;

use loract_autograd::{Compress, Factored, Form, Policy, Precision, Rank, Recompute, Site, WarmStart};
use loract_models::{DecoderConfig, FactorA, LoraConfig, Magnitude, Scaling};
use serde::{Serialize, Serializer};

use crate::data::{Filling, RowSettings};
use crate::error::Error;
use crate::image_settings::ImageSettings;
use crate::schedule::ScheduleKind;
use crate::tuning::{FineTuneType, Tuning};
use crate::words::{Named, as_name};

/// Whether products with weights round their operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MixedPrecision {
    /// All is f32.
    #[default]
    No,
    /// To bf16, by instructions of the processor.
    Bf16,
    /// The same up to the order of sums; on processors without them no faster than f32.
    Bf16Emulated,
}

impl MixedPrecision {
    fn is_no(&self) -> bool {
        *self == MixedPrecision::No
    }

    /// Of the products.
    pub fn precision(self) -> Precision {
        match self {
            MixedPrecision::No => Precision::F32,
            MixedPrecision::Bf16 | MixedPrecision::Bf16Emulated => Precision::Bf16,
        }
    }
}

/// The settings of `loract train`. Keys of `config.toml` are the flags without dashes, with `_` for `-`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunConfig {
    /// Hugging Face folder or GGUF file.
    pub model: PathBuf,
    /// File to train on.
    pub data: PathBuf,
    /// Folder for what the run leaves.
    pub out: PathBuf,
    /// How much of the model is trained.
    #[serde(serialize_with = "as_name")]
    pub fine_tune_type: FineTuneType,
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
    /// How rows become tokens.
    #[serde(flatten)]
    pub rows: RowSettings,
    /// How pictures become images.
    #[serde(flatten)]
    pub images: ImageSettings,
    /// Micro-batches of batch_size × seq_len tokens instead of batch_size rows.
    pub packing: bool,
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
    /// Bytes of process memory that a step may take; absent = no limit.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_text")]
    pub memory_limit: Option<usize>,
    /// File to evaluate on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eval_data: Option<PathBuf>,
    /// Evaluate every this many steps (and at the end); 0 = at the end only.
    pub eval_every: u64,
    /// End the run when this many evaluations in turn were no better than the best before them; 0 = never.
    pub early_stop: u64,
    /// Keep a checkpoint every this many steps; 0 = only when the run is interrupted.
    pub save_every: u64,
    /// So many of the last checkpoints are kept.
    pub keep_checkpoints: usize,
    /// LoRA rank r.
    pub lora_rank: usize,
    /// The branch is multiplied by alpha/r.
    pub lora_alpha: f64,
    /// LoRA dropout.
    pub lora_dropout: f64,
    /// Layers that get a LoRA pair: last parts of their names, patterns, or `all-linear`.
    pub lora_targets: Vec<String>,
    /// Modules that are trained as a whole beside the pairs: names, last parts of them, or patterns.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub modules_to_save: Vec<String>,
    /// The branch is multiplied by alpha/√r instead of alpha/r.
    pub rslora: bool,
    /// A is not trained.
    pub lora_fa: bool,
    /// The length of each row of the adapted weight is trained.
    pub dora: bool,
    /// Recomputed segments.
    #[serde(serialize_with = "as_name")]
    pub recompute: Recompute,
    /// The form of each compressed site; the others are exact.
    #[serde(serialize_with = "as_site_forms")]
    pub sites: BTreeMap<Site, Form>,
    /// What decompositions start from.
    #[serde(serialize_with = "as_name")]
    pub warm_start: WarmStart,
    /// Whether products with weights round their operands to bf16; absent = no.
    #[serde(skip_serializing_if = "MixedPrecision::is_no", serialize_with = "as_name")]
    pub mixed_precision: MixedPrecision,
    /// Threads that compress while forward goes on; 0 = compress at once.
    pub compress_workers: usize,
    /// Compare the gradient with the exact one every this many steps; 0 = never.
    pub audit_every: u64,
    /// Write event files for TensorBoard.
    pub tensorboard: bool,
}

fn as_text<S: Serializer>(value: &Option<usize>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&value.unwrap_or_default())
}
fn as_site_forms<S: Serializer>(forms: &BTreeMap<Site, Form>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(forms.iter().map(|(site, form)| format!("{site}={form}")))
}

impl RunConfig {
    /// What is kept for backward.
    pub fn policy(&self) -> Policy {
        Policy {
            forms: self.sites.clone(),
            recompute: self.recompute,
            warm_start: self.warm_start,
            precision: self.mixed_precision.precision(),
        }
    }

    /// When a micro-batch is full.
    pub fn filling(&self) -> Filling {
        match self.seq_len {
            Some(seq_len) if self.packing => Filling::Tokens(self.batch_size * seq_len),
            _ => Filling::Rows(self.batch_size),
        }
    }

    /// What is trained.
    pub fn tuning(&self) -> Tuning {
        match self.fine_tune_type {
            FineTuneType::Lora => Tuning::Lora(self.lora()),
            FineTuneType::Full => Tuning::Full,
            FineTuneType::Head => Tuning::Head,
        }
    }

    fn lora(&self) -> LoraConfig {
        LoraConfig {
            rank: self.lora_rank,
            alpha: self.lora_alpha as f32,
            scaling: if self.rslora { Scaling::RankStabilised } else { Scaling::Plain },
            a: if self.lora_fa { FactorA::Frozen } else { FactorA::Trained },
            magnitude: if self.dora { Magnitude::Trained } else { Magnitude::AsIs },
            dropout: self.lora_dropout as f32,
            targets: self.lora_targets.clone(),
            modules_to_save: self.modules_to_save.clone(),
        }
    }

    /// Takes rank, alpha, targets, modules and kind of an adapter.
    pub(crate) fn adopt(&mut self, adapter: &LoraConfig) {
        self.rslora = adapter.scaling == Scaling::RankStabilised;
        self.dora = adapter.magnitude == Magnitude::Trained;
        self.lora_rank = adapter.rank;
        self.lora_alpha = f64::from(adapter.alpha);
        self.lora_targets.clone_from(&adapter.targets);
        self.modules_to_save.clone_from(&adapter.modules_to_save);
    }

    /// Checks the ranks against the model's features.
    ///
    /// # Errors
    /// [`Error::Setting`] naming the first site whose rank is above its features.
    pub fn check_ranks(&self, model: &DecoderConfig) -> Result<(), Error> {
        self.check_ranks_of(|site| match site {
            Site::AttnQkv | Site::AttnOut => model.heads * model.head_dim,
            Site::ActFn | Site::MlpOut => model.widest_mlp(),
            _ => model.hidden_size,
        })
    }

    /// As [`RunConfig::check_ranks`], of a model with so many `features` at a site.
    ///
    /// # Errors
    /// The same.
    pub(crate) fn check_ranks_of(&self, features: impl Fn(Site) -> usize) -> Result<(), Error> {
        for (&site, form) in &self.sites {
            let features = features(site);
            if let Form::LowRank(Factored { rank: Rank::Count(k), .. })
            | Form::Hybrid(Factored { rank: Rank::Count(k), .. }, _) = form
                && *k > features
            {
                let what = format!(
                    "{k} is above the {features} features at `{site}`; the most is {features}, or give a fraction such as 1/8"
                );
                return Err(Error::Setting { key: "rank", what });
            }
        }
        Ok(())
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
            ("keep-checkpoints", self.keep_checkpoints),
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
            ("compress-workers", self.compress_workers, 64),
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
        if self.packing && self.seq_len.is_none() {
            return wrong(
                "packing",
                "needs --seq-len T: a micro-batch then holds batch-size times T tokens of whole rows".into(),
            );
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
        if self.dora && self.lora_dropout > 0.0 {
            return wrong("dora", "not offered together with lora-dropout; leave one of them out".into());
        }
        if self.fine_tune_type != FineTuneType::Lora {
            let given = [
                ("adapter", self.adapter.is_some()),
                ("modules-to-save", !self.modules_to_save.is_empty()),
                ("rslora", self.rslora),
                ("dora", self.dora),
                ("lora-fa", self.lora_fa),
            ];
            if let Some((key, _)) = given.into_iter().find(|(_, given)| *given) {
                return wrong(key, "belongs to LoRA; leave it out, or leave out --fine-tune-type".into());
            }
        }
        let name = |r: Recompute| Recompute::NAMES.iter().find(|(_, x)| *x == r).map_or("", |(name, _)| *name);
        if let Some(site) = self.sites.keys().find(|site| !Policy::allows(self.recompute, **site)) {
            let possible = Site::COMPRESSIBLE.into_iter().filter(|site| Policy::allows(self.recompute, *site));
            let possible: Vec<_> = possible.map(Site::name).collect();
            let word = name(self.recompute);
            return wrong(
                "sites",
                format!("`{site}` does not exist with --recompute {word}; there: {}", possible.join(", ")),
            );
        }
        if self.recompute == Recompute::Factored {
            let segments = [Site::CkptAttn, Site::CkptMlp];
            if let Some((site, form)) =
                segments.map(|s| (s, self.policy().form(s))).into_iter().find(|(_, f)| !matches!(f, Form::LowRank(_)))
            {
                let what = format!(
                    "`{site}={form}` cannot be recomputed from factors: --recompute factored needs factors alone there \
                     (rqb:1/8); --recompute sublayer takes any form"
                );
                return wrong("sites", what);
            }
        }
        let again = [Site::AttnQkv, Site::MlpOut];
        if let Some((site, _)) = self.sites.iter().find(|(s, f)| **f == Form::Again && !again.contains(s)) {
            let what =
                format!("`{site}=again`: only attn_qkv (from attn_in) and mlp_out (from act_fn) can be computed again");
            return wrong("sites", what);
        }
        let warm = |form: &Form| match form {
            Form::LowRank(f) | Form::Hybrid(f, _) => matches!(f.method, Compress::Rqb | Compress::Gauss),
            _ => false,
        };
        if self.warm_start != WarmStart::None && !self.sites.values().any(warm) {
            return wrong(
                "warm-start",
                "no site has factors found by rqb or gauss, the methods that can start from a basis".into(),
            );
        }
        if self.eval_every > 0 && self.eval_data.is_none() {
            return wrong("eval-every", "needs --eval-data FILE".into());
        }
        if self.early_stop > 0 && self.eval_every == 0 {
            return wrong("early-stop", "needs --eval-data FILE and --eval-every N".into());
        }
        Ok(())
    }
}
