//! Reading JSONL: one object a line; every complaint names file and line.

use std::fs;
use std::path::Path;

use loract_models::{Row, Tokenizer};
use serde_json::{Map, Value};

use super::{Choices, Dataset, Example, Reader};
use crate::error::Error;

/// See [`Dataset::read`].
pub(super) fn read(path: &Path, reader: &Reader<'_>) -> Result<Dataset, Error> {
    let failed = |reason| Error::Read { path: path.to_path_buf(), reason };
    if path.is_dir() {
        return Err(failed(std::io::Error::other("it is a folder; give a JSONL file")));
    }
    let bytes = fs::read(path).map_err(failed)?;
    let mut data = Dataset { path: path.to_path_buf(), examples: Vec::new(), cut: 0 };
    for (index, line) in bytes.split(|&b| b == b'\n').enumerate() {
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let (example, was_cut) =
            example(line, reader).map_err(|what| Error::Line { path: path.to_path_buf(), line: index + 1, what })?;
        data.examples.push(example);
        data.cut += usize::from(was_cut);
    }
    if data.examples.is_empty() {
        return Err(Error::Empty { path: path.to_path_buf() });
    }
    Ok(data)
}

fn example(line: &[u8], reader: &Reader<'_>) -> Result<(Example, bool), String> {
    let line = std::str::from_utf8(line)
        .map_err(|e| format!("not UTF-8 (byte {} of the line); convert the file to UTF-8", e.valid_up_to() + 1))?;
    let value: Value = serde_json::from_str(line).map_err(|e| {
        // The parser counts lines from this one.
        let words = e.to_string();
        let words = words.split(" at line ").next().unwrap_or_default();
        format!("not a JSON value: {words} at column {}; expected one JSON object a line", e.column())
    })?;
    let Value::Object(object) = value else {
        return Err(format!("expected a JSON object, found {}", kind(&value)));
    };
    let has = |key: &str| object.contains_key(key);
    let (mut row, choices) = if has("input_ids") {
        (ready(&object, reader)?, None)
    } else if has("prompt") && has("completion") {
        completion(&object, reader)?
    } else if has("text") {
        (Row::all(Pieces::of(reader)?.text(text(&object, "text")?)?), None)
    } else {
        let found: Vec<_> = object.keys().cloned().collect();
        return Err(format!(
            "columns {} are none of: `input_ids` (and `labels`), `prompt` and `completion`, `text`",
            if found.is_empty() { "(none)".to_owned() } else { found.join(", ") }
        ));
    };
    let all = std::iter::once(&row).chain(choices.iter().flat_map(|c: &Choices| &c.rows));
    if let Some(id) = all.flat_map(|row| &row.ids).find(|&&id| id as usize >= reader.vocabulary) {
        return Err(format!(
            "the tokenizer gives token {id}, outside the model's vocabulary of {}; tokenizer and model do not belong together",
            reader.vocabulary
        ));
    }
    let cut = fit(&mut row, reader)?;
    let choices = match choices {
        None => None,
        Some(mut choices) => {
            for row in &mut choices.rows {
                fit(row, reader)?;
            }
            Some(choices)
        }
    };
    Ok((Example { row, choices }, cut))
}

/// Cuts to length and checks that something is trained; true if cut.
fn fit(row: &mut Row, reader: &Reader<'_>) -> Result<bool, String> {
    let tokens = row.ids.len();
    let most = reader.cut_to.unwrap_or(reader.context);
    let cut = tokens > most;
    if cut {
        if reader.cut_to.is_none() {
            return Err(format!(
                "row of {tokens} tokens is longer than the model's context of {most}; shorten it, or pass --seq-len {most} to cut"
            ));
        }
        row.ids.truncate(most);
        row.labels.truncate(most);
    }
    if row.trained_tokens() == 0 {
        let why = if cut { format!(" after cutting {tokens} tokens to {most}") } else { String::new() };
        return Err(format!("no trained token{why}: at least one label after the first token must differ from -100"));
    }
    Ok(cut)
}

fn ready(object: &Map<String, Value>, reader: &Reader<'_>) -> Result<Row, String> {
    let numbers = |key: &str| -> Result<Vec<i64>, String> {
        let list =
            object[key].as_array().ok_or_else(|| format!("`{key}` is {}, expected a list", kind(&object[key])))?;
        list.iter().map(|x| x.as_i64().ok_or_else(|| format!("`{key}` holds {x}, expected whole numbers"))).collect()
    };
    let token = |id: i64, key: &str| {
        u32::try_from(id)
            .ok()
            .filter(|&id| (id as usize) < reader.vocabulary)
            .ok_or_else(|| format!("`{key}` holds {id}, outside the model's vocabulary of {}", reader.vocabulary))
    };
    let ids = numbers("input_ids")?;
    let ids = ids.into_iter().map(|id| token(id, "input_ids")).collect::<Result<Vec<_>, _>>()?;
    if !object.contains_key("labels") {
        // Other columns are metadata and pass; this one would silently train everything.
        return if object.contains_key("label") {
            Err("column `label`: did you mean `labels`?".to_owned())
        } else {
            Ok(Row::all(ids))
        };
    }
    let labels = numbers("labels")?;
    if labels.len() != ids.len() {
        return Err(format!("{} labels for {} input_ids; they must be aligned", labels.len(), ids.len()));
    }
    let label = |id: i64| if id == -100 { Ok(None) } else { token(id, "labels").map(Some) };
    let labels = labels.into_iter().map(label).collect::<Result<_, _>>()?;
    Ok(Row { ids, labels })
}

