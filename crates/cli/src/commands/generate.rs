//! `loract generate`: one answer to one prompt.

use std::io::Read;

use anyhow::Result;
use loract_train::Error;

use super::speaker::{Speaker, message};
use crate::args::{GenerateArgs, use_threads};
use crate::output;

/// Answers, word by word.
pub fn run(args: &GenerateArgs) -> Result<()> {
    use_threads(args.speak.threads)?;
    let speaker = Speaker::load(&args.speak)?;
    let mut voice = speaker.voice(&args.speak)?;
    let asked = match &args.prompt {
        Some(prompt) => prompt.clone(),
        None => from_stdin()?,
    };
    let prompt = if args.raw || voice.reader.template.is_none() {
        if !args.raw {
            output::message("note: the model has no chat template; the prompt is taken as it is, as with --raw");
        }
        voice.reader.text_prompt(&asked)?
    } else {
        let system = args.speak.system.iter().map(|text| message("system", text));
        voice.reader.chat_prompt(&system.chain([message("user", &asked)]).collect::<Vec<_>>())?
    };
    if args.json {
        let answer = voice.answer(&prompt, |_| Ok(()))?;
        output::line(&serde_json::to_string(&answer)?)?;
        return Ok(());
    }
    let answer = voice.answer(&prompt, output::words)?;
    output::line("")?;
    output::message(&answer.figures());
    Ok(())
}

fn from_stdin() -> Result<String> {
    let mut text = String::new();
    let read = std::io::stdin().read_to_string(&mut text);
    read.map_err(|e| Error::Setting { key: "prompt", what: format!("standard input: {e}; give --prompt TEXT") })?;
    // The line break that ends a file is the shell's, not the prompt's.
    Ok(text.strip_suffix('\n').map(str::to_owned).unwrap_or(text))
}
