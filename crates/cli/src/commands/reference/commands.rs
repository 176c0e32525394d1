//! Every command with what it takes.

use clap::{Arg, Args, Command};

use super::text::{Help, entry};
use crate::args::TrainArgs;

const HEAD: &str = "\
# Commands
<!-- Written by `cargo run -p loract -- reference docs`. Do not change by hand: change the help texts in crates/cli. -->

Numbers go to stdout, progress and messages to stderr. Exit codes: 0 ok, 1 failed, 2 bad usage or bad input, 130 and 143
stopped by Ctrl-C and SIGTERM, 141 nobody reads stdout any more (`loract plan … | head`). `--help` after any command prints what is written here.
";

/// The document.
pub fn markdown(cli: &Command) -> String {
    let mut out = HEAD.to_owned();
    for command in visible(cli) {
        section(&mut out, command, cli.get_name());
    }
    out
}

fn visible(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|sub| !sub.is_hide_set())
}

fn section(out: &mut String, command: &Command, before: &str) {
    let name = format!("{before} {}", command.get_name());
    let about = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
    out.push_str(&format!("\n## {name}\n{about}.\n"));
    if command.has_subcommands() {
        for sub in visible(command) {
            section(out, sub, &name);
        }
        return;
    }
    let usage = command.clone().bin_name(name.clone()).render_usage().to_string();
    out.push_str(&format!("\n    {}\n\n", usage.trim_start_matches("Usage: ").trim_end()));
    let of_train = TrainArgs::augment_args(Command::new("train"));
    let of_train: Vec<_> = of_train.get_arguments().map(|arg| arg.get_id().clone()).collect();
    let own: Vec<_> = command.get_arguments().filter(|arg| !arg.is_hide_set()).collect();
    let shared = command.get_name() != "train" && of_train.iter().all(|id| own.iter().any(|arg| arg.get_id() == id));
    if shared {
        out.push_str("All of [loract train](#loract-train), and:\n\n");
    }
    for arg in own.into_iter().filter(|arg| !(shared && of_train.contains(arg.get_id()))) {
        out.push_str(&entry(&told(arg)));
    }
}

/// `--name VALUE`: what it means, its default.
fn told(arg: &Arg) -> String {
    let value = || match arg.get_value_names() {
        Some([name, ..]) => name.to_string(),
        _ => arg.get_id().as_str().to_uppercase(),
    };
    let typed = match arg.get_long() {
        Some(long) if arg.get_action().takes_values() => format!("--{long} {}", value()),
        Some(long) => format!("--{long}"),
        None => value(),
    };
    let Help { meaning, default } = Help::of(arg);
    let possible: Vec<_> = arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
    let possible = if possible.is_empty() || !arg.get_action().takes_values() {
        String::new()
    } else {
        format!(": {}", possible.join(", "))
    };
    let needed = if arg.is_required_set() { " Required." } else { "" };
    let default = default.map_or_else(String::new, |default| format!(" Default: {default}."));
    format!("`{typed}`: {meaning}{possible}.{needed}{default}")
}
