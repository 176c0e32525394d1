//! The settings of a run as typed: on the command line, or in a configuration file.

mod file;
mod resolve;
#[cfg(test)]
pub(super) mod tests;

use std::path::PathBuf;

use clap::Args;
use serde::Deserialize;

use super::images::size_in_a_file;

#[derive(Debug, Default, Args, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainArgs {
    /// Hugging Face model folder, GGUF file, or id (owner/name, docs/install.md)
    #[arg(long)]
    pub model: Option<PathBuf>,
    /// File to train on (JSONL, CSV, Parquet), or folder with train.* and valid.*: rows of messages, instruction and output,
    /// prompt and completion, text, or input_ids (docs/data.md); of an image model a folder with a folder of pictures for each
    /// class, IDX, or safetensors with pixel_values and labels (docs/images.md)
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// Folder for adapter, metrics, resolved configuration and report
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// What is trained: lora, full (every weight; leaves a model), head (lm_head or classifier alone; leaves a model) [default:
    /// lora]
    #[arg(long)]
    pub fine_tune_type: Option<String>,
    /// Start from this PEFT adapter, with its rank, alpha and targets
    #[arg(long)]
    pub adapter: Option<PathBuf>,
    /// TOML file with the same keys (flags win)
    #[arg(long)]
    #[serde(skip)]
    pub config: Option<PathBuf>,
    /// Optimiser steps [default: one pass over the data]
    #[arg(long)]
    pub steps: Option<u64>,
    /// Rows a micro-batch [default: 4]
    #[arg(long)]
    pub batch_size: Option<usize>,
    /// Cut rows to this many tokens [default: a row beyond the model's context is an error]
    #[arg(long)]
    pub seq_len: Option<usize>,
    /// File with a chat template (Jinja) [default: the model's own]
    #[arg(long, value_name = "FILE")]
    pub chat_template: Option<PathBuf>,
    /// The day that a chat template takes for today, YYYY-MM-DD [default: today, in UTC; of --resume: the run's own]
    #[arg(long, value_name = "DATE")]
    pub chat_date: Option<String>,
    /// What is trained of a conversation: assistant (every turn of it), last (its last turn), all (every token) [default:
    /// assistant]
    #[arg(long)]
    pub train_on: Option<String>,
    /// Fill a micro-batch with whole rows up to batch-size × seq-len tokens, instead of with batch-size rows
    #[arg(long)]
    pub packing: bool,
    /// Of an image model: size of the images that it takes, 384, or 384x288 for height and width; its table of positions is
    /// resized [default: the model's own]
    #[arg(long, value_name = "PIXELS")]
    #[serde(deserialize_with = "size_in_a_file")]
    pub image_size: Option<String>,
    /// Of an image model: mirror every second picture in training, at random
    #[arg(long)]
    pub flip: bool,
    /// Of an image model: train on a random part of each picture, of 8 to 100 % of its area
    #[arg(long)]
    pub random_crop: bool,
    /// Of an image model: leave broken pictures out, which are looked for before the run, instead of ending at one
    #[arg(long)]
    pub skip_broken: bool,
    /// Micro-batches a step [default: 1]
    #[arg(long)]
    pub grad_accum: Option<usize>,
    /// Highest learning rate [default: 2e-4; 2e-5 for full]
    #[arg(long)]
    pub lr: Option<f64>,
    /// constant, linear or cosine [default: constant]
    #[arg(long)]
    pub schedule: Option<String>,
    /// Steps of warm-up [default: 0]
    #[arg(long)]
    pub warmup: Option<u64>,
    /// AdamW's weight decay [default: 0.01]
    #[arg(long)]
    pub weight_decay: Option<f64>,
    /// Scale gradients down to this norm; 0 = off [default: 1]
    #[arg(long)]
    pub max_grad_norm: Option<f64>,
    /// Names every random stream [default: 0]
    #[arg(long)]
    pub seed: Option<u64>,
    /// Rows in file order
    #[arg(long)]
    pub no_shuffle: bool,
    /// Threads [default: all cores]
    #[arg(long)]
    pub threads: Option<usize>,
    /// Process memory that a step may take, checked before the run (of `plan`: for which fitting batches and lengths are
    /// named): 4GB, 900MB [default: no limit]
    #[arg(long, value_name = "BYTES")]
    pub memory_limit: Option<String>,
    /// File to evaluate on, at the end and every --eval-every steps [default: valid.* of the folder of --data]
    #[arg(long)]
    pub eval_data: Option<PathBuf>,
    /// Evaluate every this many steps [default: 0 = at the end]
    #[arg(long)]
    pub eval_every: Option<u64>,
    /// End the run when this many evaluations in turn were no better than the best before them [default: 0 = never]
    #[arg(long)]
    pub early_stop: Option<u64>,
    /// Keep a checkpoint every this many steps in OUT/checkpoint-N: an adapter with all that --resume needs [default: 0 =
    /// on Ctrl-C only]
    #[arg(long)]
    pub save_every: Option<u64>,
    /// Keep so many of the last checkpoints [default: 2]
    #[arg(long)]
    pub keep_checkpoints: Option<usize>,
    /// Go on from the newest good checkpoint in --out; the result is that of an uninterrupted run, to the last bit
    #[arg(long)]
    pub resume: bool,
    /// What is told on stderr: line (one a step on a terminal, one every few seconds elsewhere), json (an object a line),
    /// quiet (warnings and errors) [default: line]
    #[arg(long)]
    pub progress: Option<String>,
    /// LoRA rank r [default: 16]
    #[arg(long)]
    pub lora_rank: Option<usize>,
    /// LoRA alpha; the branch is multiplied by alpha/r [default: 2r]
    #[arg(long)]
    pub lora_alpha: Option<f64>,
    /// LoRA dropout [default: 0]
    #[arg(long)]
    pub lora_dropout: Option<f64>,
    /// Layers that get a LoRA pair: last parts of names (q_proj), patterns (layers.0.*), or all-linear [default: all-linear]
    #[arg(long, value_delimiter = ',')]
    pub lora_targets: Option<Vec<String>>,
    /// Modules trained as a whole beside the pairs, and stored with them: last parts of names (lm_head, embed_tokens), or
    /// patterns (layers.0.*norm)
    #[arg(long, value_delimiter = ',')]
    pub modules_to_save: Option<Vec<String>>,
    /// Multiply the branch by alpha/√r instead of alpha/r (rsLoRA)
    #[arg(long)]
    pub rslora: bool,
    /// Train B only; inputs of projections are kept for the norms alone (LoRA-FA)
    #[arg(long)]
    pub lora_fa: bool,
    /// Train the length of each row of the adapted weight too (DoRA)
    #[arg(long)]
    pub dora: bool,
    /// Preset: exact, checkpoint, loract, loract-paper, loract-sublayer, loract-layer, loract-fast [default: loract]
    #[arg(long)]
    pub activations: Option<String>,
    /// Segments that run again in backward: none, sublayer, factored (sublayer, straight from the factors), layer
    #[arg(long)]
    pub recompute: Option<String>,
    /// Low-rank factors of what is kept: none, rqb, gauss, rsvd, tsvd, nystrom
    #[arg(long)]
    pub compress: Option<String>,
    /// Compression rank: a number, a fraction of an activation's features (1/8), or auto@0.1 (the least whose relative
    /// error stays under it)
    #[arg(long)]
    pub rank: Option<String>,
    /// Bits of what the factors leave over, or of all if there are none: 0 (dropped), 2, 3, 4, 5, 6, 8
    #[arg(long)]
    pub residual_bits: Option<u8>,
    /// Compressed sites, each alone or with its form: norm,act_fn=rqb:1/16+q4,mlp_out=again. Sites: norm, attn_in,
    /// attn_qkv, attn_out, mlp_in, act_fn, mlp_out, ckpt_attn, ckpt_mlp, ckpt_layer; all, terminal, propagating
    #[arg(long, value_delimiter = ',')]
    pub sites: Option<Vec<String>>,
    /// What decompositions start from: none (a sketch), reuse (the last step's basis as it is, while it serves), refresh
    /// (one pass from it) [default: none]
    #[arg(long)]
    pub warm_start: Option<String>,
    /// Operands of products with weights are rounded to bf16, sums are f32: no, bf16 (on processors with AMX, or AMD's with
    /// AVX512-BF16; on others f32, and a note), bf16-emulated (the same on any processor, there no faster than f32) [default: no]
    #[arg(long)]
    pub mixed_precision: Option<String>,
    /// Threads that compress while forward goes on [default: 0 = compress at once]
    #[arg(long)]
    pub compress_workers: Option<usize>,
    /// Compare the gradient with the exact one every this many steps, in OUT/audits.jsonl [default: 0 = never]
    #[arg(long)]
    pub audit_every: Option<u64>,
    /// Write event files for TensorBoard into OUT
    #[arg(long)]
    pub tensorboard: bool,
}

impl TrainArgs {
    /// Whether forms are named apart from a preset.
    pub fn names_forms(&self) -> bool {
        self.recompute.is_some()
            || self.compress.is_some()
            || self.rank.is_some()
            || self.residual_bits.is_some()
            || self.sites.is_some()
            || self.warm_start.is_some()
    }
}
