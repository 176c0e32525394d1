//! `loract export` as typed.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Hugging Face model folder, GGUF file, or id (owner/name, docs/install.md)
    #[arg(long)]
    pub model: PathBuf,
    /// PEFT adapter folder, whose pairs are added to the model
    #[arg(long)]
    pub adapter: Option<PathBuf>,
    /// GGUF file to write; a name that is free
    #[arg(long, value_name = "FILE.gguf")]
    pub out: PathBuf,
    /// Write the adapter alone, for llama.cpp's --lora
    #[arg(long, requires = "adapter")]
    pub adapter_only: bool,
    /// How matrices are stored: f16, bf16, f32, q8_0, q4_0 [default: f16; of an adapter alone f32]
    #[arg(long)]
    pub dtype: Option<String>,
    /// Threads [default: all cores]
    #[arg(long)]
    pub threads: Option<usize>,
}
