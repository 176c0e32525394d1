//! Every key of a configuration file.

use std::any::TypeId;
use std::path::PathBuf;

use clap::{Arg, Args, Command};

use super::text::{Help, entry};
use crate::args::TrainArgs;

const HEAD: &str = "\
# Configuration file
<!-- Written by `cargo run -p loract -- reference docs`. Do not change by hand: change the help texts in crates/cli. -->

`loract train --config run.toml` (and `plan`, `inspect gradients`, `bench step`) reads a TOML file. Its keys are the flags of
[loract train](commands.md#loract-train) with `_` for `-`; a flag that is typed goes before the file, and a key that is not
listed here is an error. Every run writes the settings that it used, defaults included, to `OUT/config.toml`, which
`--config` takes.

    model = \"smollm2\"
    data = \"data\"                    # a folder with train.jsonl and valid.jsonl
    out = \"run\"
    steps = 200
    lr = 1e-4
    lora_targets = [\"q_proj\", \"v_proj\"]
    activations = \"loract\"

";

/// The document.
pub fn markdown() -> String {
    let mut out = HEAD.to_owned();
    for arg in keys() {
        let Help { meaning, default } = Help::of(&arg);
        let default = default.map_or_else(String::new, |default| format!(", default {default}"));
        out.push_str(&entry(&format!("`{}` ({}{default}): {meaning}.", arg.get_id(), type_of(&arg))));
    }
    out
}

/// The flags that are keys too: all but the one that names the file.
fn keys() -> Vec<Arg> {
    let all = TrainArgs::augment_args(Command::new("train"));
    all.get_arguments().filter(|arg| arg.get_id() != "config").cloned().collect()
}

/// What TOML calls its values.
fn type_of(arg: &Arg) -> &'static str {
    let parsed = arg.get_value_parser().type_id();
    let is = |types: &[TypeId]| types.iter().any(|one| parsed == *one);
    if !arg.get_action().takes_values() {
        "true or false"
    } else if arg.get_value_delimiter().is_some() {
        "list of texts"
    } else if is(&[TypeId::of::<u64>(), TypeId::of::<usize>(), TypeId::of::<u8>()]) {
        "whole number"
    } else if is(&[TypeId::of::<f64>()]) {
        "number"
    } else if is(&[TypeId::of::<PathBuf>()]) {
        "path"
    } else {
        "text"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names that the reader of files knows, from its complaint about another.
    fn known() -> Vec<String> {
        let complaint = toml::from_str::<TrainArgs>("no_such_key = 1").map(|_| ()).unwrap_err().to_string();
        let (_, names) = complaint.split_once("expected one of ").expect("a list of names");
        names.trim().split(", ").map(|name| name.trim_matches('`').to_owned()).collect()
    }

    #[test]
    fn keys_and_types_are_those_of_the_reader() {
        let documented: Vec<_> = keys().iter().map(|arg| arg.get_id().to_string()).collect();
        assert_eq!(documented, known());
        for arg in keys() {
            let value = match type_of(&arg) {
                "true or false" => "true",
                "list of texts" => "[\"a\"]",
                "whole number" => "7",
                "number" => "0.5",
                "path" | "text" => "\"a\"",
                other => panic!("{other}"),
            };
            let line = format!("{} = {value}", arg.get_id());
            toml::from_str::<TrainArgs>(&line).unwrap_or_else(|e| panic!("{line}: {e}"));
            // A text is read where a text is meant only.
            if !["path", "text"].contains(&type_of(&arg)) {
                assert!(toml::from_str::<TrainArgs>(&format!("{} = \"a\"", arg.get_id())).is_err(), "{line}");
            }
        }
    }

    #[test]
    fn the_example_is_one() {
        let lines = HEAD.lines().filter_map(|line| line.strip_prefix("    "));
        toml::from_str::<TrainArgs>(&lines.collect::<Vec<_>>().join("\n")).expect("a configuration");
    }
}
