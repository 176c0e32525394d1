//! `loract reference`: `commands.md` and `config.md`, written from the types that read the command line and configuration
//! files, so that they cannot say anything else. `docs/` holds them; a test compares.

mod commands;
mod config;
mod text;

use anyhow::{Context, Result};
use clap::CommandFactory;

use crate::args::{Cli, ReferenceArgs};
use crate::output;

/// Writes both.
pub fn run(args: &ReferenceArgs) -> Result<()> {
    let cli = Cli::command();
    for (name, text) in [("commands.md", commands::markdown(&cli)), ("config.md", config::markdown())] {
        let path = args.folder.join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        output::line(&path.display().to_string())?;
    }
    Ok(())
}
