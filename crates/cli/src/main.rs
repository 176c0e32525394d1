//! `loract`: fine-tune transformer models with LoRA in a fraction of the activation memory.
//!
//! Numbers go to stdout, progress and messages to stderr. Exit codes: 0 ok, 1 failed, 2 bad usage or bad input.

mod args;
mod commands;
mod output;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Demo(args) => commands::demo::run(&args),
        Command::Train(args) => commands::train::run(*args),
        Command::Eval(args) => commands::eval::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::message(&format!("error: {error:#}"));
            ExitCode::from(exit_code(&error))
        }
    }
}

/// 2 for the user's mistakes, 1 for failures.
fn exit_code(error: &anyhow::Error) -> u8 {
    let bad_input = error.chain().any(|cause| {
        cause.downcast_ref::<loract_train::Error>().is_some_and(loract_train::Error::is_bad_input)
            || cause.downcast_ref::<loract_models::Error>().is_some_and(loract_models::Error::is_bad_input)
    });
    if bad_input { 2 } else { 1 }
}
