//! How a model is asked, and how it picks its words, as typed.

use std::path::PathBuf;

use clap::Args;
use loract_models::{Sampling, SamplingError};
use loract_train::Error;

use super::setting;

#[derive(Debug, Args)]
pub struct GenerateArgs {
    #[command(flatten)]
    pub speak: SpeakArgs,
    /// What to answer, or with --raw to go on from [default: standard input, to its end]
    #[arg(long, value_name = "TEXT")]
    pub prompt: Option<String>,
    /// The prompt as it is, without the chat template, as of rows with `prompt` and `completion`
    #[arg(long, conflicts_with_all = ["system", "chat_template"])]
    pub raw: bool,
    /// Print one JSON object when all is done: text, token ids, times
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct ChatArgs {
    #[command(flatten)]
    pub speak: SpeakArgs,
}

#[derive(Debug, Args)]
pub struct SpeakArgs {
    /// Hugging Face model folder, GGUF file, or id (owner/name, docs/install.md)
    #[arg(long)]
    pub model: PathBuf,
    /// PEFT adapter folder
    #[arg(long)]
    pub adapter: Option<PathBuf>,
    /// What the system says before the conversation
    #[arg(long, value_name = "TEXT")]
    pub system: Option<String>,
    /// File with a chat template (Jinja) [default: the model's own]
    #[arg(long, value_name = "FILE")]
    pub chat_template: Option<PathBuf>,
    /// Most tokens of an answer
    #[arg(long, default_value_t = 256)]
    pub max_tokens: usize,
    /// How freely tokens are drawn: 0 = always the likeliest; logits are divided by it
    #[arg(long, default_value_t = Sampling::default().temperature)]
    pub temperature: f32,
    /// Draw from this many of the likeliest tokens; 0 = from all
    #[arg(long, default_value_t = Sampling::default().top_k)]
    pub top_k: usize,
    /// Draw from the likeliest tokens that make up this share of the probability
    #[arg(long, default_value_t = Sampling::default().top_p)]
    pub top_p: f32,
    /// Divide the logits of tokens that are in the text already; 1 = off
    #[arg(long, default_value_t = Sampling::default().repetition_penalty)]
    pub repetition_penalty: f32,
    /// Names the random draws
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Threads [default: all cores]
    #[arg(long)]
    pub threads: Option<usize>,
}

impl SpeakArgs {
    /// How tokens are picked.
    pub fn sampling(&self) -> Result<Sampling, Error> {
        let &Self { temperature, top_k, top_p, repetition_penalty, .. } = self;
        let sampling = Sampling { temperature, top_k, top_p, repetition_penalty };
        sampling.checked().map_err(|wrong: SamplingError| setting(wrong.key, wrong.to_string()))
    }

    /// How many tokens an answer may have.
    pub fn most_tokens(&self) -> Result<usize, Error> {
        if self.max_tokens == 0 { Err(setting("max-tokens", "0; the least is 1")) } else { Ok(self.max_tokens) }
    }
}
