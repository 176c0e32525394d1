//! Arguments of `loract bench`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::args::TrainArgs;
use crate::commands::captured::ChoiceArgs;

#[derive(Debug, Args)]
pub struct BenchArgs {
    #[command(subcommand)]
    pub what: Benched,
}

#[derive(Debug, Subcommand)]
pub enum Benched {
    /// Time of a training step in several settings, in turn, and what it goes into
    Step(Box<StepArgs>),
    /// Time and memory of a training step against the length of a row and the number of layers
    Scaling(ScalingArgs),
    /// Error and time of low-rank decompositions, on matrices by name and on a model's activations
    Decompose(Box<DecomposeArgs>),
}

#[derive(Debug, Args)]
pub struct StepArgs {
    /// Model, batch, length, LoRA and activation settings, as for `train`; without --data random tokens, and of a folder
    /// that has config.json only, random weights
    #[command(flatten)]
    pub train: TrainArgs,
    /// Presets to measure beside `exact` [default: the setting of the other flags]
    #[arg(long, value_delimiter = ',')]
    pub presets: Option<Vec<String>>,
    /// Rounds; each runs every setting once, in turn [default: 3]
    #[arg(long)]
    pub rounds: Option<usize>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct ScalingArgs {
    /// Hugging Face model folder (config.json is enough), or GGUF file: its shapes, with random weights
    #[arg(long)]
    pub model: PathBuf,
    /// Presets [default: exact,loract,checkpoint]
    #[arg(long, value_delimiter = ',')]
    pub presets: Option<Vec<String>>,
    /// Tokens a row, at the first number of layers; beyond the model's context too [default: 512,1024,2048,4096]
    #[arg(long, value_delimiter = ',')]
    pub seq_lens: Option<Vec<usize>>,
    /// Layers, at the first length [default: the model's]
    #[arg(long, value_delimiter = ',')]
    pub layers: Option<Vec<usize>>,
    /// Rows a micro-batch [default: 1]
    #[arg(long)]
    pub batch_size: Option<usize>,
    /// Timed steps of each preset at each point, in turn, after one that is not counted [default: 1]
    #[arg(long)]
    pub rounds: Option<usize>,
    /// Folder for scaling.json and charts
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Threads [default: all cores]
    #[arg(long)]
    pub threads: Option<usize>,
}

#[derive(Debug, Args)]
pub struct DecomposeArgs {
    /// Hugging Face model folder, GGUF file, or id (owner/name, docs/install.md): its activations are measured too
    #[arg(long, requires = "data")]
    pub model: Option<PathBuf>,
    /// JSONL file
    #[arg(long, requires = "model")]
    pub data: Option<PathBuf>,
    // Without --layers: the middle one.
    #[command(flatten)]
    pub choice: ChoiceArgs,
    /// Matrices by name: all, none, or some of power-0.5, power-1, power-2, exponential, low-rank-noise, outliers, copies
    /// [default: all]
    #[arg(long, value_delimiter = ',')]
    pub matrices: Option<Vec<String>>,
    /// Rows x columns of the matrices by name [default: 2048x512]
    #[arg(long)]
    pub shape: Option<String>,
    /// Ranks k [default: 16,32,64,128]
    #[arg(long, value_delimiter = ',')]
    pub ranks: Option<Vec<String>>,
    /// Timed runs of each method, each with a seed of its own [default: 3]
    #[arg(long)]
    pub repeats: Option<usize>,
    /// Folder for decompose.json and charts
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Threads [default: all cores]
    #[arg(long)]
    pub threads: Option<usize>,
}
