//! What `loract inspect activations` says to bad input, and what it leaves: nothing.

use crate::damage::{WEIGHTS, set};
use crate::harness::{Anyhow, Place};

#[test]
fn input_that_cannot_be_used() -> Anyhow {
    let place = Place::with("llama-tied")?;
    place.write("taken", "mine")?;
    for (flags, says) in [
        ("--sites mlp", &["sites: unknown site `mlp`", "mlp_in", "act_fn.gate"][..]),
        ("--sites norm,row_stats", &["sites: unknown site `row_stats`"]),
        ("--sites=", &["sites: unknown site ``"]),
        ("--layers 2", &["layers: 2 is beyond the model's 2 layers", "0 to 1"]),
        ("--layers 0,18446744073709551616", &["layers: `18446744073709551616`"]),
        ("--layers first", &["layers: `first`", "all"]),
        ("--layers=-1", &["layers: `-1`"]),
        ("--sites norm.attn --layers 0", &["nothing is saved at norm.attn in layers 0", "attn_in"]),
        ("--rows 0", &["rows: 0", "least is 1"]),
        ("--rows many", &["--rows", "many"]),
        ("--seq-len 1", &["seq-len", "two tokens"]),
        ("--seq-len 65", &["seq-len: 65", "context of 64"]),
        ("--energy 0", &["energy: `0`", "percentage"]),
        ("--energy 90,101", &["energy: `101`", "at most 100"]),
        ("--energy nan", &["energy: `nan`"]),
        ("--threads 0", &["threads: 0"]),
        ("--out taken", &["out: taken is a file", "folder"]),
        ("--out taken/deeper", &["out: taken/deeper", "taken is a file"]),
        ("--out /proc/loract", &["out: /proc/loract cannot be written"]),
        ("--save model", &["save: model is a folder", "file name"]),
        ("--save gone/a.safetensors", &["save: gone/a.safetensors cannot be written", "No such file"]),
        ("--adapter gone", &["gone"]),
        ("--colour", &["unexpected argument", "--colour"]),
    ] {
        let words = format!("inspect activations --model model --data rows.jsonl {flags}");
        assert_eq!(place.run(&words)?.complaint(2, says), None, "{flags}");
    }
    for (words, says) in [
        ("inspect", &["Usage", "activations"][..]),
        ("inspect weights", &["unrecognized subcommand", "weights"]),
        ("inspect activations --model model", &["--data"]),
        ("inspect activations --data rows.jsonl", &["--model"]),
        ("inspect activations --model gone --data rows.jsonl --out new --save new.safetensors", &["gone"]),
        ("inspect activations --model model --data gone.jsonl", &["cannot read gone.jsonl", "No such file"]),
    ] {
        assert_eq!(place.run(words)?.complaint(2, says), None, "{words}");
    }
    assert_eq!(place.text("taken")?, "mine");
    for name in ["gone", "new", "new.safetensors", "new.safetensors.partial", "model.partial"] {
        assert!(!place.path(name).exists(), "{name}");
    }
    Ok(())
}

#[test]
fn numbers_that_are_none_are_named_by_site_and_layer_and_leave_nothing() -> Anyhow {
    let place = Place::with("llama-tied")?;
    set(&place, WEIGHTS, "model.layers.1.mlp.up_proj.weight", 5, f32::NAN)?;
    let outcome = place.run("inspect activations --model model --data rows.jsonl --save seen.safetensors")?;
    assert_eq!(outcome.complaint(1, &["NaN", "site act_fn of layer 1", "feature 0"]), None);
    // Not among the chosen tensors, it still shows in the loss.
    let outcome = place.run("inspect activations --model model --data rows.jsonl --layers 0")?;
    assert_eq!(outcome.complaint(1, &["the loss over rows.jsonl is NaN"]), None);
    assert!(!place.path("seen.safetensors").exists() && !place.path("seen.safetensors.partial").exists());
    Ok(())
}
