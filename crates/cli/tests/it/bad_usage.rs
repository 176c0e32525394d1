//! Flags, configuration files and output folders that cannot be used.

use std::fs;

use crate::harness::{Anyhow, Bad, Place, refuse};

const NOTHING: fn(&Place) -> Anyhow = |_| Ok(());
const FILE: &str = "--config run.toml";

#[test]
fn flags_that_cannot_be_used() -> Anyhow {
    let table = [
        ("--colour", &["unexpected argument", "--colour", "Usage"][..]),
        ("--step 3", &["unexpected argument", "--step", "--steps"]),
        ("--steps many", &["--steps", "many", "invalid"]),
        ("--steps 0", &["steps: 0", "least is 1"]),
        ("--batch-size 0", &["batch-size: 0", "least is 1"]),
        ("--grad-accum 0", &["grad-accum: 0", "least is 1"]),
        ("--threads 0", &["threads: 0", "least is 1"]),
        ("--seq-len 1", &["seq-len", "two tokens"]),
        ("--seq-len 65", &["seq-len: 65", "context of 64"]),
        ("--lr 0", &["lr: 0", "positive"]),
        ("--lr nan", &["lr: NaN", "positive"]),
        ("--weight-decay=-1", &["weight-decay: -1", "0 or more"]),
        ("--max-grad-norm inf", &["max-grad-norm: inf"]),
        ("--schedule step", &["schedule: `step`", "constant, linear, cosine"]),
        ("--lora-rank 0", &["lora-rank: 0", "least is 1"]),
        ("--lora-alpha 0", &["lora-alpha: 0", "positive"]),
        ("--lora-dropout 1", &["lora-dropout: 1", "between 0"]),
        ("--lora-targets q_proj,c_attn", &["`c_attn` matches no layer", "q_proj", "down_proj"]),
        ("--activations exakt", &["activations", "`exakt`", "exact, checkpoint"]),
        ("--activations loract-fast --residual-bits 4", &["sites", "factors alone", "--recompute sublayer"]),
        ("--sites act_fn=q7", &["sites: act_fn=q7", "offered are q2, q3, q4, q5, q6 and q8"]),
        ("--sites norm=again", &["sites", "only attn_qkv", "mlp_out"]),
        ("--activations loract --sites mlp", &["sites", "`mlp`", "mlp_in"]),
        ("--activations loract-layer --sites act_fn", &["sites", "act_fn", "--recompute layer", "ckpt_layer"]),
        ("--sites act_fn", &["sites", "--compress is none", "rqb"]),
        ("--rank 0", &["rank", "`0`", "positive number"]),
        ("--rank 2/1", &["rank", "`2/1`", "fraction of at most 1"]),
        ("--rank 0.5", &["rank", "`0.5`", "1/8"]),
        ("--activations loract-layer --rank 33", &["rank: 33", "32 features", "`ckpt_layer`", "1/8"]),
        ("--compress svd", &["compress", "`svd`", "rqb, gauss, rsvd, tsvd, nystrom"]),
        ("--recompute some", &["recompute", "`some`", "sublayer"]),
        ("--residual-bits 7", &["residual-bits: 7", "2, 3, 4, 5, 6, 8"]),
        ("--rank auto@7", &["rank", "auto@7", "tolerance between 0 and 1"]),
        ("--eval-every 2", &["eval-every", "--eval-data"]),
        ("--warm-start hot", &["warm-start", "`hot`", "none, reuse, refresh"]),
        ("--activations loract-layer --compress tsvd --warm-start reuse", &["warm-start", "rqb or gauss"]),
        ("--audit-every x", &["--audit-every", "invalid"]),
        ("--resume", &["resume: no checkpoint in out", "leave --resume out", "--save-every"]),
        ("--keep-checkpoints 0", &["keep-checkpoints: 0", "least is 1"]),
        ("--early-stop 2 --eval-data rows.jsonl", &["early-stop", "--eval-every"]),
        ("--progress loud", &["progress", "`loud`", "line, json, quiet"]),
        ("--batch-size 18446744073709551615", &["batch-size: 18446744073709551615", "the most is"]),
        ("--grad-accum 9223372036854775808", &["grad-accum: 9223372036854775808", "the most is"]),
        ("--lora-rank 18446744073709551615", &["lora-rank: 18446744073709551615", "the most is"]),
        ("--threads 18446744073709551615", &["threads: 18446744073709551615", "the most is"]),
    ];
    let table = table.map(|(flags, says)| Bad { name: flags, prepare: NOTHING, flags, says });
    refuse("llama-tied", 2, &table)
}

