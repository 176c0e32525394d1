//! A run that goes on from a checkpoint ends as one that was never interrupted, or is refused by name.

use serde_json::Value;

use crate::harness::{Anyhow, Place, changed};

/// Steps of the checkpoints in a folder, rising.
pub fn checkpoints(place: &Place, out: &str) -> Anyhow<Vec<u64>> {
    if !place.path(out).exists() {
        return Ok(Vec::new());
    }
    let names = std::fs::read_dir(place.path(out))?.map(|e| Ok(e?.file_name().into_string().unwrap_or_default()));
    let names = names.collect::<std::io::Result<Vec<_>>>()?;
    let mut steps: Vec<u64> = names.iter().filter_map(|n| n.strip_prefix("checkpoint-")?.parse().ok()).collect();
    steps.sort_unstable();
    Ok(steps)
}

/// The lines of the log, less wall times.
fn timeless(place: &Place, out: &str) -> Anyhow<Vec<Value>> {
    let mut lines = place.lines(&format!("{out}/metrics.jsonl"))?;
    lines.iter_mut().filter_map(Value::as_object_mut).for_each(|line| drop(line.remove("seconds")));
    Ok(lines)
}

/// Adapters or models byte for byte; log and report but for times and the name of the folder; nothing half done.
pub fn assert_same_end(place: &Place, whole: &str, out: &str) -> Anyhow {
    let (want, got) = (place.files(whole)?, place.files(out)?);
    for name in ["adapter_model.safetensors", "adapter_config.json", "model.safetensors", "config.json"] {
        let best = format!("best/{name}");
        assert!(want.get(name) == got.get(name), "{out}/{name}");
        assert!(want.get(&best) == got.get(&best), "{out}/{best}");
    }
    assert!(want.get("audits.jsonl") == got.get("audits.jsonl"), "{out}/audits.jsonl");
    assert_eq!(timeless(place, whole)?, timeless(place, out)?, "{out}/metrics.jsonl");
    let [want, now] = [whole, out].map(|folder| place.json(&format!("{folder}/report.json")));
    let (want, now) = (want?, now?);
    for key in
        ["steps", "first_loss", "last_loss", "evaluation", "best", "tokens", "memory", "planned", "stopped_early"]
    {
        assert_eq!(want[key], now[key], "{out}/report.json {key}");
    }
    let left: Vec<_> = got.keys().filter(|name| name.contains(".partial")).collect();
    assert!(left.is_empty(), "{out}: {left:?}");
    Ok(())
}

/// As `whole` was when it had just saved `step`.
pub fn interrupted(place: &Place, whole: &str, step: u64, out: &str) -> Anyhow {
    place.copy(&format!("{whole}/checkpoint-{step}"), &format!("{out}/checkpoint-{step}"))
}

#[test]
fn from_every_checkpoint_and_in_every_setting_the_end_is_the_same() -> Anyhow {
    let place = Place::with("llama-tied")?;
    let cases = [
        "--activations exact --schedule linear --warmup 2 --lora-alpha 1.1",
        "--activations exact --no-shuffle --batch-size 5 --grad-accum 2 --max-grad-norm 0",
        "--activations loract --batch-size 6 --lora-dropout 0.2 --eval-data rows.jsonl --eval-every 2",
        "--activations loract --batch-size 6 --rank auto@0.2",
        "--activations loract-paper --batch-size 6 --warm-start reuse --audit-every 2",
        "--activations loract-layer --threads 2 --seed 18446744073709551615 --seq-len 9",
        "--activations checkpoint --adapter adapter --eval-data rows.jsonl --eval-every 1",
        "--activations loract --dora --rslora --packing --batch-size 3 --seq-len 17",
        "--activations checkpoint --lora-fa --lora-targets all-linear",
        "--activations loract --fine-tune-type full --audit-every 2 --eval-data rows.jsonl --eval-every 2",
        "--activations exact --fine-tune-type head",
        "--activations loract-layer --lora-targets q_proj --modules-to-save embed_tokens,lm_head,layers.1.*norm",
    ];
    for (case, flags) in cases.into_iter().enumerate() {
        let whole = format!("whole{case}");
        let flags = format!("{flags} --steps 5 --save-every 1 --keep-checkpoints 9 --lr 1e-2");
        place.trained(&format!("{flags} --out {whole}"))?;
        assert_eq!(checkpoints(&place, &whole)?, [1, 2, 3, 4]);
        for step in [1, 3] {
            let out = format!("part{case}-{step}");
            interrupted(&place, &whole, step, &out)?;
            let outcome = place.trained(&format!("{flags} --out {out} --resume"))?;
            assert!(outcome.stderr.contains(&format!("goes on from {out}/checkpoint-{step}")), "{}", outcome.told());
            assert_same_end(&place, &whole, &out)?;
            assert_eq!(place.json(&format!("{out}/report.json"))?["resumed_after"], serde_json::json!([step]));
        }
    }
    Ok(())
}

#[test]
fn lines_after_the_checkpoint_are_dropped() -> Anyhow {
    let place = Place::with("llama-tied")?;
    place.trained("--steps 4 --save-every 2 --out whole")?;
    interrupted(&place, "whole", 2, "out")?;
    place
        .write("out/metrics.jsonl.partial", format!("{}{{\"step\":5}}\n{{\"st", place.text("whole/metrics.jsonl")?))?;
    place.trained("--steps 4 --save-every 2 --resume")?;
    assert_same_end(&place, "whole", "out")
}

