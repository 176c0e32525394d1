//! `README.md`: the model card of what a run leaves, as the Hugging Face hub shows it, with the run's facts.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use super::task::Words;
use crate::config::RunConfig;
use crate::tuning::{FineTuneType, Tuning};

/// The file.
pub(super) const FILE: &str = "README.md";

/// Ends every card, so that a text of somebody else's is not taken for one.
const MADE_BY: &str = "This card was written by `loract train`.";

/// Whether the card may be written: there is none, or one that a run wrote.
pub(super) fn may_replace(path: &Path) -> bool {
    !path.exists() || std::fs::read_to_string(path).is_ok_and(|text| text.trim_end().ends_with(MADE_BY))
}

/// The card of a run with this `report`, of a model that users speak of in these `words` and open `with_adapter` in
/// Python.
pub(super) fn card(config: &RunConfig, report: &Value, words: &Words, with_adapter: &str) -> String {
    let base = report["model"].as_str().unwrap_or_default();
    let adapter = config.fine_tune_type == FineTuneType::Lora;
    let (library, what) = match config.fine_tune_type {
        FineTuneType::Lora => ("peft", "LoRA adapter of"),
        FineTuneType::Full => ("transformers", "Model tuned as a whole from"),
        FineTuneType::Head => ("transformers", "Model with a tuned head from"),
    };
    let mut text = format!(
        "---\nbase_model: {}\nlibrary_name: {library}\n{}tags:\n- loract\n{}---\n\n# {}\n\n{what} `{base}`, trained with loract {}.\n\n",
        json!(base),
        words.tag.map_or_else(String::new, |tag| format!("pipeline_tag: {tag}\n")),
        if adapter { "- lora\n" } else { "" },
        config.out.file_name().map_or_else(|| "Model".into(), |name| name.to_string_lossy()),
        env!("CARGO_PKG_VERSION"),
    );
    text.push_str("| run | |\n|---|---|\n");
    let mut row = |name: &str, value: String| {
        let _ = writeln!(text, "| {name} | {} |", value.replace('|', "\\|").replace('\n', " "));
    };
    row("data", config.data.display().to_string());
    let early = if report["stopped_early"] == true { " (stopped early)" } else { "" };
    row("optimiser steps", format!("{}{early}", report["steps"]));
    row("rows a step", (config.batch_size * config.grad_accum).to_string());
    row("learning rate", format!("{:e}, {}, warm-up {}", config.lr, told(config, "schedule"), config.warmup));
    if let Tuning::Lora(lora) = config.tuning() {
        row("LoRA", format!("rank {}, alpha {}, on {}", lora.rank, lora.alpha, lora.targets.join(", ")));
    }
    row("seed", config.seed.to_string());
    row("last training loss", number(&report["last_loss"]));
    let found = &report["evaluation"];
    for (name, key) in [
        ("evaluation loss", "loss"),
        ("perplexity", "perplexity"),
        ("accuracy", "accuracy"),
        ("top-5 accuracy", "top5_accuracy"),
    ] {
        if found[key].is_number() {
            row(name, number(&found[key]));
        }
    }
    if report["best"]["loss"].is_number() {
        row(
            "best evaluation loss",
            format!("{}, after step {}", number(&report["best"]["loss"]), report["best"]["step"]),
        );
    }
    if let Some(peak) = report["memory"]["peak_activation_bytes"].as_f64() {
        row("peak activation memory", format!("{:.1} MB", peak / 1e6));
    }
    text.push_str("\nEvery setting is in `config.toml`, every step in `metrics.jsonl`.\n\n## Use\n\n");
    let Words { auto_class, command: (command, rest), .. } = words;
    let _ = if adapter {
        writeln!(
            text,
            "```python\n{with_adapter}\n```\n\n\
             or `{command} --model {base} --adapter PATH{rest}`; `loract merge` makes one model of both.\n"
        )
    } else {
        writeln!(
            text,
            "```python\nfrom transformers import {auto_class}\nmodel = {auto_class}.from_pretrained(\"PATH OF THIS FOLDER\")\n```\n\n\
             or `{command} --model PATH{rest}`.\n"
        )
    };
    text.push_str(MADE_BY);
    text.push('\n');
    text
}

/// A setting as `config.toml` has it.
fn told(config: &RunConfig, key: &str) -> String {
    json!(config)[key].as_str().unwrap_or_default().to_owned()
}

fn number(value: &Value) -> String {
    value.as_f64().map_or_else(|| "not finite".to_owned(), |number| format!("{number:.4}"))
}
