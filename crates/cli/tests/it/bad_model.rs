//! Models that are missing, damaged or of another kind.

use std::fs;

use serde_json::json;

use crate::damage::{WEIGHTS, add, remove, retype, set_key, transpose, truncate};
use crate::harness::{Anyhow, Bad, Place, golden, refuse};

const NORM: &str = "model.norm.weight";
const GATE: &str = "model.layers.1.mlp.gate_proj.weight";
const CONFIG: &str = "model/config.json";

#[test]
fn paths_without_a_model() -> Anyhow {
    refuse(
        "llama-tied",
        2,
        &[
            Bad {
                name: "nothing there",
                prepare: |_| Ok(()),
                flags: "--model absent",
                says: &["no model at absent", "no such file or folder", "config.json", ".gguf"],
            },
            Bad {
                name: "folder without config",
                prepare: |p| Ok(fs::remove_file(p.path(CONFIG))?),
                flags: "",
                says: &["no model at model", "without config.json"],
            },
            Bad {
                name: "folder without weights",
                prepare: |p| Ok(fs::remove_file(p.path(WEIGHTS))?),
                flags: "",
                says: &["no weights in model", "model.safetensors"],
            },
            Bad {
                name: "pickled weights",
                prepare: |p| Ok(fs::rename(p.path(WEIGHTS), p.path("model/pytorch_model.bin"))?),
                flags: "",
                says: &["model/pytorch_model.bin", "pickled", "convert it to model.safetensors"],
            },
            Bad {
                name: "an adapter",
                prepare: |_| Ok(()),
                flags: "--model adapter",
                says: &["no model at adapter", "holds an adapter"],
            },
            Bad {
                name: "one file of a folder",
                prepare: |_| Ok(()),
                flags: "--model model/model.safetensors",
                says: &["no model at model/model.safetensors", "give its folder"],
            },
            Bad {
                name: "another file",
                prepare: |_| Ok(()),
                flags: "--model rows.jsonl",
                says: &["no model at rows.jsonl", ".gguf"],
            },
        ],
    )
}

#[test]
fn weights_that_do_not_fit() -> Anyhow {
    refuse(
        "llama-tied",
        2,
        &[
            Bad {
                name: "missing weight",
                prepare: |p| remove(p, WEIGHTS, NORM),
                flags: "",
                says: &["weights in model", "1 missing (model.norm.weight)", "check that"],
            },
            Bad {
                name: "unknown weight",
                prepare: |p| add(p, WEIGHTS, "model.layers.1.extra.weight"),
                flags: "",
                says: &["weights in model", "1 unknown (model.layers.1.extra.weight)", "check that"],
            },
            Bad {
                name: "wrong shape",
                prepare: |p| transpose(p, WEIGHTS, GATE),
                flags: "",
                says: &[GATE, "stored 32x48, expected 48x32", "check that"],
            },
            Bad {
                name: "three mistakes at once",
                prepare: |p| {
                    transpose(p, WEIGHTS, GATE)?;
                    remove(p, WEIGHTS, NORM)?;
                    add(p, WEIGHTS, "extra")
                },
                flags: "",
                says: &["1 missing (model.norm.weight)", "1 of a wrong shape", GATE, "1 unknown (extra)"],
            },
            Bad {
                name: "a type that is not read",
                prepare: |p| retype(p, WEIGHTS, GATE, "I32"),
                flags: "",
                says: &[WEIGHTS, GATE, "I32", "supported: F32, F16, BF16"],
            },
            Bad {
                name: "the configuration of a larger model",
                prepare: |p| set_key(p, CONFIG, "num_hidden_layers", json!(3)),
                flags: "",
                says: &["9 missing", "model.layers.2.", "and 1 more"],
            },
        ],
    )
}

#[test]
fn files_that_end_early() -> Anyhow {
    refuse(
        "llama-tied",
        2,
        &[
            Bad {
                name: "safetensors without its last part",
                prepare: |p| truncate(p, WEIGHTS, 999),
                flags: "",
                says: &[WEIGHTS, "not a complete safetensors file", "fetch it again"],
            },
            Bad {
                name: "safetensors cut in its header",
                prepare: |p| truncate(p, WEIGHTS, 5),
                flags: "",
                says: &[WEIGHTS, "not a complete safetensors file", "fetch it again"],
            },
            Bad {
                name: "empty safetensors",
                prepare: |p| p.write(WEIGHTS, ""),
                flags: "",
                says: &[WEIGHTS, "not a complete safetensors file", "fetch it again"],
            },
            Bad {
                name: "text for safetensors",
                prepare: |p| p.write(WEIGHTS, "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"),
                flags: "",
                says: &[WEIGHTS, "not a complete safetensors file", "fetch it again"],
            },
            Bad {
                name: "gguf without its last part",
                prepare: |p| truncate(p, "llama.gguf", 999),
                flags: "--model llama.gguf",
                says: &["llama.gguf", "truncated", "fetch it again"],
            },
            Bad {
                name: "gguf cut in its metadata",
                prepare: |p| truncate(p, "llama.gguf", 10),
                flags: "--model llama.gguf",
                says: &["llama.gguf", "truncated", "fetch it again"],
            },
            Bad {
                name: "text for gguf",
                prepare: |p| p.write("llama.gguf", "version https://git-lfs.github.com/spec/v1\n"),
                flags: "--model llama.gguf",
                says: &["llama.gguf", "not a gguf file"],
            },
            Bad {
                name: "empty gguf",
                prepare: |p| p.write("llama.gguf", ""),
                flags: "--model llama.gguf",
                says: &["llama.gguf"],
            },
        ],
    )
}