#[test]
fn a_setting_that_changes_the_result_is_refused_with_both_values() -> Anyhow {
    let place = Place::with("llama-tied")?;
    let flags = "--steps 4 --save-every 2 --lr 1e-2 --schedule cosine";
    place.trained(&format!("{flags} --out whole"))?;
    interrupted(&place, "whole", 2, "out")?;
    let rows = place.text("rows.jsonl")?;
    place.write("fewer.jsonl", rows.lines().take(7).collect::<Vec<_>>().join("\n"))?;
    place.copy("model", "other")?;
    crate::damage::set(&place, "other/model.safetensors", "model.norm.weight", 0, 0.5)?;
    let before = place.files("out")?;
    for (more, says) in [
        ("--seed 7", &["resume: out/checkpoint-2", "other settings", "seed was 0, is now 7", "another --out"][..]),
        ("--batch-size 3 --grad-accum 2", &["batch-size was 2, is now 3", "grad-accum was 1, is now 2"]),
        ("--steps 5", &["steps was 4, is now 5"]),
        ("--lora-rank 4", &["lora-rank was 2, is now 4", "lora-alpha was 4.0, is now 8.0"]),
        ("--activations loract", &["sites was []", "act_fn=q5"]),
        ("--adapter adapter --lora-dropout 0.5", &["lora-dropout was 0.0, is now 0.5"]),
        ("--data fewer.jsonl", &["contents of data was 12 rows", "is now 7 rows"]),
        ("--model other", &["contents of model was"]),
        ("--seq-len 9", &["seq-len was not given, is now 9"]),
        ("--no-shuffle", &["no-shuffle was false, is now true"]),
    ] {
        let given = |word: &str| more.split_whitespace().any(|w| w == word);
        let flags = if given("--steps") { flags.replace("--steps 4", "") } else { flags.to_owned() };
        let outcome = place.train(&format!("{flags} {more} --resume"))?;
        assert_eq!(outcome.complaint(2, says), None);
        assert_eq!(changed(&before, &place.files("out")?, 2), None, "{more}");
    }
    Ok(())
}

/// Whole records, one file a part of the run; the numbers are looked at where they are made.
#[test]
fn events_are_written_by_every_part_of_a_run() -> Anyhow {
    let place = Place::with("llama-tied")?;
    let flags = "--steps 4 --save-every 2 --tensorboard --eval-data rows.jsonl";
    place.trained(&format!("{flags} --out whole"))?;
    interrupted(&place, "whole", 2, "out")?;
    place.trained(&format!("{flags} --resume"))?;
    for (folder, records) in [("whole", 1 + 4 + 1), ("out", 2 + 2 + 1)] {
        let files = place.files(folder)?;
        let events: Vec<_> = files.iter().filter(|(name, _)| name.contains("events.out.tfevents")).collect();
        let [(_, bytes)] = events[..] else { return Err(format!("{folder}: {} event files", events.len()).into()) };
        let (mut found, mut at) = (0, 0);
        while let Some(length) = bytes.get(at..at + 8) {
            at += 16 + u64::from_le_bytes(length.try_into()?) as usize;
            found += 1;
        }
        assert_eq!((found, at), (records, bytes.len()), "{folder}");
    }
    Ok(())
}

#[test]
fn what_may_change_is_told() -> Anyhow {
    let place = Place::with("llama-tied")?;
    place.trained("--steps 4 --save-every 2 --lr 1e-2 --out whole")?;
    interrupted(&place, "whole", 2, "out")?;
    place.copy("model", "moved")?;
    let outcome = place.trained(
        "--steps 6 --save-every 1 --lr 1e-2 --threads 2 --model moved --eval-data rows.jsonl --resume --keep-checkpoints 1",
    );
    // Rows to evaluate on were none before.
    assert!(outcome.is_err_and(|e| e.to_string().contains("contents of eval-data was not given")));
    let outcome =
        place.trained("--steps 6 --save-every 1 --lr 1e-2 --threads 1 --model moved --keep-checkpoints 1 --resume")?;
    for note in ["steps was 4, is now 6", "save-every was 2, is now 1", "model was \"model\", is now \"moved\""] {
        assert!(outcome.stderr.contains(note), "{note}: {}", outcome.told());
    }
    assert_eq!(checkpoints(&place, "out")?, [5]);
    // With a constant learning rate the longer run is the one that was never interrupted.
    place.trained("--steps 6 --lr 1e-2 --out longer")?;
    assert_eq!(place.adapter("longer")?, place.adapter("out")?);
    assert_eq!(timeless(&place, "longer")?, timeless(&place, "out")?);
    let outcome = place.trained("--steps 7 --lr 1e-2 --threads 2 --resume")?;
    assert!(outcome.stderr.contains("threads was 1, is now 2: ") && outcome.stderr.contains("last bits"));
    let outcome = place.train("--steps 5 --lr 1e-2 --resume")?;
    assert_eq!(outcome.complaint(2, &["steps was 6, is now 5"]), None);
    Ok(())
}

#[test]
fn without_a_checkpoint_it_says_what_to_do() -> Anyhow {
    let place = Place::with("llama-tied")?;
    let outcome = place.train("--resume")?;
    assert_eq!(outcome.complaint(2, &["no checkpoint in out", "leave --resume out", "--save-every"]), None);
    assert!(!place.path("out").exists());
    place.trained("--save-every 1")?;
    let before = place.files("out")?;
    for flags in ["", "--save-every 1"] {
        let outcome = place.train(flags)?;
        assert_eq!(
            outcome.complaint(2, &["out holds checkpoint-1 of an earlier run", "--resume", "another --out"]),
            None
        );
        assert_eq!(place.files("out")?, before);
    }
    Ok(())
}
