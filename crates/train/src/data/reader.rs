//! How rows become tokens: by the model's tokenizer and template, cut to a length.

use std::path::PathBuf;

use loract_models::chat::Date;
use loract_models::{ChatTemplate, ModelSource, Row, Tokenizer};
use serde::Serialize;
use serde_json::{Map, Value};

use super::columns::Sample;
use super::{Choices, Example, encode};
use crate::error::Error;
use crate::words::{Named, as_name};

/// What is trained of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TrainOn {
    /// Every turn of the assistant with its end; completions and outputs.
    #[default]
    Assistant,
    /// The assistant's last turn only.
    Last,
    /// Every token.
    All,
}

impl Named for TrainOn {
    const NAMES: &'static [(&'static str, Self)] =
        &[("assistant", TrainOn::Assistant), ("last", TrainOn::Last), ("all", TrainOn::All)];
}

/// The settings of how rows become tokens.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct RowSettings {
    /// File with a chat template; absent = the model's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chat_template: Option<PathBuf>,
    /// The day that templates take for today; absent = the day that it is, when a row is read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chat_date: Option<Date>,
    /// What is trained of a row.
    #[serde(serialize_with = "as_name")]
    pub train_on: TrainOn,
}

/// How rows become tokens, and how long they may be.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    /// Needed for everything but `input_ids`.
    pub tokenizer: Option<&'a Tokenizer>,
    /// Needed for conversations; why the model's own cannot be used, if it cannot.
    pub template: Option<Result<ChatTemplate, String>>,
    /// What is trained.
    pub train_on: TrainOn,
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
    /// [`Error::Setting`] if `seq_len` is beyond the model's context, or if the template's file cannot be used.
    pub fn new(model: &'a ModelSource, seq_len: Option<usize>, settings: &RowSettings) -> Result<Self, Error> {
        let context = model.config.context;
        if let Some(seq_len) = seq_len.filter(|&t| t > context) {
            let what = format!("{seq_len} is more than the model's context of {context}");
            return Err(Error::Setting { key: "seq-len", what });
        }
        let tokenizer = model.tokenizer.as_ref();
        let template = match (&settings.chat_template, tokenizer) {
            (Some(path), Some(tokenizer)) => {
                let wrong =
                    |what: String| Error::Setting { key: "chat-template", what: format!("{}: {what}", path.display()) };
                let text = std::fs::read_to_string(path).map_err(|e| wrong(e.to_string()))?;
                Some(Ok(ChatTemplate::new(&text, tokenizer).map_err(|e| wrong(e.to_string()))?))
            }
            (None, Some(tokenizer)) => {
                let own = model.chat_template.as_ref();
                // Reported if a row needs it.
                own.map(|text| ChatTemplate::new(text, tokenizer).map_err(|e| e.to_string()))
            }
            (_, None) => None,
        };
        let template =
            template.map(|found| found.map(|found| settings.chat_date.into_iter().fold(found, ChatTemplate::on)));
        let vocabulary = model.config.vocab_size;
        Ok(Self { tokenizer, template, train_on: settings.train_on, vocabulary, context, cut_to: seq_len })
    }

    /// Whether the template has written today's date, or [`RowSettings::chat_date`], into a row so far.
    pub fn wrote_date(&self) -> bool {
        self.template.as_ref().is_some_and(|found| found.as_ref().is_ok_and(ChatTemplate::wrote_date))
    }

    /// The tokens of a text to go on from, as a row with this `prompt` begins.
    ///
    /// # Errors
    /// [`Error::Setting`] without a tokenizer.
    pub fn text_prompt(&self, text: &str) -> Result<Vec<u32>, Error> {
        encode::text_prompt(self, text).map_err(|what| Error::Setting { key: "prompt", what })
    }

    /// The tokens of a conversation (`{"role": …, "content": …}`) up to where the assistant's next turn begins, as a row of
    /// these messages begins.
    ///
    /// # Errors
    /// [`Error::Setting`] without a tokenizer or a template, or if the template refuses the conversation.
    pub fn chat_prompt(&self, messages: &[Value]) -> Result<Vec<u32>, Error> {
        encode::chat_prompt(self, messages).map_err(|what| Error::Setting { key: "prompt", what })
    }

    /// The row of an object in line `line`.
    pub(super) fn example(&self, object: &Map<String, Value>, line: usize) -> Result<Example, String> {
        let (mut row, mut choices) = encode::encode(Sample::of(object, self.vocabulary)?, self)?;
        let all = std::iter::once(&row).chain(choices.iter().flat_map(|c: &Choices| &c.rows));
        if let Some(id) = all.flat_map(|row| &row.ids).find(|&&id| id as usize >= self.vocabulary) {
            return Err(format!(
                "the tokenizer gives token {id}, outside the model's vocabulary of {}; tokenizer and model do not belong together",
                self.vocabulary
            ));
        }
        let whole_tokens = row.ids.len();
        self.fit(&mut row)?;
        for row in choices.iter_mut().flat_map(|choices| &mut choices.rows) {
            self.fit(row)?;
        }
        Ok(Example { row, choices, line, whole_tokens })
    }

    /// Cuts to length and checks that something is trained.
    fn fit(&self, row: &mut Row) -> Result<(), String> {
        let tokens = row.ids.len();
        let most = self.cut_to.unwrap_or(self.context);
        let cut = tokens > most;
        if cut {
            if self.cut_to.is_none() {
                return Err(format!(
                    "row of {tokens} tokens is longer than the model's context of {most}; shorten it, or pass --seq-len {most} to cut"
                ));
            }
            row.ids.truncate(most);
            row.labels.truncate(most);
        }
        if row.trained_tokens() == 0 {
            let why = if cut { format!(" after cutting {tokens} tokens to {most}") } else { String::new() };
            return Err(format!(
                "no trained token{why}: at least one label after the first token must differ from -100"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(line: &str, cut_to: Option<usize>) -> Result<Example, String> {
        let reader = Reader {
            tokenizer: None,
            template: None,
            train_on: TrainOn::Assistant,
            vocabulary: 64,
            context: 8,
            cut_to,
        };
        let object: Map<String, Value> = serde_json::from_str(line).map_err(|e| e.to_string())?;
        reader.example(&object, 1)
    }

    #[test]
    fn ready_rows_are_taken_as_they_are() -> Result<(), String> {
        let one = example(r#"{"input_ids":[1,2,3],"labels":[-100,-100,3]}"#, None)?;
        assert_eq!(one.row, Row { ids: vec![1, 2, 3], labels: vec![None, None, Some(3)] });
        assert_eq!(one.whole_tokens, 3);
        let one = example(r#"{"input_ids":[1,2,3,4,5],"id":"metadata"}"#, Some(4))?;
        assert_eq!(one.row, Row::all(vec![1, 2, 3, 4]));
        // Columns that are null are not there.
        let nulls = example(r#"{"messages":null,"input_ids":[1,2,3],"labels":null,"text":null}"#, None)?;
        assert_eq!(nulls.row, Row::all(vec![1, 2, 3]));
        assert_eq!(one.whole_tokens, 5);
        Ok(())
    }

    #[test]
    fn every_bad_row_is_named() {
        for (line, cut_to, want) in [
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
            (r#"{"input_ids":null,"text":"hello","choices":null}"#, None, "needs a tokenizer"),
            (r#"{"text":null,"id":1}"#, None, "`text` is null, expected a text"),
            (r#"{"prompt":"a","completion":null}"#, None, "`completion` is null, expected a text"),
            (r#"{"messages":"hello"}"#, None, "`messages` is a text, expected a list of messages"),
            (r#"{"messages":[]}"#, None, "`messages` holds no message"),
            (r#"{"messages":["hello"]}"#, None, "message 1 of `messages`: it is a text, expected an object"),
            (r#"{"messages":[{"content":"a"}]}"#, None, "it has no `role` (it has: content)"),
            (r#"{"messages":[{"role":"user"}]}"#, None, "it has no `content`"),
            (r#"{"messages":[{"role":7,"content":"a"}]}"#, None, "`role` is a number, expected a text"),
            (r#"{"messages":[{"role":"user","content":["a"]}]}"#, None, "`content` is a list, expected a text"),
            (
                r#"{"conversations":[{"from":"narrator","value":"a"}]}"#,
                None,
                "`from` is \"narrator\", which is none of",
            ),
            (r#"{"prompt":[{"role":"user","content":"a"}],"completion":"b"}"#, None, "`completion` is a text"),
            (r#"{"prompt":[],"completion":[]}"#, None, "`prompt` holds no message"),
            (r#"{"instruction":7,"output":"b"}"#, None, "`instruction` is a number"),
            (r#"{"instruction":"a"}"#, None, "columns instruction are none of"),
            (r#"{"messages":[{"role":"user","content":"a"}],"tools":7}"#, None, "`tools` is a number"),
        ] {
            let got = example(line, cut_to).err().unwrap_or_default();
            assert!(got.contains(want), "{line}: {got:?} lacks {want:?}");
        }
    }
}
