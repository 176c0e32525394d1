//! The settings of a run as typed: on the command line, or in a configuration file.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use loract_models::ALL_LINEAR;
use loract_train::{Error, RunConfig};
use serde::Deserialize;

use super::rows::{RowArgs, data_files};
use super::{named, policy, setting, size};

#[derive(Debug, Default, Args, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainArgs {
    /// Hugging Face model folder, or GGUF file
    #[arg(long)]
    pub model: Option<PathBuf>,
    /// File to train on (JSONL, CSV, Parquet), or folder with train.* and valid.*: rows of messages, instruction and output, prompt
    /// and completion, text, or input_ids (docs/data.md)
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// Folder for adapter, metrics, resolved configuration and report
    #[arg(long)]
    pub out: Option<PathBuf>,
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
    /// Micro-batches a step [default: 1]
    #[arg(long)]
    pub grad_accum: Option<usize>,
    /// Highest learning rate [default: 2e-4]
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
    /// Fills what is not given from the file of `--config`, if there is one.
    pub fn with_file(self) -> Result<Self, Error> {
        let Some(path) = &self.config else { return Ok(self) };
        let file = read_file(path)?;
        macro_rules! first_given {
            ($($key:ident),*) => { TrainArgs { $($key: self.$key.or(file.$key),)*
                packing: self.packing || file.packing,
                no_shuffle: self.no_shuffle || file.no_shuffle,
                rslora: self.rslora || file.rslora,
                lora_fa: self.lora_fa || file.lora_fa,
                dora: self.dora || file.dora,
                tensorboard: self.tensorboard || file.tensorboard,
                resume: self.resume || file.resume,
                config: None,
            } };
        }
        Ok(first_given!(
            model,
            data,
            out,
            adapter,
            steps,
            batch_size,
            seq_len,
            chat_template,
            chat_date,
            train_on,
            grad_accum,
            lr,
            schedule,
            warmup,
            weight_decay,
            max_grad_norm,
            seed,
            threads,
            memory_limit,
            eval_data,
            eval_every,
            early_stop,
            save_every,
            keep_checkpoints,
            progress,
            lora_rank,
            lora_alpha,
            lora_dropout,
            lora_targets,
            activations,
            recompute,
            compress,
            rank,
            residual_bits,
            sites,
            warm_start,
            compress_workers,
            audit_every
        ))
    }

    /// Whether forms are named apart from a preset.
    pub fn names_forms(&self) -> bool {
        self.recompute.is_some()
            || self.compress.is_some()
            || self.rank.is_some()
            || self.residual_bits.is_some()
            || self.sites.is_some()
            || self.warm_start.is_some()
    }

    /// The settings that these arguments mean; everything not given gets its default.
    pub fn resolve(self, threads: usize) -> Result<RunConfig, Error> {
        let policy = policy::resolve(&self)?;
        let needed = |key, value: Option<PathBuf>| {
            value.ok_or_else(|| setting(key, format!("missing: give --{key} or `{key}` in the configuration file")))
        };
        if self.adapter.is_some() {
            for (key, given) in [
                ("lora-rank", self.lora_rank.is_some()),
                ("lora-alpha", self.lora_alpha.is_some()),
                ("lora-targets", self.lora_targets.is_some()),
                ("rslora", self.rslora),
                ("dora", self.dora),
            ] {
                if given {
                    crate::output::message(&format!("note: --{key} is ignored; the adapter's own is kept"));
                }
            }
        }
        let lora_rank = self.lora_rank.unwrap_or(16);
        let rows = RowArgs { chat_template: self.chat_template, chat_date: self.chat_date, train_on: self.train_on };
        let rows = rows.resolve()?;
        let (data, eval_data) = data_files(&needed("data", self.data)?, self.eval_data)?;
        let config = RunConfig {
            model: needed("model", self.model)?,
            data,
            out: needed("out", self.out)?,
            adapter: self.adapter,
            steps: self.steps,
            batch_size: self.batch_size.unwrap_or(4),
            seq_len: self.seq_len,
            rows,
            packing: self.packing,
            grad_accum: self.grad_accum.unwrap_or(1),
            lr: self.lr.unwrap_or(2e-4),
            schedule: named("schedule", self.schedule.as_deref())?.unwrap_or_default(),
            warmup: self.warmup.unwrap_or(0),
            weight_decay: self.weight_decay.unwrap_or(0.01),
            max_grad_norm: self.max_grad_norm.unwrap_or(1.0),
            seed: self.seed.unwrap_or(0),
            no_shuffle: self.no_shuffle,
            threads,
            memory_limit: self.memory_limit.as_deref().map(size::read_bytes).transpose()?,
            eval_data,
            eval_every: self.eval_every.unwrap_or(0),
            early_stop: self.early_stop.unwrap_or(0),
            save_every: self.save_every.unwrap_or(0),
            keep_checkpoints: self.keep_checkpoints.unwrap_or(2),
            lora_rank,
            lora_alpha: self.lora_alpha.unwrap_or(2.0 * lora_rank as f64),
            lora_dropout: self.lora_dropout.unwrap_or(0.0),
            lora_targets: self.lora_targets.unwrap_or_else(|| vec![ALL_LINEAR.to_owned()]),
            rslora: self.rslora,
            lora_fa: self.lora_fa,
            dora: self.dora,
            recompute: policy.recompute,
            sites: policy.forms,
            warm_start: policy.warm_start,
            compress_workers: self.compress_workers.unwrap_or(0),
            audit_every: self.audit_every.unwrap_or(0),
            tensorboard: self.tensorboard,
        };
        config.check()?;
        Ok(config)
    }
}

