//! `loract chat`: a conversation, a line each.

use std::io::{BufRead, IsTerminal, Write};

use anyhow::Result;
use serde_json::Value;

use super::speaker::{Speaker, message};
use crate::args::{ChatArgs, use_threads};
use crate::output;

/// What a line may be instead of something said.
const HELP: &str = "/new begins another conversation, /quit or the end of input ends";

/// Talks until the input ends.
pub fn run(args: &ChatArgs) -> Result<()> {
    use_threads(args.speak.threads)?;
    let speaker = Speaker::load(&args.speak)?;
    let mut voice = speaker.voice(&args.speak)?;
    let beginning: Vec<Value> = args.speak.system.iter().map(|text| message("system", text)).collect();
    // A model without a template is refused before anything is typed.
    voice.reader.chat_prompt(&[&beginning[..], &[message("user", "")]].concat())?;
    output::message(HELP);
    let mut said = beginning.clone();
    let mut lines = std::io::stdin().lock().lines();
    loop {
        ask();
        let Some(line) = lines.next().transpose()? else { break };
        match line.trim() {
            "" => continue,
            "/quit" => break,
            "/new" => said.clone_from(&beginning),
            command if command.starts_with('/') => output::message(&format!("{command} is unknown: {HELP}")),
            words => {
                said.push(message("user", words));
                let prompt = voice.reader.chat_prompt(&said)?;
                match voice.answer(&prompt, output::words) {
                    Ok(answer) => {
                        output::line("")?;
                        output::message(&answer.figures());
                        said.push(message("assistant", &answer.text));
                    }
                    Err(error) if output::has_no_reader(&error) => return Err(error),
                    Err(error) => {
                        said.pop();
                        output::message(&format!("error: {error:#}; {HELP}"));
                    }
                }
            }
        }
    }
    Ok(())
}

/// Asks for a line, if somebody is there.
fn ask() {
    if std::io::stdin().is_terminal() {
        let mut stderr = std::io::stderr();
        // A closed stderr is no reason to stop.
        let _ = write!(stderr, "\n> ").and_then(|()| stderr.flush());
    }
}
