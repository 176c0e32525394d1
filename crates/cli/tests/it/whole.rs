//! What is trained as a whole: every weight, the head, modules beside LoRA pairs.

use std::collections::BTreeMap;

use loract_testkit::golden::tensors;

use crate::harness::{Anyhow, Place};

/// Shape and numbers by name.
type Weights = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

const RUN: &str = "--steps 4 --batch-size 6 --lr 1e-2 --eval-data rows.jsonl";

/// Trains, and evaluates what it left: the loss is the one that the run told.
fn trained(place: &Place, out: &str, flags: &str, evaluated: &str) -> Anyhow {
    place.trained(&format!("{RUN} --out {out} {flags}"))?;
    let report = place.json(&format!("{out}/report.json"))?;
    let told = report["evaluation"]["loss"].as_f64().ok_or("no loss")?;
    let found = place.eval(&format!("{evaluated} --data rows.jsonl"))?["loss"].as_f64().ok_or("no loss")?;
    assert!((told - found).abs() <= 1e-6 * told, "{out}: {told} {found}");
    let [first, last] = ["first_loss", "last_loss"].map(|key| report[key].as_f64().unwrap_or(f64::NAN));
    assert!(last < first, "{out}: {first} {last}");
    Ok(())
}

fn weights(place: &Place, file: &str) -> Weights {
    tensors(&place.path(file)).into_iter().collect()
}

/// Names of tensors that are not those of `base`.
fn differing(base: &Weights, now: &Weights) -> Vec<String> {
    now.iter().filter(|(name, tensor)| base.get(*name) != Some(tensor)).map(|(name, _)| name.clone()).collect()
}

#[test]
fn full_fine_tuning_leaves_a_model_of_which_every_tensor_has_changed() -> Anyhow {
    let place = Place::with("llama-tied")?;
    trained(&place, "out", "--fine-tune-type full", "--model out")?;
    let (base, now) = (weights(&place, "model/model.safetensors"), weights(&place, "out/model.safetensors"));
    assert_eq!(now.keys().collect::<Vec<_>>(), base.keys().collect::<Vec<_>>());
    assert_eq!(differing(&base, &now).len(), base.len());
    let config = place.json("out/config.json")?;
    assert_eq!((&config["dtype"], &config["tie_word_embeddings"]), (&"float32".into(), &true.into()));
    assert!(!place.path("out/adapter_config.json").exists());
    Ok(())
}

#[test]
fn the_head_alone_becomes_one_of_its_own() -> Anyhow {
    let place = Place::with("llama-tied")?;
    trained(&place, "out", "--fine-tune-type head", "--model out")?;
    let (base, now) = (weights(&place, "model/model.safetensors"), weights(&place, "out/model.safetensors"));
    assert_eq!(differing(&base, &now), ["lm_head.weight"]);
    assert_eq!(place.json("out/config.json")?["tie_word_embeddings"], false);
    Ok(())
}

#[test]
fn modules_are_trained_beside_the_pairs_and_stored_with_them() -> Anyhow {
    let place = Place::with("llama-tied")?;
    let flags = "--lora-targets q_proj,v_proj --modules-to-save lm_head,model.norm";
    trained(&place, "out", flags, "--model model --adapter out")?;
    let stored = weights(&place, "out/adapter_model.safetensors");
    let whole: Vec<_> = stored.keys().filter(|name| !name.contains("lora_")).collect();
    assert_eq!(whole, ["base_model.model.lm_head.weight", "base_model.model.model.norm.weight"]);
    let modules = &place.json("out/adapter_config.json")?["modules_to_save"];
    assert_eq!(*modules, serde_json::json!(["lm_head", "model.norm"]));
    // It can be started from.
    place.trained(&format!("{RUN} --out more --adapter out"))?;
    assert_ne!(weights(&place, "more/adapter_model.safetensors"), stored);
    for (flags, says) in [
        ("--modules-to-save score", "module `score` does not exist; the modules are embed_tokens"),
        ("--modules-to-save q_proj", "is in modules-to-save and among the LoRA targets"),
    ] {
        assert_eq!(place.train(&format!("--out no {flags}"))?.complaint(2, &[says]), None);
    }
    Ok(())
}

#[test]
fn a_tuned_model_replaces_neither_its_own_nor_lies_with_an_adapter() -> Anyhow {
    let place = Place::with("llama-tied")?;
    place.trained("--out run")?;
    let before = place.files(".")?;
    for (out, says) in [("model", "model holds the model itself"), ("run", "run holds an adapter of an earlier run")] {
        let outcome = place.train(&format!("--out {out} --fine-tune-type full"))?;
        assert_eq!(outcome.complaint(2, &[says, "give another --out"]), None);
    }
    assert!(place.files(".")? == before);
    Ok(())
}

/// A model from a GGUF file is left as a folder that has all of it.
#[test]
fn a_gguf_file_becomes_a_folder() -> Anyhow {
    let place = Place::with_tokenizer()?;
    let row = r#"{"messages":[{"role":"user","content":"the cat"},{"role":"assistant","content":"and 12"}]}"#;
    place.write("chat.jsonl", row)?;
    place.trained("--model llama.gguf --data chat.jsonl --batch-size 1 --fine-tune-type full --lr 1e-9")?;
    for name in ["config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"] {
        assert!(place.path("out").join(name).is_file(), "{name}");
    }
    // Hardly trained, it reads the conversation and judges it as before.
    let [before, after] = ["llama.gguf", "out"].map(|model| place.eval(&format!("--model {model} --data chat.jsonl")));
    let (before, after) = (before?, after?);
    assert_eq!(before["tokens"], after["tokens"]);
    let [before, after] = [before, after].map(|found| found["loss"].as_f64().unwrap_or(f64::NAN));
    assert!((before - after).abs() < 1e-5, "{before} {after}");
    Ok(())
}