#[test]
fn what_is_needed_is_asked_for() -> Anyhow {
    let place = Place::with("llama-tied")?;
    for (words, says) in [
        ("", &["Usage", "train", "eval"][..]),
        ("fly", &["unrecognized subcommand", "fly"]),
        ("train --data rows.jsonl --out out", &["model", "--model"]),
        ("train --model model --out out", &["data", "--data"]),
        ("train --model model --data rows.jsonl", &["out", "--out"]),
        ("eval --data rows.jsonl", &["--model"]),
        ("eval --model model", &["--data"]),
    ] {
        let outcome = place.run(words)?;
        assert_eq!(outcome.complaint(2, says), None);
    }
    assert!(!place.path("out").exists());
    for words in ["--help", "train --help", "eval --help", "--version"] {
        let outcome = place.run(words)?;
        assert!(outcome.code == Some(0) && !outcome.stdout.is_empty(), "{}", outcome.told());
    }
    Ok(())
}

#[test]
fn configuration_files_that_cannot_be_used() -> Anyhow {
    let good = |more: &str| format!("model = \"model\"\ndata = \"rows.jsonl\"\nout = \"out\"\n{more}\n");
    let table = [
        ("learning_rate = 1e-3", &["run.toml", "line 4", "unknown field `learning_rate`", "`lr`"][..]),
        ("lr = 1e-3\nlr = 1e-4", &["run.toml", "line 5", "duplicate key"]),
        ("lr = ", &["run.toml", "line 4"]),
        ("steps = \"many\"", &["run.toml", "line 4", "steps", "expected"]),
        ("batch_size = -1", &["run.toml", "line 4", "batch_size"]),
        ("[train]\nlr = 1e-3", &["run.toml", "line 4", "unknown field `train`"]),
        ("rank = \"2/1\"", &["rank", "`2/1`"]),
        ("activations = \"exakt\"", &["activations", "`exakt`"]),
        ("config = \"other.toml\"", &["run.toml", "unknown field `config`"]),
    ];
    for (more, says) in table {
        let place = Place::with("llama-tied")?;
        place.write("run.toml", good(more))?;
        let outcome = place.train(FILE)?;
        assert_eq!(outcome.complaint(2, says), None, "{more}");
        assert!(!place.path("out").exists(), "{more}");
    }
    refuse(
        "llama-tied",
        2,
        &[
            Bad {
                name: "nothing there",
                prepare: NOTHING,
                flags: FILE,
                says: &["cannot read run.toml", "No such file"],
            },
            Bad {
                name: "not UTF-8",
                prepare: |p| p.write("run.toml", b"out = \"\xff\"\n"),
                flags: FILE,
                says: &["run.toml", "UTF-8"],
            },
        ],
    )
}

#[test]
fn output_folders_that_cannot_be_written() -> Anyhow {
    refuse(
        "llama-tied",
        2,
        &[
            Bad {
                name: "a file",
                prepare: |p| p.write("taken", "mine"),
                flags: "--out taken",
                says: &["out: taken is a file", "folder"],
            },
            Bad {
                name: "below a file",
                prepare: |p| p.write("taken", "mine"),
                flags: "--out taken/deep/er",
                says: &["out: taken/deep/er", "taken is a file", "folder"],
            },
        ],
    )?;
    let place = Place::with("llama-tied")?;
    place.write("taken", "mine")?;
    for out in ["taken", "taken/deep/er"] {
        let outcome = place.train(&format!("--out {out}"))?;
        assert!(!outcome.stderr.contains("step 1"), "found before the run begins: {}", outcome.told());
    }
    assert_eq!(place.text("taken")?, "mine");
    Ok(())
}

#[test]
fn a_folder_in_the_place_of_a_file_stops_the_run_and_nothing_is_lost() -> Anyhow {
    let place = Place::with("llama-tied")?;
    fs::create_dir_all(place.path("out/metrics.jsonl.partial"))?;
    let outcome = place.train("")?;
    assert_eq!(outcome.complaint(1, &["cannot write out/metrics.jsonl", "Is a directory"]), None);
    assert!(!place.path("out/adapter_model.safetensors").exists());
    Ok(())
}
