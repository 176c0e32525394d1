//! Rows to train on: read from JSONL, their format found from their columns, and handed out in order.
//!
//! | columns | row | trained |
//! |---|---|---|
//! | `input_ids`, optional `labels` | as they are | labels that are not −100; all without `labels` |
//! | `text` | tokens of the text, then the end token | all |
//! | `prompt`, `completion`, optional `choices` | tokens of both, then the end token | completion and end token |
//!
//! A begin token is put first if the model's tokenizer asks for one. `choices` (for `eval`) lists possible completions.

mod jsonl;
mod order;

pub use order::Order;

use std::path::{Path, PathBuf};

use loract_models::{ModelSource, Row, Tokenizer};

use crate::error::Error;

/// A row, and the ways it might have gone on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// The row itself.
    pub row: Row,
    /// Possible completions, for multiple choice.
    pub choices: Option<Choices>,
}

/// Rows that share a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choices {
    /// The prompt with each completion.
    pub rows: Vec<Row>,
    /// Which of them is right.
    pub answer: usize,
}

/// How rows become tokens, and how long they may be.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    /// Needed for `text` and `prompt`.
    pub tokenizer: Option<&'a Tokenizer>,
    /// Number of tokens the model knows.
    pub vocabulary: usize,
    /// Longest row that the model takes.
    pub context: usize,
    /// Rows are cut to this many tokens; `None` = a row beyond the context is an error.
    pub cut_to: Option<usize>,
}

impl<'a> Reader<'a> {
    /// For the rows of `model`, cut to `seq_len` tokens if given.
    ///
    /// # Errors
    /// [`Error::Setting`] if `seq_len` is beyond the model's context.
    pub fn new(model: &'a ModelSource, seq_len: Option<usize>) -> Result<Self, Error> {
        let context = model.config.context;
        if let Some(seq_len) = seq_len.filter(|&t| t > context) {
            let what = format!("{seq_len} is more than the model's context of {context}");
            return Err(Error::Setting { key: "seq-len", what });
        }
        let (tokenizer, vocabulary) = (model.tokenizer.as_ref(), model.config.vocab_size);
        Ok(Self { tokenizer, vocabulary, context, cut_to: seq_len })
    }
}

/// All rows of a file.
#[derive(Debug, Clone)]
pub struct Dataset {
    path: PathBuf,
    examples: Vec<Example>,
    cut: usize,
}

impl Dataset {
    /// Reads a JSONL file.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Line`] naming file, line and what was expected, [`Error::Empty`].
    pub fn read(path: &Path, reader: &Reader<'_>) -> Result<Self, Error> {
        jsonl::read(path, reader)
    }

    /// From rows made by the program; `name` stands for the file in messages.
    pub fn from_rows(name: &str, rows: Vec<Row>) -> Self {
        let examples = rows.into_iter().map(|row| Example { row, choices: None }).collect();
        Self { path: PathBuf::from(name), examples, cut: 0 }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }
    /// The rows, in file order.
    pub fn examples(&self) -> &[Example] {
        &self.examples
    }
    /// How many rows were longer than [`Reader::cut_to`] and cut.
    pub fn cut_rows(&self) -> usize {
        self.cut
    }
    /// Tokens of all rows.
    pub fn tokens(&self) -> usize {
        self.examples.iter().map(|e| e.row.ids.len()).sum()
    }
}
