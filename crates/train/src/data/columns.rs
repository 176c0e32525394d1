//! What a row is, found from its columns.

use loract_models::Row;
use serde_json::{Map, Value};

use super::conversation::{self, Conversation};
use super::kind;

/// A row before it is tokens.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Sample<'a> {
    /// Token ids and labels.
    Ready(Row),
    /// A text, all of it trained.
    Text(&'a str),
    /// A text to go on from, and how.
    Completion { prompt: &'a str, completion: &'a str, choices: Option<Vec<&'a str>> },
    /// An instruction and its answer.
    Instruction { instruction: &'a str, input: &'a str, output: &'a str },
    /// Messages.
    Conversation(Conversation),
}

/// Columns that a row can be made of.
#[cfg(feature = "parquet")]
pub(super) const COLUMNS: [&str; 12] = [
    "input_ids",
    "labels",
    "messages",
    "conversations",
    "tools",
    "prompt",
    "completion",
    "choices",
    "instruction",
    "input",
    "output",
    "text",
];

const KNOWN: &str = "`input_ids` (and `labels`), `messages`, `conversations`, `prompt` and `completion`, `instruction` and \
                     `output` (and `input`), `text`";

/// What a row is.
#[derive(Debug, Clone, Copy)]
enum Format {
    Ready,
    Messages,
    Completion,
    Instruction,
    Text,
}

impl Format {
    /// By the columns that there are.
    fn of(has: impl Fn(&str) -> bool) -> Option<Self> {
        if has("input_ids") {
            Some(Format::Ready)
        } else if has("messages") || has("conversations") {
            Some(Format::Messages)
        } else if has("prompt") && has("completion") {
            Some(Format::Completion)
        } else if has("instruction") && has("output") {
            Some(Format::Instruction)
        } else if has("text") {
            Some(Format::Text)
        } else {
            None
        }
    }
}

impl<'a> Sample<'a> {
    /// Ids must be below `vocabulary`. A column that is null is as one that is not there, unless the row cannot be told
    /// without it: tables that hold several formats, or a column that only some rows have, are full of nulls.
    pub(super) fn of(object: &'a Map<String, Value>, vocabulary: usize) -> Result<Self, String> {
        let format = Format::of(|key| filled(object, key)).or_else(|| Format::of(|key| object.contains_key(key)));
        match format {
            Some(Format::Ready) => ready(object, vocabulary).map(Sample::Ready),
            Some(Format::Messages) => conversation::of_messages(object).map(Sample::Conversation),
            Some(Format::Completion) if object["prompt"].is_array() || object["completion"].is_array() => {
                conversation::of_completion(object).map(Sample::Conversation)
            }
            Some(Format::Completion) => {
                let (prompt, completion) = (text(object, "prompt")?, text(object, "completion")?);
                Ok(Sample::Completion { prompt, completion, choices: choices(object)? })
            }
            Some(Format::Instruction) => {
                // Alpaca's files have an empty `input` where there is none; others leave it out or null.
                let input = if filled(object, "input") { text(object, "input")? } else { "" };
                let (instruction, output) = (text(object, "instruction")?, text(object, "output")?);
                Ok(Sample::Instruction { instruction, input, output })
            }
            Some(Format::Text) => text(object, "text").map(Sample::Text),
            None => {
                let mut found: Vec<_> = object.keys().cloned().collect();
                found.sort();
                let found = if found.is_empty() { "(none)".to_owned() } else { found.join(", ") };
                Err(format!("columns {found} are none of: {KNOWN}"))
            }
        }
    }
}

/// Whether a column is there and not null.
pub(super) fn filled(object: &Map<String, Value>, key: &str) -> bool {
    object.get(key).is_some_and(|value| !value.is_null())
}

fn ready(object: &Map<String, Value>, vocabulary: usize) -> Result<Row, String> {
    let numbers = |key: &str| -> Result<Vec<i64>, String> {
        let list =
            object[key].as_array().ok_or_else(|| format!("`{key}` is {}, expected a list", kind(&object[key])))?;
        list.iter().map(|x| x.as_i64().ok_or_else(|| format!("`{key}` holds {x}, expected whole numbers"))).collect()
    };
    let token = |id: i64, key: &str| {
        u32::try_from(id)
            .ok()
            .filter(|&id| (id as usize) < vocabulary)
            .ok_or_else(|| format!("`{key}` holds {id}, outside the model's vocabulary of {vocabulary}"))
    };
    let ids = numbers("input_ids")?;
    let ids = ids.into_iter().map(|id| token(id, "input_ids")).collect::<Result<Vec<_>, _>>()?;
    if !filled(object, "labels") {
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

fn choices(object: &Map<String, Value>) -> Result<Option<Vec<&str>>, String> {
    let Some(choices) = object.get("choices").filter(|choices| !choices.is_null()) else { return Ok(None) };
    let list = choices.as_array().ok_or_else(|| format!("`choices` is {}, expected a list", kind(choices)))?;
    let texts = list.iter().map(|c| c.as_str().ok_or_else(|| format!("`choices` holds {c}, expected texts")));
    texts.collect::<Result<_, _>>().map(Some)
}

/// The text in a column that is there.
pub(super) fn text<'a>(object: &'a Map<String, Value>, key: &str) -> Result<&'a str, String> {
    object[key].as_str().ok_or_else(|| format!("`{key}` is {}, expected a text", kind(&object[key])))
}
