//! Chat templates: a conversation as the text that the model was made for, in Jinja, as models come with them.
//!
//! What a template may use is what Transformers gives it (`utils/chat_template_utils.py` of version 5.24): `messages`,
//! `tools`, `documents`, `add_generation_prompt`, `bos_token`, `eos_token`; `raise_exception`, `strftime_now`, `namespace`,
//! `tojson` without HTML escapes; `break` and `continue`; Python's methods of texts and mappings; blocks trimmed and
//! stripped on the left. `{% generation %}` marks what Transformers counts as the assistant's and prints nothing here.
//! Templates are not trusted: they see these values only, and run out of fuel if they do not end.

mod date;
mod python;

pub use date::Date;

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value as Item};
use minijinja::{Environment, Error as JinjaError, ErrorKind, context};
use serde_json::{Map, Value};

use crate::tokenizer::Tokenizer;

const NAME: &str = "chat template";

/// Steps that a rendering may take; a conversation of a thousand messages takes less than a tenth of it.
const FUEL: u64 = 50_000_000;

/// Names under which a message brings its reasoning; the first is the standard one.
const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

/// How a rendering ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// With the last message.
    AsItIs,
    /// With what the assistant's next turn begins with.
    GenerationPrompt,
}

/// What is wrong with a template, or with a conversation in its eyes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the fields are the words of the messages")]
pub enum TemplateError {
    /// The template does not parse.
    #[error("the chat template cannot be read: {reason} (its line {line})")]
    Syntax { line: usize, reason: String },
    /// The template itself refuses the conversation (`raise_exception`).
    #[error("the chat template refuses the conversation: {reason}")]
    Refused { reason: String },
    /// The template fails.
    #[error("the chat template fails: {reason} (its line {line})")]
    Failed { line: usize, reason: String },
}

/// A template with the texts of the model's own tokens.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    bos: Option<String>,
    eos: Option<String>,
    wrote_date: Arc<AtomicBool>,
}

impl ChatTemplate {
    /// From the text of a template.
    ///
    /// # Errors
    /// [`TemplateError::Syntax`].
    pub fn new(source: &str, tokenizer: &Tokenizer) -> Result<Self, TemplateError> {
        let mut environment = Environment::new();
        environment.set_syntax(blocks_trimmed()?);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.set_fuel(Some(FUEL));
        environment.set_formatter(|output, _, value| {
            let written = output.write_str(&python::printed(value));
            written.map_err(|_| JinjaError::new(ErrorKind::WriteFailure, "out of memory"))
        });
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_filter("tojson", python::tojson);
        environment.add_function("raise_exception", raise);
        let wrote_date = Arc::new(AtomicBool::new(false));
        environment.add_function("strftime_now", date::strftime_on(None, Arc::clone(&wrote_date)));
        let parsed = environment.add_template_owned(NAME, without_generation_marks(source));
        parsed.map_err(|e| TemplateError::Syntax { line: e.line().unwrap_or(0), reason: words(&e) })?;
        let text = |id: Option<u32>| id.and_then(|id| tokenizer.token(id));
        Ok(Self { environment, bos: text(tokenizer.bos()), eos: text(tokenizer.eos()), wrote_date })
    }

    /// The template as if it were `day`, at its first moment (00:00:00, UTC) all along.
    #[must_use]
    pub fn on(mut self, day: Date) -> Self {
        self.environment.add_function("strftime_now", date::strftime_on(Some(day), Arc::clone(&self.wrote_date)));
        self
    }

    /// Whether the template has asked for the date in a text so far, so that it may differ from day to day; clones count
    /// together.
    pub fn wrote_date(&self) -> bool {
        self.wrote_date.load(Ordering::Relaxed)
    }

    /// The text of messages (`{"role": …, "content": …}`) and the tools at hand. Keys that hold null are left out, as
    /// Transformers does.
    ///
    /// # Errors
    /// [`TemplateError::Refused`], [`TemplateError::Failed`].
    pub fn render(&self, messages: &[Value], tools: Option<&Value>, ending: Ending) -> Result<String, TemplateError> {
        let messages: Vec<Item> = messages.iter().map(|message| Item::from(Serde(plain(message)))).collect();
        let add_generation_prompt = ending == Ending::GenerationPrompt;
        let tools = tools.map(|tools| Item::from(Serde(tools)));
        let mut values = context! { messages, tools, documents => (), add_generation_prompt };
        // Only what the tokenizer has: templates ask whether they are defined.
        if let Some(bos_token) = &self.bos {
            values = context! { bos_token, ..values };
        }
        if let Some(eos_token) = &self.eos {
            values = context! { eos_token, ..values };
        }
        let template = self.environment.get_template(NAME);
        template.and_then(|template| template.render(values)).map_err(|error| {
            let raised = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<Raised>());
            match raised {
                Some(Raised(reason)) => TemplateError::Refused { reason: reason.clone() },
                None => TemplateError::Failed { line: error.line().unwrap_or(0), reason: words(&error) },
            }
        })
    }
}

/// The line break after a block, and spaces before one, are not printed.
fn blocks_trimmed() -> Result<SyntaxConfig, TemplateError> {
    let built = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    built.map_err(|e| TemplateError::Syntax { line: 0, reason: words(&e) })
}

/// What `raise_exception` was called with.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Raised(String);

fn raise(message: &str) -> Result<Item, JinjaError> {
    let error = JinjaError::new(ErrorKind::InvalidOperation, "raise_exception");
    Err(error.with_source(Raised(message.to_owned())))
}

fn words(error: &JinjaError) -> String {
    let mut text = error.kind().to_string();
    if let Some(detail) = error.detail() {
        let _ = write!(text, ": {detail}");
    }
    text
}

/// A message without keys that hold null, its reasoning under the names that templates read.
fn plain(message: &Value) -> Value {
    let Value::Object(object) = message else { return message.clone() };
    let kept = object.iter().filter(|(_, value)| !value.is_null()).map(|(key, value)| (key.clone(), value.clone()));
    let mut kept: Map<String, Value> = kept.collect();
    if let Some(reasoning) = REASONING.iter().find_map(|key| kept.get(*key).cloned()) {
        kept.entry("thinking").or_insert_with(|| reasoning.clone());
        kept.insert("reasoning_content".to_owned(), reasoning);
    }
    Value::Object(kept)
}

/// The template with `{% generation %}` … `{% endgeneration %}`, which only Transformers knows, as a block that prints what
/// is in it.
fn without_generation_marks(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let Some(len) = rest[start..].find("%}") else { break };
        let (before, tag, after) = (&rest[..start], &rest[start..start + len], &rest[start + len..]);
        out.push_str(before);
        match tag.trim_start_matches(['{', '%', '-', '+']).trim_end_matches(['-', '+']).trim() {
            "generation" => out.push_str(&tag.replace("generation", "if true")),
            "endgeneration" => out.push_str(&tag.replace("endgeneration", "endif")),
            _ => out.push_str(tag),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}
