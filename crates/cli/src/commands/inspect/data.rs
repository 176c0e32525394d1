//! `loract inspect data`: what training would see of a file: counts, lengths, and rows with what is trained of them.

use std::io::IsTerminal;

use anyhow::Result;
use loract_models::{ModelSource, Row, Tokenizer};
use loract_train::Error;
use loract_train::data::{Dataset, Example, Reader, Split};
use serde_json::{Value, json};

use super::args::DataArgs;
use super::lengths::Lengths;
use crate::args::{data_file, tell_date};
use crate::commands::kind::refuse_images;
use crate::{hub, output};

/// Rows shown, if not said.
const ROWS: usize = 3;

/// Looks at data.
pub fn run(args: &DataArgs) -> Result<()> {
    if args.seq_len.is_some_and(|t| t < 2) {
        let what = "a row needs two tokens at least, one to predict the other".to_owned();
        return Err(Error::Setting { key: "seq-len", what }.into());
    }
    let settings = args.row.clone().resolve()?;
    let model = hub::local(&args.model)?;
    refuse_images(
        &model,
        "its data are pictures, of which `loract train` says how many there are and of which classes",
    )?;
    let source = ModelSource::open(&model)?;
    let reader = Reader::new(&source, args.seq_len, &settings)?;
    let data = Dataset::read(&data_file(&args.data, &[Split::Train])?, &reader)?;
    tell_date(&reader, &settings);
    let lengths = Lengths::of(data.examples().iter().map(|e| e.row.ids.len()));
    let shown = &data.examples()[..args.rows.unwrap_or(ROWS).min(data.examples().len())];
    if args.json {
        return Ok(output::line(&as_json(&data, &lengths, shown).to_string())?);
    }
    output::line(&counts(&data, args.seq_len))?;
    output::line(&lengths.chart())?;
    let paint = if std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty()) {
        Paint::Colour
    } else {
        Paint::Brackets
    };
    if !shown.is_empty() {
        output::line(&format!("trained: {}", paint.trained("like this")))?;
    }
    for example in shown {
        let (tokens, trained) = (example.row.ids.len(), example.row.trained_tokens());
        output::line(&format!("\n{} {}: {tokens} tokens, {trained} trained", data.unit(), example.line))?;
        output::line(&paint.row(&example.row, reader.tokenizer))?;
    }
    Ok(())
}

/// The row that was longest before it was cut.
fn longest(data: &Dataset) -> Option<&Example> {
    // The first of several.
    data.examples().iter().rev().max_by_key(|e| e.whole_tokens)
}

fn counts(data: &Dataset, seq_len: Option<usize>) -> String {
    let (tokens, trained) = (data.tokens(), data.trained_tokens());
    let mut text = format!(
        "rows            {}\ntokens          {tokens}\ntrained tokens  {trained} ({:.1} %)\n",
        data.examples().len(),
        100.0 * trained as f64 / tokens as f64
    );
    if let Some(seq_len) = seq_len {
        text += &format!("cut rows        {} (to {seq_len} tokens)\n", data.cut_rows());
    }
    if let Some(longest) = longest(data) {
        text += &format!("longest row     {} tokens, {} {}\n", longest.whole_tokens, data.unit(), longest.line);
    }
    text
}

fn as_json(data: &Dataset, lengths: &Lengths, shown: &[Example]) -> Value {
    let labels = |row: &Row| row.labels.iter().map(|label| label.map_or(-100, i64::from)).collect::<Vec<_>>();
    let examples: Vec<_> =
        shown.iter().map(|e| json!({"line": e.line, "input_ids": e.row.ids, "labels": labels(&e.row)})).collect();
    json!({
        "data": data.path().display().to_string(),
        "rows": data.examples().len(),
        "tokens": data.tokens(),
        "trained_tokens": data.trained_tokens(),
        "cut_rows": data.cut_rows(),
        "longest": longest(data).map(|e| json!({"line": e.line, "tokens": e.whole_tokens})),
        "lengths": lengths.to_json(),
        "examples": examples,
    })
}

/// How trained tokens are told from others.
#[derive(Debug, Clone, Copy)]
enum Paint {
    /// Green.
    Colour,
    /// «In brackets», where there is no colour.
    Brackets,
}

impl Paint {
    fn trained(self, text: &str) -> String {
        match self {
            Paint::Colour => format!("\x1b[32m{text}\x1b[0m"),
            Paint::Brackets => format!("«{text}»"),
        }
    }

    /// The text of a row (its ids, if they are no text).
    fn row(self, row: &Row, tokenizer: Option<&Tokenizer>) -> String {
        let mut text = String::new();
        // The first token is predicted by none.
        let trained = |i: usize| i > 0 && row.labels[i].is_some();
        let mut start = 0;
        while start < row.ids.len() {
            let end = (start..row.ids.len()).find(|&i| trained(i) != trained(start)).unwrap_or(row.ids.len());
            let part = words(&row.ids[start..end], tokenizer);
            text += &if trained(start) { self.trained(&part) } else { part };
            start = end;
        }
        text
    }
}

fn words(ids: &[u32], tokenizer: Option<&Tokenizer>) -> String {
    match tokenizer.and_then(|tokenizer| tokenizer.decode(ids).ok()) {
        None => ids.iter().map(|id| format!(" {id} ")).collect(),
        Some(text) => harmless(&text),
    }
}

/// The text without what could steer a terminal.
fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && c != '\n' && c != '\t' { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trained_tokens_are_told_from_others() {
        let row = Row { ids: vec![5, 6, 7, 8], labels: vec![Some(5), Some(6), Some(7), None] };
        // The first is trained by none, whatever its label.
        assert_eq!(Paint::Brackets.row(&row, None), " 5 « 6  7 » 8 ");
        assert_eq!(Paint::Colour.row(&row, None), " 5 \x1b[32m 6  7 \x1b[0m 8 ");
        assert_eq!(harmless("a\tb\n\x1b[2J\u{9b}"), "a\tb\n\\u{1b}[2J\\u{9b}");
    }
}
