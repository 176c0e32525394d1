//! What a run writes and prints.

use std::collections::BTreeSet;

use crate::harness::{Anyhow, Place};

const FILES: [&str; 6] =
    ["README.md", "adapter_config.json", "adapter_model.safetensors", "config.toml", "metrics.jsonl", "report.json"];
const KEYS: [&str; 8] =
    ["step", "loss", "lr", "grad_norm", "tokens", "seconds", "saved_bytes", "peak_activation_bytes"];

#[test]
fn a_run_leaves_six_files_and_a_line_a_step() -> Anyhow {
    let place = Place::with("llama-tied")?;
    place.trained("--steps 3 --lr 1e-3 --no-shuffle --schedule linear")?;
    assert_eq!(place.files("out")?.into_keys().collect::<Vec<_>>(), FILES);
    let lines = place.lines("out/metrics.jsonl")?;
    let rows: Vec<usize> =
        place.lines("rows.jsonl")?.iter().filter_map(|r| Some(r["input_ids"].as_array()?.len())).collect();
    assert_eq!(lines.len(), 3);
    for (index, line) in lines.iter().enumerate() {
        let keys: BTreeSet<_> = line.as_object().ok_or("an object")?.keys().map(String::as_str).collect();
        assert_eq!(keys, BTreeSet::from(KEYS));
        assert_eq!(line["step"], index + 1);
        assert_eq!(line["tokens"], rows[2 * index] + rows[2 * index + 1]);
        let lr = line["lr"].as_f64().ok_or("lr")?;
        assert!((lr - 1e-3 * (3 - index) as f64 / 3.0).abs() < 1e-12, "{lr}");
        for key in ["saved_bytes", "peak_activation_bytes"] {
            assert!(line[key].as_u64() > Some(0), "{key}: {line}");
        }
        assert!(line["saved_bytes"].as_u64() <= line["peak_activation_bytes"].as_u64(), "{line}");
        for key in ["loss", "grad_norm", "seconds"] {
            assert!(line[key].as_f64() > Some(0.0), "{key}: {line}");
        }
    }
    Ok(())
}

#[test]
fn the_card_tells_the_run_and_spares_a_text_of_the_users() -> Anyhow {
    let place = Place::with("llama-tied")?;
    place.trained("--steps 2 --eval-data rows.jsonl --lora-targets q_proj")?;
    let (card, report) = (place.text("out/README.md")?, place.json("out/report.json")?);
    let front = card.split("---").nth(1).ok_or("front matter")?;
    assert!(front.contains("base_model: \"model\"\nlibrary_name: peft\n"), "{card}");
    let number = |value: &serde_json::Value| format!("{:.4} |", value.as_f64().unwrap_or(f64::NAN));
    for (name, value) in [
        ("last training loss", number(&report["last_loss"])),
        ("evaluation loss", number(&report["evaluation"]["loss"])),
        ("optimiser steps", "2 |".to_owned()),
        ("LoRA", "rank 2, alpha 4, on q_proj |".to_owned()),
    ] {
        assert!(card.contains(&format!("| {name} | {value}")), "{name}: {value}\n{card}");
    }
    // Another run writes its own; a text that is not a card stays.
    place.trained("--steps 3")?;
    assert!(place.text("out/README.md")?.contains("| optimiser steps | 3 |"));
    place.write("out/README.md", "mine")?;
    place.trained("--steps 2")?;
    assert_eq!(place.text("out/README.md")?, "mine");
    Ok(())
}

#[test]
fn the_adapter_is_what_peft_loads() -> Anyhow {
    let place = Place::with("llama-tied")?;
    place.trained("--lora-rank 3 --lora-alpha 5 --lora-targets q_proj,down_proj")?;
    let config = place.json("out/adapter_config.json")?;
    assert_eq!((&config["r"], &config["lora_alpha"]), (&3.into(), &5.0.into()));
    assert_eq!(config["target_modules"], serde_json::json!(["down_proj", "q_proj"]));
    assert_eq!((&config["peft_type"], &config["task_type"]), (&"LORA".into(), &"CAUSAL_LM".into()));
    assert_eq!(config["base_model_name_or_path"], "model");
    let tensors = crate::damage::Tensors::read(&place.adapter("out")?)?;
    let mut want = Vec::new();
    for layer in 0..2 {
        for module in ["mlp.down_proj", "self_attn.q_proj"] {
            want.extend(["A", "B"].map(|s| format!("base_model.model.model.layers.{layer}.{module}.lora_{s}.weight")));
        }
    }
    assert_eq!(tensors.names(), want);
    Ok(())
}

