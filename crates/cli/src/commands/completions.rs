//! `loract completions`: the script that completes commands and flags in a shell.

use anyhow::Result;
use clap::CommandFactory;

use crate::args::{Cli, CompletionsArgs};

/// Prints it.
pub fn run(args: &CompletionsArgs) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "loract", &mut script);
    print_whole(&script)
}

/// Prints a text at once, so that a reader who stops early is the only one who can.
pub(super) fn print_whole(text: &[u8]) -> Result<()> {
    Ok(std::io::Write::write_all(&mut std::io::stdout().lock(), text)?)
}
