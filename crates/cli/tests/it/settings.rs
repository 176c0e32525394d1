//! Seeds, threads, configuration files and adapters to start from.

use crate::damage::Tensors;
use crate::golden::relative;
use crate::harness::{Anyhow, Place};

#[test]
fn the_same_seed_and_threads_give_the_same_bits() -> Anyhow {
    let place = Place::with("llama-tied")?;
    for (name, flags) in [
        ("exact", "--activations exact --threads 2"),
        ("compressed", "--activations loract --threads 2 --lora-dropout 0.3"),
        ("layer", "--activations loract-layer --threads 2 --lora-dropout 0.3"),
        ("sublayer", "--activations loract-sublayer --threads 1 --compress gauss"),
    ] {
        let run = |out: &str, seed: u32| -> Anyhow<(Vec<u8>, Vec<f64>)> {
            let out = format!("{name}{out}");
            place.trained(&format!("{flags} --steps 4 --lr 1e-2 --seed {seed} --out {out}"))?;
            Ok((place.adapter(&out)?, place.losses(&out)?))
        };
        let (first, second, other) = (run("a", 5)?, run("b", 5)?, run("c", 6)?);
        assert!(first == second, "{name}");
        assert!(first.0 != other.0 && first.1 != other.1, "{name}");
    }
    Ok(())
}

#[test]
fn dropout_changes_training_and_not_evaluation() -> Anyhow {
    let place = Place::with("llama-tied")?;
    // B is zero at first, so dropout shows from the second step on.
    place.trained("--steps 3 --lr 1e-2 --out plain")?;
    place.trained("--steps 3 --lr 1e-2 --lora-dropout 0.5 --eval-data rows.jsonl --out dropped")?;
    let (plain, dropped) = (place.losses("plain")?, place.losses("dropped")?);
    assert_eq!(plain[0], dropped[0]);
    assert_ne!(plain[2], dropped[2]);
    assert_eq!(place.json("dropped/adapter_config.json")?["lora_dropout"], 0.5);
    let said = place.json("dropped/report.json")?["evaluation"]["loss"].clone();
    assert_eq!(place.eval("--model model --adapter dropped --data rows.jsonl")?["loss"], said);
    Ok(())
}

#[test]
fn an_adapter_to_start_from_keeps_its_rank_alpha_and_targets() -> Anyhow {
    let place = Place::with("llama-tied")?;
    // A step too small to see shows what training began from.
    let outcome = place.trained("--adapter adapter --lora-alpha 99 --lr 1e-12 --weight-decay 0 --steps 1")?;
    assert!(outcome.stderr.contains("--lora-alpha is ignored"), "{}", outcome.told());
    let [given, written] = ["adapter", "out"].map(|folder| Tensors::read(&place.adapter(folder)?)?.all());
    let error = relative(&written?, &given?);
    assert!(error < 1e-6, "{error}");
    let [given, written] = ["adapter", "out"].map(|folder| place.json(&format!("{folder}/adapter_config.json")));
    let (given, written) = (given?, written?);
    assert_eq!((&given["r"], &given["target_modules"]), (&written["r"], &written["target_modules"]));
    assert_eq!(given["lora_alpha"].as_f64(), written["lora_alpha"].as_f64());
    let resolved = place.text("out/config.toml")?;
    assert!(resolved.contains("lora_rank = 4") && resolved.contains("lora_alpha = 12"), "{resolved}");
    // Two runs of two steps begin where the first ended.
    place.trained("--adapter adapter --lr 1e-2 --out first")?;
    place.trained("--adapter first --lr 1e-2 --out second")?;
    assert_ne!(place.adapter("first")?, place.adapter("second")?);
    Ok(())
}

#[test]
fn ignored_settings_are_said() -> Anyhow {
    let place = Place::with("llama-tied")?;
    for flag in ["--lora-rank 8", "--lora-alpha 99", "--lora-targets q_proj"] {
        let outcome = place.trained(&format!("--adapter adapter --steps 1 {flag}"))?;
        let name = flag.split(' ').next().unwrap_or_default();
        assert!(outcome.stderr.contains(&format!("{name} is ignored")), "{}", outcome.told());
    }
    // Dropout is of the run, not of the adapter.
    place.trained("--adapter adapter --steps 1 --lora-dropout 0.5")?;
    assert!(place.text("out/config.toml")?.contains("lora_dropout = 0.5"));
    Ok(())
}

#[test]
fn a_configuration_file_says_what_flags_say_and_flags_win() -> Anyhow {
    let place = Place::with("llama-tied")?;
    place.write(
        "run.toml",
        "model = \"model\"\ndata = \"rows.jsonl\"\nout = \"file\"\nsteps = 2\nbatch_size = 2\nlora_rank = 2\n\
         threads = 1\nactivations = \"exact\"\nlr = 1e-2\nseed = 3\n",
    )?;
    place.trained("--config run.toml")?;
    place.trained("--lr 1e-2 --seed 3 --out flags")?;
    assert_eq!(place.adapter("file")?, place.adapter("flags")?);
    place.trained("--config run.toml --seed 4 --out won")?;
    assert_ne!(place.adapter("file")?, place.adapter("won")?);
    Ok(())
}

#[test]
fn without_steps_the_data_is_passed_once() -> Anyhow {
    let place = Place::with("llama-tied")?;
    place
        .trained("--config empty.toml --model model --data rows.jsonl --out out --batch-size 5 --threads 1")
        .err()
        .ok_or("a configuration that is not there was accepted")?;
    place.write("empty.toml", "")?;
    place.trained("--config empty.toml --model model --data rows.jsonl --out out --batch-size 5 --threads 1")?;
    assert_eq!(place.losses("out")?.len(), 3, "12 rows in batches of 5");
    Ok(())
}

#[test]
fn the_largest_seed_is_a_seed() -> Anyhow {
    let place = Place::with("llama-tied")?;
    for seed in [0, i64::MAX as u64, u64::MAX] {
        place.trained(&format!("--steps 1 --seed {seed} --out first"))?;
        place.trained("--config first/config.toml --out again")?;
        assert_eq!(place.adapter("first")?, place.adapter("again")?, "{seed}");
    }
    Ok(())
}
