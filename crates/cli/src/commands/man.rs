//! `loract man`: the manual page of the program, or of one of its commands.

use anyhow::Result;
use clap::{Command, CommandFactory};
use clap_mangen::Man;
use loract_train::Error;

use super::completions::print_whole;
use crate::args::{Cli, ManArgs};

/// Prints it.
pub fn run(args: &ManArgs) -> Result<()> {
    let mut page = Vec::new();
    Man::new(find(&args.command)?).render(&mut page)?;
    print_whole(&page)
}

/// The command that the words name, called as its page is.
fn find(words: &[String]) -> Result<Command, Error> {
    let mut command = Cli::command();
    let mut name = command.get_name().to_owned();
    for word in words {
        let found = command.get_subcommands().find(|sub| sub.get_name() == word).cloned();
        let Some(found) = found else {
            let known: Vec<_> =
                command.get_subcommands().filter(|sub| !sub.is_hide_set()).map(Command::get_name).collect();
            let others = if known.is_empty() { "no others".to_owned() } else { known.join(", ") };
            let what = format!("`{}` has no command `{word}`; it has {others}", name.replace('-', " "));
            return Err(Error::Setting { key: "man", what });
        };
        name = format!("{name}-{word}");
        command = found;
    }
    let version = env!("CARGO_PKG_VERSION");
    Ok(command.display_name(name.clone()).bin_name(name.replace('-', " ")).version(version))
}