#[test]
fn shards_that_do_not_fit_their_index() -> Anyhow {
    refuse(
        "llama-untied",
        2,
        &[
            Bad {
                name: "missing shard",
                prepare: |p| Ok(fs::remove_file(p.path("model/model-00002-of-00003.safetensors"))?),
                flags: "",
                says: &[
                    "model/model-00002-of-00003.safetensors",
                    "model.safetensors.index.json",
                    "missing",
                    "fetch it again",
                ],
            },
            Bad {
                name: "truncated shard",
                prepare: |p| truncate(p, "model/model-00003-of-00003.safetensors", 900),
                flags: "",
                says: &["model/model-00003-of-00003.safetensors", "not a complete safetensors file", "fetch it again"],
            },
            Bad {
                name: "shard without a tensor",
                prepare: |p| remove(p, "model/model-00001-of-00003.safetensors", "model.embed_tokens.weight"),
                flags: "",
                says: &["model-00001-of-00003.safetensors", "model.embed_tokens.weight", "fetch both again"],
            },
            Bad {
                name: "broken index",
                prepare: |p| truncate(p, "model/model.safetensors.index.json", 500),
                flags: "",
                says: &["model/model.safetensors.index.json", "not the JSON expected"],
            },
        ],
    )
}

#[test]
fn configurations_that_cannot_be_used() -> Anyhow {
    refuse(
        "llama-tied",
        2,
        &[
            Bad {
                name: "broken",
                prepare: |p| truncate(p, CONFIG, 500),
                flags: "",
                says: &[CONFIG, "not the JSON expected", "line"],
            },
            Bad {
                name: "not an object",
                prepare: |p| p.write(CONFIG, "[]"),
                flags: "",
                says: &[CONFIG, "not the JSON expected"],
            },
            Bad {
                name: "unknown family",
                prepare: |p| set_key(p, CONFIG, "model_type", json!("gpt9")),
                flags: "",
                says: &[CONFIG, "model_type gpt9 is not supported", "supported: llama, mistral"],
            },
            Bad {
                name: "no family",
                prepare: |p| set_key(p, CONFIG, "model_type", json!(null)),
                flags: "",
                says: &[CONFIG, "model_type is missing"],
            },
            Bad {
                name: "unsupported rope",
                prepare: |p| set_key(p, CONFIG, "rope_parameters", json!({"rope_type": "dynamic", "factor": 4.0})),
                flags: "",
                says: &[CONFIG, "rope type dynamic is not supported", "llama3"],
            },
            Bad {
                name: "unsupported activation",
                prepare: |p| set_key(p, CONFIG, "hidden_act", json!("relu6")),
                flags: "",
                says: &[CONFIG, "hidden_act relu6 is not supported", "silu"],
            },
            Bad {
                name: "missing key",
                prepare: |p| set_key(p, CONFIG, "hidden_size", json!(null)),
                flags: "",
                says: &[CONFIG, "hidden_size is missing"],
            },
            Bad {
                name: "heads that do not divide",
                prepare: |p| set_key(p, CONFIG, "num_key_value_heads", json!(3)),
                flags: "",
                says: &[CONFIG, "num_attention_heads 4", "num_key_value_heads 3"],
            },
            Bad {
                name: "absurd size",
                prepare: |p| set_key(p, CONFIG, "num_hidden_layers", json!(4_000_000)),
                flags: "",
                says: &[CONFIG, "num_hidden_layers is 4000000", "at most"],
            },
        ],
    )
}

/// `eval` opens models the same way, without an output folder to spoil.
#[test]
fn eval_refuses_the_same() -> Anyhow {
    let place = Place::with("llama-tied")?;
    remove(&place, WEIGHTS, NORM)?;
    place.write("cut.gguf", &fs::read(golden("gguf").join("llama.gguf"))?[..50_000])?;
    let before = place.files("")?;
    for (model, says) in [
        ("absent", &["no model at absent"][..]),
        ("model", &["weights in model", NORM]),
        ("cut.gguf", &["cut.gguf", "truncated"]),
    ] {
        let outcome = place.run(&format!("eval --json --model {model} --data rows.jsonl"))?;
        assert_eq!(outcome.complaint(2, says), None);
    }
    assert!(before == place.files("")?, "eval writes nothing");
    Ok(())
}
