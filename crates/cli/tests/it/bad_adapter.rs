//! Adapters that do not belong to the model, or are not supported.

use std::fs;

use serde_json::json;

use crate::damage::{add, remove, set_key, transpose, truncate};
use crate::harness::{Anyhow, Bad, Place, golden, refuse};

const WEIGHTS: &str = "adapter/adapter_model.safetensors";
const CONFIG: &str = "adapter/adapter_config.json";
const Q_A: &str = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";
const FLAGS: &str = "--adapter adapter";

#[test]
fn adapters_that_do_not_fit() -> Anyhow {
    refuse(
        "llama-tied",
        2,
        &[
            Bad {
                name: "nothing there",
                prepare: |_| Ok(()),
                flags: "--adapter absent",
                says: &["cannot read absent/adapter_config.json", "No such file"],
            },
            Bad {
                name: "a model",
                prepare: |_| Ok(()),
                flags: "--adapter model",
                says: &["cannot read model/adapter_config.json"],
            },
            Bad {
                name: "no numbers",
                prepare: |p| Ok(fs::remove_file(p.path(WEIGHTS))?),
                flags: FLAGS,
                says: &["cannot read adapter/adapter_model.safetensors"],
            },
            Bad {
                name: "of another model",
                prepare: |p| {
                    let other = golden("llama-untied").join("adapter/adapter_model.safetensors");
                    p.write(WEIGHTS, fs::read(other)?)
                },
                flags: FLAGS,
                says: &[
                    WEIGHTS,
                    "of a wrong shape",
                    "q_proj.lora_B.weight",
                    "stored 48x4, expected 32x4",
                    "belong together",
                ],
            },
            Bad {
                name: "of a larger model",
                prepare: |p| add(p, WEIGHTS, "base_model.model.model.layers.7.self_attn.q_proj.lora_A.weight"),
                flags: FLAGS,
                says: &[WEIGHTS, "1 unknown", "layers.7.self_attn.q_proj"],
            },
            Bad {
                name: "missing key",
                prepare: |p| remove(p, WEIGHTS, Q_A),
                flags: FLAGS,
                says: &[WEIGHTS, "1 missing", Q_A],
            },
            Bad {
                name: "wrong shape",
                prepare: |p| transpose(p, WEIGHTS, Q_A),
                flags: FLAGS,
                says: &[WEIGHTS, Q_A, "stored 32x4, expected 4x32"],
            },
            Bad {
                name: "truncated numbers",
                prepare: |p| truncate(p, WEIGHTS, 990),
                flags: FLAGS,
                says: &[WEIGHTS, "not a complete safetensors file", "fetch it again"],
            },
        ],
    )
}

#[test]
fn settings_that_are_not_supported() -> Anyhow {
    refuse(
        "llama-tied",
        2,
        &[
            Bad {
                name: "DoRA without its magnitudes",
                prepare: |p| set_key(p, CONFIG, "use_dora", json!(true)),
                flags: FLAGS,
                says: &["adapter_model.safetensors", "missing", "lora_magnitude_vector"],
            },
            Bad {
                name: "another method",
                prepare: |p| set_key(p, CONFIG, "peft_type", json!("LOHA")),
                flags: FLAGS,
                says: &[CONFIG, "peft_type is \"LOHA\"", "\"LORA\""],
            },
            Bad {
                name: "ranks that differ",
                prepare: |p| set_key(p, CONFIG, "rank_pattern", json!({"q_proj": 8})),
                flags: FLAGS,
                says: &[CONFIG, "rank_pattern", "not supported"],
            },
            Bad {
                name: "whole modules that are not stored",
                prepare: |p| set_key(p, CONFIG, "modules_to_save", json!(["lm_head"])),
                flags: FLAGS,
                says: &[WEIGHTS, "1 missing", "base_model.model.lm_head.weight"],
            },
            Bad {
                name: "whole modules that do not exist",
                prepare: |p| set_key(p, CONFIG, "modules_to_save", json!(["classifier"])),
                flags: FLAGS,
                says: &["module `classifier` does not exist", "the modules are embed_tokens", "lm_head"],
            },
            Bad {
                name: "whole modules that are no list",
                prepare: |p| set_key(p, CONFIG, "modules_to_save", json!("lm_head")),
                flags: FLAGS,
                says: &[CONFIG, "modules_to_save is \"lm_head\"", "a list"],
            },
            Bad {
                name: "rank 0",
                prepare: |p| set_key(p, CONFIG, "r", json!(0)),
                flags: FLAGS,
                says: &[CONFIG, "r is 0", "positive"],
            },
            Bad {
                name: "another rank",
                prepare: |p| set_key(p, CONFIG, "r", json!(8)),
                flags: FLAGS,
                says: &[WEIGHTS, Q_A, "stored 4x32, expected 8x32"],
            },
            Bad {
                name: "unknown target",
                prepare: |p| set_key(p, CONFIG, "target_modules", json!(["q_proj", "c_attn"])),
                flags: FLAGS,
                says: &["adapter"],
            },
            Bad {
                name: "no targets",
                prepare: |p| set_key(p, CONFIG, "target_modules", json!([])),
                flags: FLAGS,
                says: &[CONFIG, "target_modules is []", "expected"],
            },
            Bad {
                name: "broken settings",
                prepare: |p| truncate(p, CONFIG, 500),
                flags: FLAGS,
                says: &[CONFIG, "not the JSON expected"],
            },
        ],
    )
}

/// rsLoRA's scale is alpha/√r: with r 4 the same as plain LoRA with twice the alpha.
#[test]
fn rank_stabilised_scale_is_honoured() -> Anyhow {
    let place = Place::with("llama-tied")?;
    let eval = || place.eval("--model model --adapter adapter --data rows.jsonl");
    set_key(&place, CONFIG, "use_rslora", json!(true))?;
    let stabilised = eval()?;
    set_key(&place, CONFIG, "use_rslora", json!(false))?;
    assert_ne!(stabilised["loss"], eval()?["loss"]);
    set_key(&place, CONFIG, "lora_alpha", json!(24))?;
    assert_eq!(stabilised["loss"], eval()?["loss"]);
    Ok(())
}