#[test]
fn the_written_configuration_runs_again() -> Anyhow {
    let place = Place::with("mistral-window")?;
    for (index, flags) in [
        "",
        "--activations loract-sublayer --rank 1/4 --lora-dropout 0.25 --seed 7 --schedule cosine --warmup 1",
        "--adapter adapter --activations checkpoint --seq-len 12 --grad-accum 2 --batch-size 1",
        "--compress gauss --sites act_fn,mlp_out --rank 3 --eval-data rows.jsonl --eval-every 1 --save-every 1",
    ]
    .into_iter()
    .enumerate()
    {
        let (first, again) = (format!("first{index}"), format!("again{index}"));
        place.trained(&format!("{flags} --out {first}"))?;
        place.trained(&format!("--config {first}/config.toml --out {again}"))?;
        assert_eq!(place.adapter(&first)?, place.adapter(&again)?, "{flags}");
        let written = place.text(&format!("{first}/config.toml"))?;
        assert_eq!(written.replace(&first, &again), place.text(&format!("{again}/config.toml"))?);
    }
    Ok(())
}

#[test]
fn evaluation_lines_say_eval_loss_and_never_loss() -> Anyhow {
    let place = Place::with("llama-tied")?;
    place.trained("--steps 5 --eval-data rows.jsonl --eval-every 2 --lr 1e-2")?;
    let lines = place.lines("out/metrics.jsonl")?;
    let (evaluations, steps): (Vec<_>, Vec<_>) = lines.iter().partition(|line| line.get("eval_loss").is_some());
    assert_eq!(evaluations.iter().filter_map(|line| line["step"].as_u64()).collect::<Vec<_>>(), [2, 4, 5]);
    assert_eq!(steps.len(), 5);
    for line in evaluations {
        let keys: Vec<_> = line.as_object().ok_or("an object")?.keys().collect();
        assert!(keys.iter().all(|key| *key == "step" || key.starts_with("eval_")), "{line}");
    }
    Ok(())
}

#[test]
fn save_every_keeps_adapters_on_the_way() -> Anyhow {
    let place = Place::with("llama-tied")?;
    place.trained("--steps 5 --save-every 2 --lr 1e-2 --out long")?;
    let kept = place.files("long")?;
    let kept: BTreeSet<_> =
        kept.keys().filter_map(|name| name.strip_prefix("checkpoint-")?.split('/').next()).collect();
    assert_eq!(kept, BTreeSet::from(["2", "4"]));
    for (steps, folder) in [(2, "long/checkpoint-2"), (4, "long/checkpoint-4"), (5, "long")] {
        place.trained(&format!("--steps {steps} --lr 1e-2 --out short"))?;
        assert_eq!(place.adapter(folder)?, place.adapter("short")?, "{folder}");
    }
    place.eval("--model model --adapter long/checkpoint-2 --data rows.jsonl")?;
    // They are not written over by another run.
    let before = place.files("long")?;
    let refused = place.train("--steps 5 --save-every 2 --lr 1e-3 --out long")?;
    let complaint = refused.complaint(2, &["out: ", "checkpoint-", "of an earlier run", "another --out"]);
    assert_eq!(complaint, None);
    assert_eq!(place.files("long")?, before);
    Ok(())
}

#[test]
fn a_later_run_takes_the_place_of_an_earlier_one() -> Anyhow {
    let place = Place::with("llama-tied")?;
    place.trained("--steps 3 --lr 1e-2")?;
    place.trained("--steps 2")?;
    assert_eq!(place.losses("out")?.len(), 2);
    assert_eq!(place.json("out/report.json")?["steps"], 2);
    assert_eq!(place.files("out")?.into_keys().collect::<Vec<_>>(), FILES);
    Ok(())
}

