//! Arguments of the commands that tell of the others.

use std::path::PathBuf;

use clap::Args;
use clap_complete::Shell;

#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    pub shell: Shell,
}

#[derive(Debug, Args)]
pub struct ManArgs {
    /// The command, such as `train` or `inspect data` [default: the program]
    pub command: Vec<String>,
}

#[derive(Debug, Args)]
pub struct ReferenceArgs {
    /// Folder for the two files
    pub folder: PathBuf,
}
