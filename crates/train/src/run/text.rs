//! Language models on rows of text.

use loract_autograd::Memory;
use loract_models::{Companions, Decoder, ModelSource, Row, TokenBatch, Weights};

use super::day::Day;
use super::task::{Task, Words};
use crate::checkpoint::{Checkpoint, Inputs, fingerprint_of_rows};
use crate::config::RunConfig;
use crate::data::{Dataset, Filling, Order, Reader};
use crate::error::Error;
use crate::evaluate::evaluate;
use crate::evaluation::Evaluation;

/// Tokens of an evaluation's batch.
const EVAL_BATCH_TOKENS: usize = 2048;

/// Rows to train on, and to evaluate on.
#[derive(Debug)]
pub(super) struct Text {
    data: Dataset,
    eval_data: Option<Dataset>,
}

impl Text {
    fn micro_batches(&self, config: &RunConfig, order: &mut Order) -> Vec<TokenBatch> {
        let batch = |_| {
            let rows = order.micro_batch(config.filling(), &self.data);
            TokenBatch::new(rows.into_iter().map(|row| &self.data.examples()[row].row))
        };
        (0..config.grad_accum).map(batch).collect()
    }
}

impl Task for Text {
    type Model = Decoder;
    type Source = ModelSource;

    const WORDS: Words = Words {
        largest: "the longest rows",
        one: "one row",
        smaller: "a smaller --seq-len",
        auto_class: "AutoModelForCausalLM",
        tag: None,
        command: ("loract chat", ""),
    };

    fn source(config: &RunConfig) -> Result<ModelSource, Error> {
        Ok(ModelSource::open(&config.model)?)
    }

    fn base(source: &ModelSource) -> (&str, &Weights) {
        (&source.name, &source.weights)
    }

    fn companions(&self, source: &ModelSource) -> Result<Companions, Error> {
        Ok(Companions::of(source)?)
    }

    fn open(
        config: &mut RunConfig,
        source: &ModelSource,
        from: Option<&Checkpoint>,
    ) -> Result<(Self, Vec<String>), Error> {
        config.check_for_text()?;
        config.check_ranks(&source.config)?;
        let day = Day::of(config.rows.chat_date, from.and_then(Checkpoint::chat_date));
        config.rows.chat_date = Some(day.date());
        let reader = Reader::new(source, config.seq_len, &config.rows)?;
        let data = Dataset::read(&config.data, &reader)?;
        let eval_data = config.eval_data.as_ref().map(|path| Dataset::read(path, &reader)).transpose()?;
        let wrote_date = reader.wrote_date();
        config.rows.chat_date = day.worth_keeping(wrote_date);
        let note = wrote_date.then(|| day.note()).flatten();
        Ok((Self { data, eval_data }, note.into_iter().collect()))
    }

    fn load(&self, memory: &Memory, source: ModelSource) -> Result<Decoder, Error> {
        Ok(Decoder::load(memory, source.config, source.weights)?)
    }

    fn inputs(&self, weights: &Weights) -> Result<Inputs, Error> {
        let eval_data = self.eval_data.as_ref().map(fingerprint_of_rows);
        Ok(Inputs::of(weights, fingerprint_of_rows(&self.data), eval_data))
    }

    fn rows(&self) -> usize {
        self.data.examples().len()
    }

    fn steps_an_epoch(&self, config: &RunConfig) -> u64 {
        let order = Order::new(self.rows(), (!config.no_shuffle).then_some(config.seed));
        order.steps_an_epoch(config.filling(), &self.data, config.grad_accum)
    }

    fn batches(&mut self, config: &RunConfig, order: &mut Order) -> Result<Vec<TokenBatch>, Error> {
        Ok(self.micro_batches(config, order))
    }

    fn shapes(&self, config: &RunConfig, order: &mut Order) -> Vec<TokenBatch> {
        self.micro_batches(config, order)
    }

    fn largest(&self, filling: Filling) -> TokenBatch {
        TokenBatch::new(&self.data.longest_rows(filling))
    }

    fn smallest(&self) -> TokenBatch {
        TokenBatch::new(&[Row::all(vec![0; 2])])
    }

    fn evaluate(&self, model: &Decoder, memory: &Memory) -> Result<Option<Evaluation>, Error> {
        let found = self.eval_data.as_ref().map(|data| evaluate(model, memory, data, EVAL_BATCH_TOKENS)).transpose()?;
        Ok(found.map(Evaluation::Text))
    }

    fn sizes(&self, model: &Decoder) -> String {
        let c = model.config();
        format!("{} layers, width {}, vocabulary {}", c.layers, c.hidden_size, c.vocab_size)
    }

    fn told(&self) -> String {
        format!(
            "{} ({} rows, {} tokens, {} of them trained)",
            self.data.path().display(),
            self.rows(),
            self.data.tokens(),
            self.data.trained_tokens()
        )
    }

    fn warnings(&self, config: &RunConfig, model: &Decoder) -> Vec<String> {
        let cut = std::iter::once(&self.data).chain(&self.eval_data).filter(|data| data.cut_rows() > 0);
        cut.map(|data| {
            format!(
                "{} rows of {} were longer than --seq-len {} and were cut",
                data.cut_rows(),
                data.path().display(),
                config.seq_len.unwrap_or(model.config().context)
            )
        })
        .collect()
    }

    fn python_with_adapter(&self, _: &str) -> String {
        "from peft import AutoPeftModelForCausalLM\n\
         model = AutoPeftModelForCausalLM.from_pretrained(\"PATH OF THIS FOLDER\")"
            .to_owned()
    }
}
