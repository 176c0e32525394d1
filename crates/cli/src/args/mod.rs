//! Arguments as typed, on the command line or in a configuration file: the same keys, every one optional. Flags win.

use std::path::PathBuf;
use std::str::FromStr;

mod export;
mod images;
mod paper;
mod policy;
mod rows;
mod size;
mod speak;
mod train;

use clap::{Args, Parser, Subcommand};
use loract_train::{Error, Named, parse_name};

use crate::commands::bench::BenchArgs;
use crate::commands::inspect::InspectArgs;
use crate::commands::report::ReportArgs;

pub use export::ExportArgs;
pub use images::ImageArgs;
pub use paper::{CompletionsArgs, ManArgs, ReferenceArgs};
pub use rows::{RowArgs, data_file, picture_file, settle_data, tell_date};
pub use size::read_bytes;
pub use speak::{ChatArgs, GenerateArgs, SpeakArgs};
pub use train::TrainArgs;

/// Fine-tune transformer models with LoRA in a fraction of the activation memory.
#[derive(Debug, Parser)]
#[command(name = "loract", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Fine-tune a tiny embedded model in three memory settings and compare them (no download, under two minutes)
    Demo(DemoArgs),
    /// Fine-tune a model with LoRA
    Train(Box<TrainArgs>),
    /// What a step of each preset would take, without loading the weights
    Plan(Box<PlanArgs>),
    /// Mean loss (and accuracy) of a model on a data file
    Eval(EvalArgs),
    /// Let a model go on from a text, or answer it
    Generate(GenerateArgs),
    /// Talk with a model
    Chat(ChatArgs),
    /// Add an adapter to its model, as a Hugging Face folder that needs no adapter
    Merge(MergeArgs),
    /// Write a model with its adapter, or the adapter alone, as a GGUF file for llama.cpp
    Export(ExportArgs),
    /// Look at the data with its masks, at activations, at gradients
    Inspect(InspectArgs),
    /// What a run came to, or several side by side, as one HTML page: curves, memory against the plan, fidelity, settings
    Report(ReportArgs),
    /// Measure on this machine: training steps, decompositions
    Bench(BenchArgs),
    /// Print the script that completes commands and flags in a shell (docs/install.md)
    Completions(CompletionsArgs),
    /// Print the manual page, of the program or of one of its commands: loract man | man -l -
    Man(ManArgs),
    /// Write commands.md and config.md
    #[command(hide = true)]
    Reference(ReferenceArgs),
}

#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Folder for report.json
    #[arg(long, default_value = "loract-demo")]
    pub out: PathBuf,
    /// Optimiser steps of each setting
    #[arg(long, default_value_t = 150)]
    pub steps: u64,
    /// Threads [default: all cores]
    #[arg(long)]
    pub threads: Option<usize>,
    /// Instead: pre-train the embedded model again and write its files to this folder
    #[arg(long, value_name = "DIR")]
    pub pretrain: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct PlanArgs {
    /// Model, batch, length, LoRA and activation settings, as for `train`; the data file is not needed
    #[command(flatten)]
    pub train: TrainArgs,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct EvalArgs {
    /// Hugging Face model folder, GGUF file, or id (owner/name, docs/install.md)
    #[arg(long)]
    pub model: PathBuf,
    /// PEFT adapter folder
    #[arg(long)]
    pub adapter: Option<PathBuf>,
    /// JSONL, CSV or Parquet file, or folder with test.* (or valid.*); of an image model pictures (docs/images.md)
    #[arg(long)]
    pub data: PathBuf,
    /// Cut rows to this many tokens [default: a row beyond the model's context is an error]
    #[arg(long)]
    pub seq_len: Option<usize>,
    #[command(flatten)]
    pub rows: RowArgs,
    #[command(flatten)]
    pub images: ImageArgs,
    /// Of an image model: write a picture of which class is taken for which, an SVG file
    #[arg(long, value_name = "FILE")]
    pub confusion: Option<PathBuf>,
    /// Of an image model: write `logits` (images × classes, f32) to this safetensors file; the pictures then need no labels
    #[arg(long, value_name = "FILE")]
    pub logits: Option<PathBuf>,
    /// Threads [default: all cores]
    #[arg(long)]
    pub threads: Option<usize>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct MergeArgs {
    /// Hugging Face model folder, GGUF file, or id (owner/name, docs/install.md)
    #[arg(long)]
    pub model: PathBuf,
    /// PEFT adapter folder
    #[arg(long)]
    pub adapter: PathBuf,
    /// Folder for the merged model; must be empty or not there yet
    #[arg(long)]
    pub out: PathBuf,
    /// How numbers are stored: f32, bf16, f16 [default: as the model's, bf16 if those have a few bits]
    #[arg(long)]
    pub dtype: Option<String>,
    /// Most bytes of a weights file; beyond it there are several and an index: 5GB, 900MB
    #[arg(long, value_name = "BYTES", default_value = "5GB")]
    pub shard_size: String,
    /// Threads [default: all cores]
    #[arg(long)]
    pub threads: Option<usize>,
}

/// More threads than any machine's cores; starting them would take the machine down.
const MOST_THREADS: usize = 1024;

/// The threads asked for, or as many as there are cores; also makes the pool.
pub fn use_threads(asked: Option<usize>) -> Result<usize, Error> {
    let threads = asked.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    if threads == 0 {
        return Err(setting("threads", "0; the least is 1"));
    }
    if threads > MOST_THREADS {
        return Err(setting("threads", format!("{threads}; the most is {MOST_THREADS}")));
    }
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build_global()
        .map_err(|e| setting("threads", format!("{threads} threads could not be started: {e}")))?;
    Ok(threads)
}

fn setting(key: &'static str, what: impl Into<String>) -> Error {
    Error::Setting { key, what: what.into() }
}

fn parsed<T: FromStr<Err = String>>(key: &'static str, text: Option<&str>) -> Result<Option<T>, Error> {
    text.map(T::from_str).transpose().map_err(|what| setting(key, what))
}

fn named<T: Named>(key: &'static str, text: Option<&str>) -> Result<Option<T>, Error> {
    text.map(parse_name).transpose().map_err(|what| setting(key, what))
}
