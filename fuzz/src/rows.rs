//! Rows of data: ways to read them, and what is done with those that were read.

use std::path::Path;
use std::sync::OnceLock;

use loract_autograd::Memory;
use loract_models::{ChatTemplate, Decoder, DecoderConfig, TokenBatch, Tokenizer};
use loract_train::data::{Dataset, Filling, Order, Reader, TrainOn};
use loract_train::evaluate;

use crate::seeds::tiny_config;

/// Longer data is not evaluated, so that an input takes milliseconds.
const MOST_EVALUATED: usize = 512;

/// Longest row.
const CONTEXT: usize = 300;

/// How a file is read.
#[derive(Debug, Clone, Copy)]
pub struct Way {
    name: &'static str,
    train_on: TrainOn,
    cut_to: Option<usize>,
    template: usize,
}

/// What rows are encoded and evaluated with.
struct Model {
    tokenizer: Tokenizer,
    templates: Vec<ChatTemplate>,
    memory: Memory,
    decoder: Decoder,
}

impl Model {
    fn get() -> &'static Self {
        static MODEL: OnceLock<Model> = OnceLock::new();
        MODEL.get_or_init(Model::new)
    }

    fn new() -> Self {
        let chat = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/testkit/golden/chat");
        let tokenizer = Tokenizer::from_file(&chat.join("tokenizer.json")).expect("the golden tokenizer is read");
        let tokenizer = tokenizer.or_ids(Some(1), Some(2));
        let templates = ["smollm2", "llama3", "qwen3", "mistral-v3", "gemma"].map(|family| {
            let text = std::fs::read_to_string(chat.join(family).join("chat_template.jinja"));
            ChatTemplate::new(&text.expect("the golden template is there"), &tokenizer).expect("it parses")
        });
        let mut config = tiny_config();
        config["vocab_size"] = tokenizer.vocab_size().into();
        config["max_position_embeddings"] = CONTEXT.into();
        let config = DecoderConfig::from_json(Path::new("config.json"), &config.to_string(), None);
        let memory = Memory::new();
        let decoder = Decoder::random_frozen(&memory, config.expect("the tiny configuration is read"), 1);
        Self { tokenizer, templates: templates.into(), decoder: decoder.expect("random weights fit"), memory }
    }
}

impl Way {
    /// The way that a byte stands for.
    pub fn of(how: u8) -> Self {
        let how = usize::from(how);
        Self {
            name: if how.is_multiple_of(2) { "rows.jsonl" } else { "rows.csv" },
            train_on: [TrainOn::Assistant, TrainOn::Last, TrainOn::All, TrainOn::Assistant][how / 2 % 4],
            cut_to: [None, Some(8)][how / 8 % 2],
            template: how / 16 % 6,
        }
    }

    /// Reads a file this way; what was read is laid out and evaluated.
    pub fn drive(self, file: &[u8]) {
        let model = Model::get();
        let reader = Reader {
            tokenizer: Some(&model.tokenizer),
            template: model.templates.get(self.template).cloned().map(Ok),
            train_on: self.train_on,
            vocabulary: model.tokenizer.vocab_size(),
            context: CONTEXT,
            cut_to: self.cut_to,
        };
        let Ok(data) = Dataset::from_bytes(Path::new(self.name), file, &reader) else { return };
        for example in data.examples() {
            assert_eq!(example.row.ids.len(), example.row.labels.len());
            assert!(example.row.ids.len() <= self.cut_to.unwrap_or(CONTEXT) && example.row.trained_tokens() > 0);
        }
        for filling in [Filling::Rows(3), Filling::Tokens(CONTEXT)] {
            let longest = TokenBatch::new(&data.longest_rows(filling)).tokens();
            let mut order = Order::new(data.examples().len(), Some(7));
            for _ in 0..3 {
                let rows = order.micro_batch(filling, &data);
                let batch = TokenBatch::new(rows.into_iter().map(|row| &data.examples()[row].row));
                assert!(batch.tokens() <= longest, "a batch of {} tokens, planned for {longest}", batch.tokens());
            }
            assert!(Order::new(data.examples().len(), None).steps_an_epoch(filling, &data, 2) > 0);
        }
        let candidates = data.examples().iter().filter_map(|e| e.choices.as_ref());
        let tokens: usize = candidates.flat_map(|c| &c.rows).map(|row| row.ids.len()).sum();
        if data.tokens() + tokens <= MOST_EVALUATED {
            let found = evaluate(&model.decoder, &model.memory, &data, 64);
            assert!(found.is_ok(), "rows that were read cannot be evaluated: {found:?}");
        }
    }
}
