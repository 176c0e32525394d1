//! What arguments mean, and which are refused.

use std::fs;

use clap::Parser;
use loract_autograd::Precision;
use loract_train::{Error, MixedPrecision, RunConfig};

use super::TrainArgs;
use crate::args::{Cli, Command, setting};

pub(in crate::args) fn train(flags: &[&str]) -> Result<RunConfig, Error> {
    let base = ["loract", "train", "--model", "m", "--data", "d", "--out", "o"];
    let parsed = Cli::try_parse_from(base.iter().chain(flags)).map_err(|e| setting("flags", e.to_string()))?;
    match parsed.command {
        Command::Train(args) => args.with_file()?.resolve(2),
        other => Err(setting("command", format!("{other:?}"))),
    }
}

#[test]
fn wrong_settings_are_named() {
    for (flags, want) in [
        (&["--activations", "exakt"][..], "the presets are"),
        (&["--rank", "2/1"], "neither a positive number"),
        (&["--rank", "0"], "neither a positive number"),
        (&["--sites", "mlp"], "unknown site `mlp`"),
        (&["--recompute", "layer", "--sites", "act_fn"], "does not exist with --recompute layer"),
        (&["--compress", "none", "--sites", "act_fn"], "--compress is none"),
        (&["--compress", "svd"], "none of none, rqb, gauss"),
        (&["--residual-bits", "7"], "possible: 0 (none), 2, 3, 4, 5, 6, 8"),
        (&["--rank", "auto@2"], "a tolerance between 0 and 1"),
        (&["--sites", "norm=q7"], "offered are q2, q3, q4, q5, q6 and q8"),
        (&["--sites", "norm=again"], "can be computed again"),
        (&["--activations", "loract-fast", "--residual-bits", "4"], "--recompute sublayer takes any form"),
        (&["--schedule", "step"], "`step` is none of constant, linear, cosine"),
        (&["--batch-size", "0"], "batch-size: 0"),
        (&["--lr", "-1"], "unexpected argument"),
        (&["--lr=-1"], "not a positive number"),
        (&["--eval-every", "5"], "needs --eval-data"),
        (&["--warm-start", "hot"], "`hot` is none of none, reuse, refresh"),
        (&["--activations", "exact", "--warm-start", "reuse"], "no site has factors"),
        (&["--early-stop", "2"], "needs --eval-data"),
        (&["--keep-checkpoints", "0"], "keep-checkpoints: 0"),
        (&["--fine-tune-type", "all"], "`all` is none of lora, full, head"),
        (&["--fine-tune-type", "full", "--dora"], "belongs to LoRA"),
        (&["--fine-tune-type", "head", "--modules-to-save", "norm"], "modules-to-save: belongs to LoRA"),
        (&["--chat-date", "25.11.2026"], "chat-date: `25.11.2026` is no date; expected one from 1970-01-01"),
        (&["--mixed-precision", "fp16"], "`fp16` is none of no, bf16, bf16-emulated"),
        (&["--train-on", "none"], "`none` is none of assistant, last, all"),
    ] {
        let got = train(flags).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(got.contains(want), "{flags:?}: {got:?} lacks {want:?}");
    }
}

#[test]
fn bf16_is_f32_where_no_instruction_is_for_it() -> Result<(), Error> {
    let of = |word| train(&["--mixed-precision", word]).map(|config| config.mixed_precision);
    let fast = Precision::Bf16.is_fast();
    assert_eq!(of("bf16")?, if fast { MixedPrecision::Bf16 } else { MixedPrecision::No });
    assert_eq!(of("bf16-emulated")?.precision(), Precision::Bf16);
    assert_eq!(train(&[])?.policy().precision, Precision::F32);
    Ok(())
}

#[test]
fn what_a_run_writes_as_its_configuration_runs_again() -> Result<(), Box<dyn std::error::Error>> {
    let mut config = train(&[
        "--activations",
        "loract-sublayer",
        "--rank",
        "1/4",
        "--no-shuffle",
        "--mixed-precision",
        "bf16-emulated",
    ])?;
    config.seq_len = Some(64);
    let again: TrainArgs = toml::from_str(&toml::to_string(&config)?)?;
    assert_eq!(again.resolve(2)?, config);
    Ok(())
}

#[test]
fn flags_win_over_the_file_and_unknown_keys_are_errors() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::temp_dir().join(format!("loract-args-{}.toml", std::process::id()));
    fs::write(&path, "lr = 1e-3\nbatch_size = 7\nlora_targets = [\"q_proj\"]\n")?;
    let file = path.display().to_string();
    let config = train(&["--config", &file, "--lr", "5e-4"])?;
    assert_eq!((config.lr, config.batch_size, config.lora_targets), (5e-4, 7, vec!["q_proj".to_owned()]));
    fs::write(&path, "learning_rate = 1e-3\n")?;
    let error = train(&["--config", &file]).err().map(|e| e.to_string()).unwrap_or_default();
    assert!(error.contains("unknown field `learning_rate`"), "{error}");
    fs::remove_file(&path)?;
    Ok(())
}

#[test]
fn a_size_of_images_is_a_number_or_a_text_in_a_file() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::temp_dir().join(format!("loract-size-{}.toml", std::process::id()));
    let read = |text: &str| {
        fs::write(&path, text)?;
        let flag = path.display().to_string();
        Ok::<_, std::io::Error>(train(&["--config", &flag]))
    };
    for (text, want) in [("image_size = 28", [28, 28]), ("image_size = \"28x24\"", [28, 24])] {
        assert_eq!(read(text)??.images.image_size, Some(want), "{text}");
    }
    for text in ["image_size = -1", "image_size = true", "image_size = 2.5"] {
        let error = read(text)?.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains("size") && error.contains("224"), "{text}: {error}");
    }
    assert_eq!(read("")??.images.image_size, None);
    Ok(fs::remove_file(&path)?)
}
