//! Rows as token ids with labels.

use loract_models::chat::Ending;
use loract_models::{ChatTemplate, Row, Tokenizer};
use serde_json::Value;

use super::columns::Sample;
use super::conversation::{self, Conversation};
use super::turns::{self, Rendered};
use super::{Choices, Reader, TrainOn};

/// Alpaca's prompts (Stanford Alpaca, `train.py`), for models without a chat template.
const ALPACA: &str = "Below is an instruction that describes a task. Write a response that appropriately completes the \
                      request.\n\n### Instruction:\n{instruction}\n\n### Response:\n";
const ALPACA_WITH_INPUT: &str = "Below is an instruction that describes a task, paired with an input that provides further \
                                 context. Write a response that appropriately completes the request.\n\n### \
                                 Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n";

/// The tokens of a row, and of the ways it might have gone on.
pub(super) fn encode(sample: Sample<'_>, reader: &Reader<'_>) -> Result<(Row, Option<Choices>), String> {
    match sample {
        Sample::Ready(row) => Ok((row, None)),
        Sample::Text(text) => Ok((Row::all(Pieces::of(reader)?.text(text)?), None)),
        Sample::Completion { prompt, completion, choices } => {
            let pieces = Pieces::of(reader)?;
            let row = pieces.completion(prompt, completion, reader.train_on)?;
            let choices = choices.map(|texts| multiple_choice(&pieces, prompt, completion, &texts)).transpose()?;
            Ok((row, choices))
        }
        Sample::Conversation(conversation) => Ok((by_template(&conversation, reader)?, None)),
        Sample::Instruction { instruction, input, output } => {
            if reader.template.is_some() {
                let conversation = conversation::of_instruction(instruction, input, output);
                return Ok((by_template(&conversation, reader)?, None));
            }
            let form = if input.is_empty() { ALPACA } else { ALPACA_WITH_INPUT };
            let prompt = fill(form, instruction, input);
            Ok((Pieces::of(reader)?.completion(&prompt, output, reader.train_on)?, None))
        }
    }
}

/// The form with its blanks filled; a blank within what fills another stays as it is.
fn fill(form: &str, instruction: &str, input: &str) -> String {
    let blanks = |part: &str| part.replace("{input}", input);
    match form.split_once("{instruction}") {
        Some((before, after)) => format!("{before}{instruction}{}", blanks(after)),
        None => blanks(form),
    }
}

fn multiple_choice(pieces: &Pieces<'_>, prompt: &str, right: &str, texts: &[&str]) -> Result<Choices, String> {
    let answer = texts.iter().position(|&t| t == right);
    let answer = answer.ok_or_else(|| format!("completion {right:?} is not among its choices {texts:?}"))?;
    // Completions are compared, whatever is trained.
    let rows = texts.iter().map(|t| pieces.completion(prompt, t, TrainOn::Assistant));
    Ok(Choices { rows: rows.collect::<Result<_, _>>()?, answer })
}

fn by_template(conversation: &Conversation, reader: &Reader<'_>) -> Result<Row, String> {
    let tokenizer = Pieces::of(reader)?.tokenizer;
    row(template(reader)?, tokenizer, conversation, reader.train_on)
}

fn template<'r>(reader: &'r Reader<'_>) -> Result<&'r ChatTemplate, String> {
    match &reader.template {
        Some(Ok(template)) => Ok(template),
        Some(Err(reason)) => Err(format!("{reason}; it is the model's own: give another with --chat-template FILE")),
        None => Err("a conversation needs a chat template, and the model has none: give one with --chat-template FILE"
            .to_owned()),
    }
}

/// What a row of this `prompt` begins with, before its completion.
pub(super) fn text_prompt(reader: &Reader<'_>, prompt: &str) -> Result<Vec<u32>, String> {
    Pieces::of(reader)?.prompt(prompt)
}

/// What a row of these messages begins with, before the assistant's next turn.
pub(super) fn chat_prompt(reader: &Reader<'_>, messages: &[Value]) -> Result<Vec<u32>, String> {
    let pieces = Pieces::of(reader)?;
    let text = template(reader)?.render(messages, None, Ending::GenerationPrompt).map_err(|e| e.to_string())?;
    pieces.encode(&text)
}

/// A token is trained if it stands for something of a trained span (as in Transformers' own mask). What a template puts
/// behind the token that ends a turn, such as a line break, is not: the model has stopped by then.
fn row(
    template: &ChatTemplate,
    tokenizer: &Tokenizer,
    conversation: &Conversation,
    train_on: TrainOn,
) -> Result<Row, String> {
    let Rendered { text, trained } = turns::render(template, conversation, train_on)?;
    let encoded = tokenizer.encode_with_places(&text).map_err(|e| e.to_string())?;
    let mut labels = vec![None; encoded.ids.len()];
    for span in trained {
        let within = |place: &std::ops::Range<usize>| place.start < span.end && span.start < place.end;
        let mut inside: Vec<usize> = (0..encoded.ids.len()).filter(|&i| within(&encoded.places[i])).collect();
        let last_added = inside.iter().rposition(|&i| tokenizer.is_added(encoded.ids[i]));
        if let Some(last) = last_added.filter(|_| train_on != TrainOn::All) {
            let after = encoded.places[inside[last]].end..span.end.max(encoded.places[inside[last]].end);
            if text[after].trim().is_empty() {
                inside.truncate(last + 1);
            }
        }
        for i in inside {
            labels[i] = Some(encoded.ids[i]);
        }
    }
    Ok(Row { ids: encoded.ids, labels })
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

    fn prompt(&self, prompt: &str) -> Result<Vec<u32>, String> {
        let mut ids = self.begin();
        ids.extend(self.encode(prompt)?);
        Ok(ids)
    }

    fn text(&self, text: &str) -> Result<Vec<u32>, String> {
        let mut ids = self.prompt(text)?;
        ids.extend(self.tokenizer.eos());
        Ok(ids)
    }

    /// The two parts are tokenised apart, so that the boundary never depends on what follows.
    fn completion(&self, prompt: &str, completion: &str, train_on: TrainOn) -> Result<Row, String> {
        let mut ids = self.prompt(prompt)?;
        let masked = if train_on == TrainOn::All { 0 } else { ids.len() };
        ids.extend(self.encode(completion)?);
        ids.extend(self.tokenizer.eos());
        let labels = ids.iter().enumerate().map(|(i, &id)| (i >= masked).then_some(id)).collect();
        Ok(Row { ids, labels })
    }
}