fn read_file(path: &Path) -> Result<TrainArgs, Error> {
    let text = fs::read_to_string(path).map_err(|reason| Error::Read { path: path.to_path_buf(), reason })?;
    toml::from_str(&text)
        .map_err(|e| Error::ConfigFile { path: path.to_path_buf(), what: e.to_string().trim_end().to_owned() })
}

#[cfg(test)]
pub(super) mod tests {
    use clap::Parser;

    use super::super::{Cli, Command};
    use super::*;

    pub(in crate::args) fn train(flags: &[&str]) -> Result<RunConfig, Error> {
        let base = ["loract", "train", "--model", "m", "--data", "d", "--out", "o"];
        let parsed = Cli::try_parse_from(base.iter().chain(flags)).map_err(|e| setting("flags", e.to_string()))?;
        match parsed.command {
            Command::Train(args) => args.with_file()?.resolve(2),
            other => Err(setting("command", format!("{other:?}"))),
        }
    }

    #[test]
    fn wrong_settings_are_named() {
        for (flags, want) in [
            (&["--activations", "exakt"][..], "the presets are"),
            (&["--rank", "2/1"], "neither a positive number"),
            (&["--rank", "0"], "neither a positive number"),
            (&["--sites", "mlp"], "unknown site `mlp`"),
            (&["--recompute", "layer", "--sites", "act_fn"], "does not exist with --recompute layer"),
            (&["--compress", "none", "--sites", "act_fn"], "--compress is none"),
            (&["--compress", "svd"], "none of none, rqb, gauss"),
            (&["--residual-bits", "7"], "possible: 0 (none), 2, 3, 4, 5, 6, 8"),
            (&["--rank", "auto@2"], "a tolerance between 0 and 1"),
            (&["--sites", "norm=q7"], "offered are q2, q3, q4, q5, q6 and q8"),
            (&["--sites", "norm=again"], "can be computed again"),
            (&["--activations", "loract-fast", "--residual-bits", "4"], "--recompute sublayer takes any form"),
            (&["--schedule", "step"], "`step` is none of constant, linear, cosine"),
            (&["--batch-size", "0"], "batch-size: 0"),
            (&["--lr", "-1"], "unexpected argument"),
            (&["--lr=-1"], "not a positive number"),
            (&["--eval-every", "5"], "needs --eval-data"),
            (&["--warm-start", "hot"], "`hot` is none of none, reuse, refresh"),
            (&["--activations", "exact", "--warm-start", "reuse"], "no site has factors"),
            (&["--early-stop", "2"], "needs --eval-data"),
            (&["--keep-checkpoints", "0"], "keep-checkpoints: 0"),
            (&["--chat-date", "25.11.2026"], "chat-date: `25.11.2026` is no date; expected one from 1970-01-01"),
            (&["--train-on", "none"], "`none` is none of assistant, last, all"),
        ] {
            let got = train(flags).err().map(|e| e.to_string()).unwrap_or_default();
            assert!(got.contains(want), "{flags:?}: {got:?} lacks {want:?}");
        }
    }

    #[test]
    fn what_a_run_writes_as_its_configuration_runs_again() -> Result<(), Box<dyn std::error::Error>> {
        let mut config = train(&["--activations", "loract-sublayer", "--rank", "1/4", "--no-shuffle", "--steps", "3"])?;
        config.seq_len = Some(64);
        let again: TrainArgs = toml::from_str(&toml::to_string(&config)?)?;
        assert_eq!(again.resolve(2)?, config);
        Ok(())
    }

    #[test]
    fn flags_win_over_the_file_and_unknown_keys_are_errors() -> Result<(), Box<dyn std::error::Error>> {
        let path = std::env::temp_dir().join(format!("loract-args-{}.toml", std::process::id()));
        fs::write(&path, "lr = 1e-3\nbatch_size = 7\nlora_targets = [\"q_proj\"]\n")?;
        let file = path.display().to_string();
        let config = train(&["--config", &file, "--lr", "5e-4"])?;
        assert_eq!((config.lr, config.batch_size, config.lora_targets), (5e-4, 7, vec!["q_proj".to_owned()]));
        fs::write(&path, "learning_rate = 1e-3\n")?;
        let error = train(&["--config", &file]).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(error.contains("unknown field `learning_rate`"), "{error}");
        fs::remove_file(&path)?;
        Ok(())
    }
}