#[test]
fn numbers_go_to_stdout_and_progress_to_stderr() -> Anyhow {
    let place = Place::with("llama-tied")?;
    let outcome = place.trained("--eval-data rows.jsonl")?;
    let begins: Vec<_> = outcome.stdout.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(begins, ["trained", "evaluation"], "{}", outcome.told());
    for word in ["step 2/2", "eval loss", "configuration:", "12 rows", "2 layers"] {
        assert!(outcome.stderr.contains(word) && !outcome.stdout.contains(word), "{word}: {}", outcome.told());
    }
    let json = place.run("eval --json --model model --data rows.jsonl")?;
    assert!(json.stdout.starts_with('{') && json.stdout.trim_end().ends_with('}'), "{}", json.told());
    let plain = place.run("eval --model model --data rows.jsonl")?;
    assert_eq!(plain.code, Some(0));
    for word in ["loss ", "perplexity ", "tokens "] {
        assert!(plain.stdout.lines().any(|line| line.starts_with(word)), "{}", plain.told());
    }
    Ok(())
}

#[test]
fn the_report_accounts_for_memory_and_time() -> Anyhow {
    let place = Place::with("llama-tied")?;
    place.trained("--activations loract")?;
    let report = place.json("out/report.json")?;
    let lines = place.lines("out/metrics.jsonl")?;
    let peak = |line: &serde_json::Value| line["peak_activation_bytes"].as_u64();
    assert_eq!(peak(&report["memory"]), lines.iter().filter_map(peak).max());
    let parts = report["memory"]["saved"].as_object().ok_or("saved by site")?;
    let sum: u64 = parts.values().filter_map(serde_json::Value::as_u64).sum();
    assert_eq!(report["memory"]["saved_bytes"].as_u64(), Some(sum));
    assert_eq!(report["first_loss"], lines[0]["loss"]);
    assert_eq!(report["last_loss"], lines[1]["loss"]);
    assert_eq!(report["config"]["lora_rank"], 2);
    assert!(report["wall_seconds"].as_f64() > Some(0.0) && report["median_step_seconds"].as_f64() > Some(0.0));
    Ok(())
}

#[test]
fn progress_for_programs_and_for_nobody() -> Anyhow {
    let place = Place::with("llama-tied")?;
    let flags = "--steps 3 --eval-data rows.jsonl --eval-every 2 --save-every 2 --audit-every 3";
    let outcome = place.trained(&format!("{flags} --progress json"))?;
    let events: Vec<serde_json::Value> = outcome.stderr.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let names: Vec<_> =
        events.iter().filter_map(|event| event["event"].as_str()).filter(|name| *name != "note").collect();
    assert_eq!(
        names,
        ["step", "step", "evaluation", "checkpoint", "step", "audit", "evaluation"],
        "{}",
        outcome.told()
    );
    let step = events.iter().find(|event| event["event"] == "step").ok_or("a step")?;
    assert!(KEYS.iter().all(|key| step.get(key).is_some()) && step["steps"] == 3, "{step}");
    let quiet = place.trained(&format!("{flags} --progress quiet --out quiet"))?;
    assert_eq!((quiet.stderr.as_str(), quiet.stdout.lines().count()), ("", 3), "{}", quiet.told());
    assert_eq!(place.adapter("out")?, place.adapter("quiet")?);
    Ok(())
}

/// As with `loract plan … | head -1`.
#[cfg(unix)]
#[test]
fn a_reader_that_has_had_enough_is_no_error() -> Anyhow {
    use std::process::{Command, Stdio};

    let place = Place::with("llama-tied")?;
    place.write("rows.jsonl", "{\"input_ids\": [1, 2, 3]}\n")?;
    for words in ["plan --model model", "eval --model model --data rows.jsonl --json", "completions bash", "man"] {
        let (reader, writer) = std::io::pipe()?;
        drop(reader);
        let mut command = Command::new(env!("CARGO_BIN_EXE_loract"));
        command.args(words.split_whitespace()).current_dir(place.path("")).stdin(Stdio::null());
        let output = command.stdout(writer).output()?;
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(141), "{words}: {told}");
        assert!(told.contains("nobody reads") && !told.contains("error"), "{words}: {told}");
    }
    Ok(())
}
