//! Where the assistant's turns are in a rendered conversation: by rendering prefixes of it.
//!
//! A turn begins where the text before it ends, the template's generation prompt included: what the model must write when
//! it is asked. It ends where the text up to it ends, the end-of-turn token included. Templates that render a turn in
//! another way once others follow (they drop earlier reasoning, or move the system message) give no such prefix; there
//! the turn is found by rendering the conversation again with another content in its place: what comes before and after
//! is the same in both. If that fails too, the row is refused.

use std::ops::Range;

use loract_models::ChatTemplate;
use loract_models::chat::Ending;
use serde_json::Value;

use super::TrainOn;
use super::conversation::Conversation;

/// Stands for the content of a turn. Templates may strip it, and have no reason to look into it.
const MARK: &str = "\u{2983}turn\u{2984}";

/// A conversation as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rendered {
    pub text: String,
    /// What is trained of it, in bytes.
    pub trained: Vec<Range<usize>>,
}

/// Renders a conversation and finds what is trained.
pub(super) fn render(
    template: &ChatTemplate,
    conversation: &Conversation,
    train_on: TrainOn,
) -> Result<Rendered, String> {
    let whole = Whole::new(template, conversation)?;
    let trained = match train_on {
        TrainOn::All => std::iter::once(0..whole.text.len()).collect(),
        TrainOn::Assistant => whole.turns()?.into_iter().map(|turn| whole.span(turn)).collect::<Result<_, _>>()?,
        TrainOn::Last => whole.turns()?.last().map(|&turn| whole.span(turn)).transpose()?.into_iter().collect(),
    };
    Ok(Rendered { text: whole.text, trained })
}

struct Whole<'a> {
    template: &'a ChatTemplate,
    conversation: &'a Conversation,
    text: String,
}

impl<'a> Whole<'a> {
    fn new(template: &'a ChatTemplate, conversation: &'a Conversation) -> Result<Self, String> {
        let mut whole = Self { template, conversation, text: String::new() };
        whole.text = whole.render(&conversation.messages, Ending::AsItIs)?;
        Ok(whole)
    }

    fn render(&self, messages: &[Value], ending: Ending) -> Result<String, String> {
        self.template.render(messages, self.conversation.tools.as_ref(), ending).map_err(|e| e.to_string())
    }

    /// The assistant's messages.
    fn turns(&self) -> Result<Vec<usize>, String> {
        let messages = &self.conversation.messages;
        let role = |message: &Value| message["role"].as_str().unwrap_or_default().to_owned();
        let turns = (self.conversation.prompt..messages.len()).filter(|&i| role(&messages[i]) == "assistant");
        let turns: Vec<usize> = turns.collect();
        if turns.is_empty() {
            let mut roles: Vec<_> = messages[self.conversation.prompt..].iter().map(role).collect();
            roles.dedup();
            let what = if self.conversation.prompt > 0 { "the completion" } else { "the conversation" };
            return Err(format!(
                "nothing to train: {what} has no message of the role assistant (its roles: {}); --train-on all trains every token",
                roles.join(", ")
            ));
        }
        Ok(turns)
    }

    fn span(&self, turn: usize) -> Result<Range<usize>, String> {
        let start = self.start_by_prefix(turn);
        let end = self.end_by_prefix(turn).filter(|&end| start.is_some_and(|start| start < end));
        if let (Some(start), Some(end)) = (start, end) {
            return Ok(start..end);
        }
        let found = self.by_content(turn).map_err(|why| {
            format!(
                "cannot find where message {} (assistant) begins and ends in what the chat template makes of the conversation: \
                 {why}; --train-on all trains every token, --chat-template FILE takes another template",
                turn + 1
            )
        })?;
        Ok(start.filter(|&start| start <= found.start).unwrap_or(found.start)..found.end)
    }

    /// The end of what the text has in common with the messages before and a generation prompt.
    fn start_by_prefix(&self, turn: usize) -> Option<usize> {
        let before = &self.conversation.messages[..turn];
        let bare = if turn == 0 { String::new() } else { self.render(before, Ending::AsItIs).ok()? };
        let asked = self.render(before, Ending::GenerationPrompt).ok()?;
        let start = common(&self.text, &asked);
        let whole = start == asked.len();
        // A prompt may promise more than the turn holds (an open `<think>`), but begins as the turn does. Before the first
        // message nothing tells a prompt from what the conversation itself begins with.
        let begun = turn > 0 && start > bare.len();
        (self.text.starts_with(&bare) && (whole || begun)).then_some(start)
    }

    fn end_by_prefix(&self, turn: usize) -> Option<usize> {
        let upto = self.render(&self.conversation.messages[..=turn], Ending::AsItIs).ok()?;
        self.text.starts_with(&upto).then_some(upto.len())
    }

    /// From the start of the content to the end of what the template closes a turn with.
    fn by_content(&self, turn: usize) -> Result<Range<usize>, String> {
        let mut messages = self.conversation.messages.clone();
        messages[turn]["content"] = Value::from(MARK);
        let marked = self.render(&messages, Ending::AsItIs)?;
        let (head, tail) = marked.split_once(MARK).ok_or("the template does not print its content as it is")?;
        let end = self.text.len().checked_sub(tail.len());
        let end = end.filter(|&end| self.text.starts_with(head) && self.text.ends_with(tail) && head.len() <= end);
        let end = end.ok_or("what comes before or after it depends on its content")?;
        let upto = self.render(&messages[..=turn], Ending::AsItIs)?;
        let (_, close) = upto.split_once(MARK).ok_or("the template does not print it when it is the last")?;
        Ok(head.len()..end + common(&self.text[end..], close))
    }
}

/// Bytes that two texts have in common from the start; whole characters.
fn common(left: &str, right: &str) -> usize {
    let same = left.chars().zip(right.chars()).take_while(|(l, r)| l == r);
    same.map(|(l, _)| l.len_utf8()).sum()
}
