//! Arguments of `loract inspect`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::args::{RowArgs, TrainArgs};
use crate::commands::captured::ChoiceArgs;

#[derive(Debug, Args)]
pub struct InspectArgs {
    #[command(subcommand)]
    pub what: Inspected,
}

#[derive(Debug, Subcommand)]
pub enum Inspected {
    /// How close to low rank the activations are that training would keep, by site and layer
    Activations(Box<ActivationsArgs>),
    /// What training would see of a data file: counts, lengths, and rows with what is trained of them
    Data(Box<DataArgs>),
    /// How close a setting's gradients are to the exact ones, by layer and projection
    Gradients(Box<GradientsArgs>),
}

#[derive(Debug, Args)]
pub struct DataArgs {
    /// Hugging Face model folder, GGUF file, or id (owner/name, docs/install.md)
    #[arg(long)]
    pub model: PathBuf,
    /// JSONL, CSV or Parquet file, or folder with train.*
    #[arg(long)]
    pub data: PathBuf,
    /// Cut rows to this many tokens [default: a row beyond the model's context is an error]
    #[arg(long)]
    pub seq_len: Option<usize>,
    #[command(flatten)]
    pub row: RowArgs,
    /// So many rows from the start are shown [default: 3]
    #[arg(long)]
    pub rows: Option<usize>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct GradientsArgs {
    /// Model, data, adapter, rows (--batch-size), length and activation settings, as for `train`
    #[command(flatten)]
    pub train: TrainArgs,
    /// Instead of one setting: every preset, ranks, residuals and plain quantisation side by side
    #[arg(long)]
    pub frontier: bool,
    /// Folder for gradients.jsonl and heat maps
    #[arg(long, value_name = "DIR")]
    pub report: Option<PathBuf>,
    /// Print one JSON object a setting
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct ActivationsArgs {
    /// Hugging Face model folder, GGUF file, or id (owner/name, docs/install.md)
    #[arg(long)]
    pub model: PathBuf,
    /// JSONL, CSV or Parquet file, or folder with train.*
    #[arg(long)]
    pub data: PathBuf,
    // Without --layers: the first, the middle and the last.
    #[command(flatten)]
    pub choice: ChoiceArgs,
    /// Percentages of the energy (sum of squares) for which the rank is told [default: 90,95,99]
    #[arg(long, value_delimiter = ',')]
    pub energy: Option<Vec<String>>,
    /// Folder for activations.json (with all singular values) and charts
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// Write the matrices themselves to this safetensors file
    #[arg(long, value_name = "FILE")]
    pub save: Option<PathBuf>,
    /// Threads [default: all cores]
    #[arg(long)]
    pub threads: Option<usize>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}
