//! `loract`: fine-tune transformer models with LoRA in a fraction of the activation memory.
//!
//! Numbers go to stdout, progress and messages to stderr. Exit codes: 0 ok, 1 failed, 2 bad usage or bad input,
//! 130 and 143 stopped by Ctrl-C and SIGTERM, 141 nobody reads stdout any more (`loract plan … | head`).

mod allocator;
mod args;
mod commands;
mod hub;
mod output;
mod plot;
mod progress;
mod signals;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};

fn main() -> ExitCode {
    allocator::set_up();
    let result = match Cli::parse().command {
        Command::Train(args) => commands::train::run(*args),
        Command::Demo(args) => done(commands::demo::run(&args)),
        Command::Plan(args) => done(commands::plan::run(*args)),
        Command::Eval(args) => done(commands::eval::run(&args)),
        Command::Generate(args) => done(commands::generate::run(&args)),
        Command::Chat(args) => done(commands::chat::run(&args)),
        Command::Merge(args) => done(commands::merge::run(&args)),
        Command::Export(args) => done(commands::export::run(&args)),
        Command::Inspect(args) => done(commands::inspect::run(args)),
        Command::Report(args) => done(commands::report::run(&args)),
        Command::Bench(args) => done(commands::bench::run(args)),
        Command::Completions(args) => done(commands::completions::run(&args)),
        Command::Man(args) => done(commands::man::run(&args)),
        Command::Reference(args) => done(commands::reference::run(&args)),
    };
    match result {
        Ok(code) => code,
        Err(error) if output::has_no_reader(&error) => {
            // Files that would have been written after it are not.
            output::message("ended, as nobody reads what it prints any more");
            ExitCode::from(141)
        }
        Err(error) => {
            output::message(&format!("error: {error:#}"));
            ExitCode::from(exit_code(&error))
        }
    }
}

/// Most commands succeed or fail.
fn done(result: anyhow::Result<()>) -> anyhow::Result<ExitCode> {
    result.map(|()| ExitCode::SUCCESS)
}

/// 2 for the user's mistakes, 1 for failures.
fn exit_code(error: &anyhow::Error) -> u8 {
    let bad_input = error.chain().any(|cause| {
        cause.downcast_ref::<loract_train::Error>().is_some_and(loract_train::Error::is_bad_input)
            || cause.downcast_ref::<loract_models::Error>().is_some_and(loract_models::Error::is_bad_input)
            || cause.downcast_ref::<hub::Error>().is_some_and(hub::Error::is_bad_input)
    });
    if bad_input { 2 } else { 1 }
}
