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

const KNOWN: &str = "`input_ids` (and `labels`), `messages`, `conversations`, `prompt` and `completion`, `instruction` and \
                     `output` (and `input`), `text`";

impl<'a> Sample<'a> {
    /// Ids must be below `vocabulary`.
    pub(super) fn of(object: &'a Map<String, Value>, vocabulary: usize) -> Result<Self, String> {
        let has = |key: &str| object.contains_key(key);
        if has("input_ids") {
            return ready(object, vocabulary).map(Sample::Ready);
        }
        if has("messages") || has("conversations") {
            return conversation::of_messages(object).map(Sample::Conversation);
        }
        if has("prompt") && has("completion") {
            if object["prompt"].is_array() || object["completion"].is_array() {
                return conversation::of_completion(object).map(Sample::Conversation);
            }
            let (prompt, completion) = (text(object, "prompt")?, text(object, "completion")?);
            return Ok(Sample::Completion { prompt, completion, choices: choices(object)? });
        }
        if has("instruction") && has("output") {
            // Alpaca's files have an empty `input` where there is none; others leave it out or null.
            let input = if object.get("input").is_none_or(Value::is_null) { "" } else { text(object, "input")? };
            return Ok(Sample::Instruction {
                instruction: text(object, "instruction")?,
                input,
                output: text(object, "output")?,
            });
        }
        if has("text") {
            return text(object, "text").map(Sample::Text);
        }
        let mut found: Vec<_> = object.keys().cloned().collect();
        found.sort();
        let found = if found.is_empty() { "(none)".to_owned() } else { found.join(", ") };
        Err(format!("columns {found} are none of: {KNOWN}"))
    }
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

fn choices(object: &Map<String, Value>) -> Result<Option<Vec<&str>>, String> {
    let Some(choices) = object.get("choices") else { return Ok(None) };
    let list = choices.as_array().ok_or_else(|| format!("`choices` is {}, expected a list", kind(choices)))?;
    let texts = list.iter().map(|c| c.as_str().ok_or_else(|| format!("`choices` holds {c}, expected texts")));
    texts.collect::<Result<_, _>>().map(Some)
}

/// The text in a column that is there.
pub(super) fn text<'a>(object: &'a Map<String, Value>, key: &str) -> Result<&'a str, String> {
    object[key].as_str().ok_or_else(|| format!("`{key}` is {}, expected a text", kind(&object[key])))
}
