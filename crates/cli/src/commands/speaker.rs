//! A model that is asked something: what `generate` and `chat` share.

use std::time::Instant;

use anyhow::{Context, Result};
use loract_autograd::Memory;
use loract_models::{Decoder, Generator, ModelSource, Tokenizer, adapter};
use loract_train::data::{Reader, RowSettings};
use loract_train::{Error, process_peak_bytes};
use serde::Serialize;
use serde_json::{Value, json};

use super::kind::refuse_images;
use crate::args::SpeakArgs;
use crate::hub;
use crate::output::bytes;

/// A model ready to run, with what it came with.
pub struct Speaker {
    source: ModelSource,
    decoder: Decoder,
    memory: Memory,
}

impl Speaker {
    /// The model of `args`, with its adapter.
    pub fn load(args: &SpeakArgs) -> Result<Self> {
        let memory = Memory::new();
        let model = hub::local(&args.model)?;
        refuse_images(&model, "it writes no text; `loract eval --logits FILE` writes what it says of pictures")?;
        let source = ModelSource::open(&model)?;
        let mut decoder = Decoder::load(&memory, source.config.clone(), source.weights.clone())?;
        if let Some(folder) = &args.adapter {
            adapter::load(&memory, &mut decoder, folder)?;
        }
        Ok(Self { source, decoder, memory })
    }

    /// Of a model that can be asked in words.
    pub fn voice(&self, args: &SpeakArgs) -> Result<Voice<'_>> {
        let settings = RowSettings { chat_template: args.chat_template.clone(), ..RowSettings::default() };
        let reader = Reader::new(&self.source, None, &settings)?;
        let tokenizer = self.source.tokenizer.as_ref().ok_or_else(|| {
            let what = format!("{} has no tokenizer: put its tokenizer.json beside it", self.source.name);
            Error::Setting { key: "model", what }
        })?;
        let mut ends = self.source.config.eos.clone();
        ends.extend(tokenizer.eos());
        let generator = Generator::new(&self.decoder, &self.memory, args.sampling()?, args.seed);
        Ok(Voice { reader, tokenizer, ends, generator, most_tokens: args.most_tokens()? })
    }
}

/// A model that reads and writes words.
pub struct Voice<'m> {
    /// How what is asked becomes tokens.
    pub reader: Reader<'m>,
    tokenizer: &'m Tokenizer,
    /// Tokens that end a turn.
    ends: Vec<u32>,
    generator: Generator<'m>,
    most_tokens: usize,
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Ended {
    /// The model ended its turn.
    Turn,
    /// It has as many tokens as were allowed.
    Length,
    /// The model's context is full.
    Context,
}

/// What was said, and how fast.
#[derive(Debug, Serialize)]
pub struct Answer {
    pub text: String,
    /// Without the one that ended it.
    pub token_ids: Vec<u32>,
    pub ended: Ended,
    pub prompt_tokens: usize,
    /// Until the first token.
    pub prompt_seconds: f64,
    /// From the first token to the last.
    pub seconds: f64,
    /// Tokens run one by one, a second.
    pub tokens_per_second: f64,
    pub peak_process_bytes: Option<usize>,
}

impl Voice<'_> {
    /// Goes on from the tokens `prompt`; `heard` gets the words as they come.
    pub fn answer(&mut self, prompt: &[u32], mut heard: impl FnMut(&str) -> Result<()>) -> Result<Answer> {
        let begun = Instant::now();
        self.generator.set_text(prompt);
        let mut stream = self.tokenizer.stream();
        let (mut text, mut token_ids) = (String::new(), Vec::new());
        let mut first = None;
        let ended = loop {
            if token_ids.len() == self.most_tokens {
                break Ended::Length;
            }
            if !token_ids.is_empty() && self.generator.room() == 0 {
                break Ended::Context;
            }
            // On a thread of the pool: from outside it each of a token's hundreds of small loops would wait to be let in.
            let token = rayon::scope(|_| self.generator.next_token())?;
            first.get_or_insert_with(|| begun.elapsed().as_secs_f64());
            if self.ends.contains(&token) {
                break Ended::Turn;
            }
            token_ids.push(token);
            let piece = stream.push(token).context("the tokenizer cannot write what the model says")?;
            if !piece.is_empty() {
                heard(&piece)?;
                text.push_str(&piece);
            }
        };
        let prompt_seconds = first.unwrap_or(0.0);
        let seconds = begun.elapsed().as_secs_f64() - prompt_seconds;
        // The end of a turn took as long as any other token.
        let ran = token_ids.len() + usize::from(ended == Ended::Turn);
        let tokens_per_second = if ran > 1 { (ran - 1) as f64 / seconds } else { 0.0 };
        let (prompt_tokens, peak_process_bytes) = (prompt.len(), process_peak_bytes());
        Ok(Answer {
            text,
            token_ids,
            ended,
            prompt_tokens,
            prompt_seconds,
            seconds,
            tokens_per_second,
            peak_process_bytes,
        })
    }
}

impl Answer {
    /// Its figures, in a line.
    pub fn figures(&self) -> String {
        let ended = match self.ended {
            Ended::Turn => "end of turn",
            Ended::Length => "cut at --max-tokens",
            Ended::Context => "context full",
        };
        let peak =
            self.peak_process_bytes.map_or_else(String::new, |peak| format!("  peak process memory {}", bytes(peak)));
        format!(
            "[prompt {} tokens, {:.2} s  answer {} tokens, {:.1} tokens/s  {ended}{peak}]",
            self.prompt_tokens,
            self.prompt_seconds,
            self.token_ids.len(),
            self.tokens_per_second,
        )
    }
}

/// Something said in a conversation.
pub fn message(role: &str, content: &str) -> Value {
    json!({"role": role, "content": content})
}
