//! Help texts as paragraphs and entries of a list.

use clap::Arg;

/// Longest line, in characters.
const WIDTH: usize = 110;

/// A help text, and the default that it names at its end: `Rows [default: 4]`.
pub struct Help {
    pub meaning: String,
    pub default: Option<String>,
}

impl Help {
    /// Of a flag or of what follows a command.
    pub fn of(arg: &Arg) -> Self {
        let help = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        let given = arg.get_default_values().first().map(|value| value.to_string_lossy().into_owned());
        match help.strip_suffix(']').and_then(|text| text.rsplit_once(" [default: ")) {
            Some((meaning, default)) => Self { meaning: meaning.to_owned(), default: Some(default.to_owned()) },
            None => Self { meaning: help, default: given.filter(|_| arg.get_action().takes_values()) },
        }
    }
}

/// An entry of a list: its lines after the first are under the first's text.
pub fn entry(text: &str) -> String {
    let mut lines = vec!["-".to_owned()];
    for word in text.split(' ') {
        let last = lines.len() - 1;
        // A line that begins so would begin an entry of its own.
        if lines[last].chars().count() + 1 + word.chars().count() > WIDTH && !["-", "+", "*"].contains(&word) {
            lines.push(format!("  {word}"));
        } else {
            lines[last] = format!("{} {word}", lines[last]);
        }
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_entries_are_broken() {
        let text = format!("{} - {}", "a".repeat(60), "b".repeat(60));
        assert_eq!(entry(&text), format!("- {} -\n  {}\n", "a".repeat(60), "b".repeat(60)));
    }

    #[test]
    fn defaults_are_taken_out() {
        let help = Help::of(&Arg::new("x").long("x").help("Rows [x] [default: 0 = all]"));
        assert_eq!((&help.meaning[..], help.default.as_deref()), ("Rows [x]", Some("0 = all")));
        let help = Help::of(&Arg::new("x").long("x").help("Rows").default_value("5GB"));
        assert_eq!((&help.meaning[..], help.default.as_deref()), ("Rows", Some("5GB")));
        assert_eq!(Help::of(&Arg::new("x").long("x").action(clap::ArgAction::SetTrue)).default, None);
    }
}
