//! Rows to train on: found in a file or a folder, their format found from their columns, as token ids with labels.
//!
//! | columns | row | trained |
//! |---|---|---|
//! | `input_ids`, optional `labels` | as they are | labels that are not −100; all without `labels` |
//! | `messages` (`role`, `content`) or `conversations` (`from`, `value`), optional `tools` | by the chat template | [`TrainOn`] |
//! | `prompt`, `completion` as lists of messages | by the chat template | [`TrainOn`], of the completion |
//! | `prompt`, `completion` as texts, optional `choices` | tokens of both, then the end token | completion and end token |
//! | `instruction`, `output`, optional `input` | by the chat template, or Alpaca's prompt if there is none | the output |
//! | `text` | tokens of the text, then the end token | all |
//!
//! Data goes one way: [`Split`] (which file) → `lines`, `table`, `parquet` (objects by line or row) → `columns` (what a row is) →
//! `encode` (ids and labels; conversations by `turns`, which finds the assistant's) → cut to length → [`Dataset`].

mod columns;
mod conversation;
mod encode;
mod files;
pub mod images;
mod lines;
mod order;
#[cfg(feature = "parquet")]
mod parquet;
mod reader;
mod table;
mod turns;

pub(crate) use files::unit;
pub use files::{Split, folder_files};
pub use order::{Filling, Order};
pub use reader::{Reader, RowSettings, TrainOn};

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use loract_models::Row;
use serde_json::{Map, Value};

use crate::error::Error;

/// A row, where it comes from, and the ways it might have gone on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// The row itself.
    pub row: Row,
    /// Possible completions, for multiple choice.
    pub choices: Option<Choices>,
    /// Line of the file where it begins, counted from 1; of a Parquet file, its row.
    pub line: usize,
    /// Its tokens before it was cut.
    pub whole_tokens: usize,
}

/// Rows that share a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choices {
    /// The prompt with each completion.
    pub rows: Vec<Row>,
    /// Which of them is right.
    pub answer: usize,
}

/// All rows of a file.
#[derive(Debug, Clone)]
pub struct Dataset {
    path: PathBuf,
    examples: Vec<Example>,
}

impl Dataset {
    /// Reads a JSONL file, or a CSV or Parquet file (with the feature `parquet`) if its name ends so.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Line`] naming file, line or row and what was expected, [`Error::Data`] for a Parquet file
    /// that is damaged or has a column that cannot be used, [`Error::Empty`].
    pub fn read(path: &Path, reader: &Reader<'_>) -> Result<Self, Error> {
        files::check(path)?;
        let file = File::open(path).map_err(|reason| Error::Read { path: path.to_path_buf(), reason })?;
        Self::collect(path, reader, |add| match files::Format::of(path) {
            #[cfg(feature = "parquet")]
            files::Format::Parquet => parquet::each(path, file, add),
            _ => each_of_text(path, file, add),
        })
    }

    /// Reads the bytes of a JSONL or CSV file, which messages call `path`.
    ///
    /// # Errors
    /// As [`Dataset::read`].
    pub fn from_bytes(path: &Path, bytes: &[u8], reader: &Reader<'_>) -> Result<Self, Error> {
        Self::collect(path, reader, |add| each_of_text(path, bytes, add))
    }

    fn collect(
        path: &Path,
        reader: &Reader<'_>,
        each: impl FnOnce(&mut SeeRow<'_>) -> Result<(), Error>,
    ) -> Result<Self, Error> {
        let mut examples = Vec::new();
        each(&mut |line: usize, object: &Map<String, Value>| {
            examples.push(reader.example(object, line)?);
            Ok(())
        })?;
        if examples.is_empty() {
            return Err(Error::Empty { path: path.to_path_buf() });
        }
        Ok(Self { path: path.to_path_buf(), examples })
    }

    /// From rows made by the program; `name` stands for the file in messages.
    pub fn from_rows(name: &str, rows: Vec<Row>) -> Self {
        let example =
            |(index, row): (usize, Row)| Example { whole_tokens: row.ids.len(), row, choices: None, line: index + 1 };
        Self { path: PathBuf::from(name), examples: rows.into_iter().enumerate().map(example).collect() }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }
    /// What [`Example::line`] counts: "line" or "row".
    pub fn unit(&self) -> &'static str {
        unit(&self.path)
    }
    /// The rows, in file order.
    pub fn examples(&self) -> &[Example] {
        &self.examples
    }
    /// A micro-batch at least as large as any that comes: the longest rows, each as often as there can be epochs in one; by
    /// tokens, the longest row again and again, the last time cut to what is left.
    pub fn longest_rows(&self, filling: Filling) -> Vec<Row> {
        let mut rows: Vec<_> = self.examples.iter().map(|example| &example.row).collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.ids.len()));
        match filling {
            Filling::Rows(count) => {
                let epochs = order::epochs_in(count, rows.len());
                rows.into_iter().flat_map(|row| std::iter::repeat_n(row, epochs)).take(count).cloned().collect()
            }
            Filling::Tokens(most) => {
                let mut left = most;
                let mut part = |row: &Row| {
                    let size = row.ids.len().min(left);
                    left -= size;
                    (size > 0).then(|| Row { ids: row.ids[..size].to_vec(), labels: row.labels[..size].to_vec() })
                };
                rows.first().into_iter().cycle().map_while(|row| part(row)).collect()
            }
        }
    }
    /// How many rows were longer than [`Reader::cut_to`] and cut.
    pub fn cut_rows(&self) -> usize {
        self.examples.iter().filter(|e| e.row.ids.len() < e.whole_tokens).count()
    }
    /// Tokens of all rows.
    pub fn tokens(&self) -> usize {
        self.examples.iter().map(|e| e.row.ids.len()).sum()
    }
    /// Trained tokens of all rows.
    pub fn trained_tokens(&self) -> usize {
        self.examples.iter().map(|e| e.row.trained_tokens()).sum()
    }
}

/// Takes an object and the line where it begins, or its row; says what is wrong with it.
type SeeRow<'a> = dyn FnMut(usize, &Map<String, Value>) -> Result<(), String> + 'a;

/// Shows `row` every row of a text.
fn each_of_text(path: &Path, text: impl Read, row: &mut SeeRow<'_>) -> Result<(), Error> {
    match files::Format::of(path) {
        files::Format::Csv => table::each(path, text, row),
        _ => lines::each(path, text, row),
    }
}

/// What a JSON value is, for messages.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
