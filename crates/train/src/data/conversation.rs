//! Conversations, whatever they are written as: a list of `{"role": …, "content": …}`.

use serde_json::{Map, Value, json};

use super::columns::filled;
use super::kind;

/// Messages, and what a template is given with them.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Conversation {
    pub messages: Vec<Value>,
    pub tools: Option<Value>,
    /// So many messages from the start are a prompt: nothing of them is trained.
    pub prompt: usize,
}

/// ShareGPT's names of roles, and those that its users add.
const SHARE_GPT: [(&str, &str); 10] = [
    ("human", "user"),
    ("user", "user"),
    ("gpt", "assistant"),
    ("assistant", "assistant"),
    ("model", "assistant"),
    ("chatgpt", "assistant"),
    ("bing", "assistant"),
    ("bard", "assistant"),
    ("system", "system"),
    ("tool", "tool"),
];

/// The column `messages`, or else `conversations`.
pub(super) fn of_messages(object: &Map<String, Value>) -> Result<Conversation, String> {
    let key =
        if filled(object, "messages") || !object.contains_key("conversations") { "messages" } else { "conversations" };
    Ok(Conversation { messages: messages(object, key)?, tools: tools(object)?, prompt: 0 })
}

/// The columns `prompt` and `completion` as lists of messages.
pub(super) fn of_completion(object: &Map<String, Value>) -> Result<Conversation, String> {
    if filled(object, "choices") {
        return Err("`choices` go with `prompt` and `completion` as texts, not with lists of messages".to_owned());
    }
    let mut all = messages(object, "prompt")?;
    let prompt = all.len();
    all.extend(messages(object, "completion")?);
    Ok(Conversation { messages: all, tools: tools(object)?, prompt })
}

/// A user's message and the assistant's.
pub(super) fn of_instruction(instruction: &str, input: &str, output: &str) -> Conversation {
    let asked = if input.is_empty() { instruction.to_owned() } else { format!("{instruction}\n\n{input}") };
    let messages = vec![json!({"role": "user", "content": asked}), json!({"role": "assistant", "content": output})];
    Conversation { messages, tools: None, prompt: 0 }
}

fn messages(object: &Map<String, Value>, key: &str) -> Result<Vec<Value>, String> {
    let list = object[key]
        .as_array()
        .ok_or_else(|| format!("`{key}` is {}, expected a list of messages", kind(&object[key])))?;
    if list.is_empty() {
        return Err(format!("`{key}` holds no message"));
    }
    let number =
        |(index, one): (usize, &Value)| message(one).map_err(|e| format!("message {} of `{key}`: {e}", index + 1));
    list.iter().enumerate().map(number).collect()
}

fn message(value: &Value) -> Result<Value, String> {
    let object = value.as_object().ok_or_else(|| format!("it is {}, expected an object", kind(value)))?;
    let text =
        |key: &str| object[key].as_str().ok_or_else(|| format!("`{key}` is {}, expected a text", kind(&object[key])));
    if object.contains_key("from") && object.contains_key("value") {
        let from = text("from")?;
        let role = SHARE_GPT.iter().find(|(name, _)| *name == from).map(|(_, role)| *role);
        let role = role.ok_or_else(|| {
            let known: Vec<_> = SHARE_GPT.iter().map(|(name, _)| *name).collect();
            format!("`from` is {from:?}, which is none of {}", known.join(", "))
        })?;
        return Ok(json!({"role": role, "content": text("value")?}));
    }
    if !object.contains_key("role") {
        let found: Vec<_> = object.keys().cloned().collect();
        return Err(format!("it has no `role` (it has: {}); expected `role` and `content`", found.join(", ")));
    }
    text("role")?;
    match object.get("content") {
        Some(Value::String(_)) => {}
        // Calls of tools may come without words.
        None | Some(Value::Null) if object.contains_key("tool_calls") => {}
        None => return Err("it has no `content`".to_owned()),
        Some(_) => drop(text("content")?),
    }
    Ok(value.clone())
}

fn tools(object: &Map<String, Value>) -> Result<Option<Value>, String> {
    match object.get("tools") {
        None | Some(Value::Null) => Ok(None),
        Some(list @ Value::Array(_)) => Ok(Some(list.clone())),
        // As TRL takes them.
        Some(Value::String(text)) => {
            serde_json::from_str(text).map(Some).map_err(|e| format!("`tools` is not JSON: {e}"))
        }
        Some(other) => Err(format!("`tools` is {}, expected a list", kind(other))),
    }
}