fn completion(object: &Map<String, Value>, reader: &Reader<'_>) -> Result<(Row, Option<Choices>), String> {
    let pieces = Pieces::of(reader)?;
    let (prompt, right) = (text(object, "prompt")?, text(object, "completion")?);
    let row = pieces.completion(prompt, right)?;
    let Some(choices) = object.get("choices") else { return Ok((row, None)) };
    let list = choices.as_array().ok_or_else(|| format!("`choices` is {}, expected a list", kind(choices)))?;
    let texts = list.iter().map(|c| c.as_str().ok_or_else(|| format!("`choices` holds {c}, expected texts")));
    let texts = texts.collect::<Result<Vec<_>, _>>()?;
    let answer = texts.iter().position(|&t| t == right);
    let answer = answer.ok_or_else(|| format!("completion {right:?} is not among its choices {choices}"))?;
    let rows = texts.iter().map(|t| pieces.completion(prompt, t)).collect::<Result<_, _>>()?;
    Ok((row, Some(Choices { rows, answer })))
}

/// A tokenizer with its end token.
struct Pieces<'a> {
    tokenizer: &'a Tokenizer,
}

impl<'a> Pieces<'a> {
    fn of(reader: &Reader<'a>) -> Result<Self, String> {
        let tokenizer = reader.tokenizer.ok_or(
            "a text row needs a tokenizer, and the model has none: put its tokenizer.json beside it, or give `input_ids`",
        )?;
        Ok(Self { tokenizer })
    }

    fn begin(&self) -> Vec<u32> {
        if self.tokenizer.add_bos() { self.tokenizer.bos().into_iter().collect() } else { Vec::new() }
    }

    fn encode(&self, text: &str) -> Result<Vec<u32>, String> {
        self.tokenizer.encode(text).map_err(|e| e.to_string())
    }

    fn text(&self, text: &str) -> Result<Vec<u32>, String> {
        let mut ids = self.begin();
        ids.extend(self.encode(text)?);
        ids.extend(self.tokenizer.eos());
        Ok(ids)
    }

    /// The two parts are tokenised apart, so that the boundary never depends on what follows.
    fn completion(&self, prompt: &str, completion: &str) -> Result<Row, String> {
        let mut ids = self.begin();
        ids.extend(self.encode(prompt)?);
        let masked = ids.len();
        ids.extend(self.encode(completion)?);
        ids.extend(self.tokenizer.eos());
        let labels = ids.iter().enumerate().map(|(i, &id)| (i >= masked).then_some(id)).collect();
        Ok(Row { ids, labels })
    }
}

fn text<'a>(object: &'a Map<String, Value>, key: &str) -> Result<&'a str, String> {
    object[key].as_str().ok_or_else(|| format!("`{key}` is {}, expected a text", kind(&object[key])))
}

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

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(cut_to: Option<usize>) -> Reader<'static> {
        Reader { tokenizer: None, vocabulary: 64, context: 8, cut_to }
    }

    #[test]
    fn ready_rows_are_taken_as_they_are() -> Result<(), String> {
        let (one, cut) = example(br#"{"input_ids":[1,2,3],"labels":[-100,-100,3]}"#, &reader(None))?;
        assert_eq!(one.row, Row { ids: vec![1, 2, 3], labels: vec![None, None, Some(3)] });
        assert!(!cut);
        let (one, cut) = example(br#"{"input_ids":[1,2,3,4,5],"id":"metadata"}"#, &reader(Some(4)))?;
        assert_eq!(one.row, Row::all(vec![1, 2, 3, 4]));
        assert!(cut);
        Ok(())
    }

    #[test]
    fn every_bad_row_is_named() {
        for (line, cut_to, want) in [
            ("{", None, "not a JSON value"),
            ("[1]", None, "expected a JSON object, found a list"),
            (r#"{"a":1}"#, None, "columns a are none of"),
            ("{}", None, "columns (none) are none of"),
            (r#"{"input_ids":"x"}"#, None, "`input_ids` is a text, expected a list"),
            (r#"{"input_ids":[1,2.5]}"#, None, "holds 2.5, expected whole numbers"),
            (r#"{"input_ids":[1,64]}"#, None, "holds 64, outside the model's vocabulary of 64"),
            (r#"{"input_ids":[1,-1]}"#, None, "holds -1, outside"),
            (r#"{"input_ids":[1,2],"labels":[1]}"#, None, "1 labels for 2 input_ids"),
            (r#"{"input_ids":[1,2],"label":[1,2]}"#, None, "did you mean `labels`"),
            (r#"{"input_ids":[1,2],"labels":[1,-100]}"#, None, "no trained token"),
            (r#"{"input_ids":[1]}"#, None, "no trained token"),
            (
                r#"{"input_ids":[1,2,3],"labels":[-100,-100,3]}"#,
                Some(2),
                "no trained token after cutting 3 tokens to 2",
            ),
            (r#"{"input_ids":[1,1,1,1,1,1,1,1,1]}"#, None, "longer than the model's context of 8"),
            (r#"{"text":"hello"}"#, None, "needs a tokenizer"),
        ] {
            let got = example(line.as_bytes(), &reader(cut_to)).err().unwrap_or_default();
            assert!(got.contains(want), "{line}: {got:?} lacks {want:?}");
        }
    }
}
