//! Image models by the program: what is trained, evaluated, planned and merged, on tensors and on pictures.

use loract_testkit::golden;
use serde_json::Value;

use crate::harness::{Anyhow, Place, golden as golden_folder};
use crate::resume::{assert_same_end, interrupted};

/// Two classes that are easily told apart.
const TWO: &[(&str, u8)] = &[("dark", 20), ("light", 200)];

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[test]
fn evaluations_are_those_of_transformers_and_peft() -> Anyhow {
    for case in ["vit", "dinov2", "swin", "clip"] {
        let place = Place::with_images(case)?;
        let folder = golden_folder("vision").join(case);
        let want = golden::json(&folder.join("golden.json"));
        let logits = golden::tensors(&folder.join("golden.safetensors"));
        for (adapter, key, of) in [("--adapter adapter", "", "logits"), ("", "base_", "base_logits")] {
            let got =
                place.eval(&format!("--model model --data images.safetensors {adapter} --logits {of}.safetensors"))?;
            for (ours, theirs) in [("loss", "loss"), ("accuracy", "accuracy"), ("top5_accuracy", "top5_accuracy")] {
                let theirs = want[format!("{key}{theirs}")].as_f64().ok_or("a golden number")?;
                let ours = got[ours].as_f64().ok_or("a number")?;
                assert!((ours - theirs).abs() <= 1e-4 * theirs.abs().max(1e-3), "{case} {of}: {ours} {theirs}");
            }
            let written = golden::tensors(&place.path(&format!("{of}.safetensors")));
            assert_eq!(written["logits"].0, logits[of].0);
            let error = golden::relative_error(&written["logits"].1, &logits[of].1);
            assert!(error <= 1e-4, "{case} {of}: {error}");
            let count = |rows: &Value| -> u64 {
                rows.as_array()
                    .into_iter()
                    .flatten()
                    .flat_map(Value::as_array)
                    .flatten()
                    .filter_map(Value::as_u64)
                    .sum()
            };
            assert_eq!(count(&got["confusion"]), got["rows"].as_u64().unwrap_or(0));
        }
    }
    Ok(())
}

#[test]
fn pictures_are_learned_with_a_new_head_whose_classes_are_kept() -> Anyhow {
    let place = Place::with_images("vit")?;
    place.write_pictures("data/train", TWO, 6)?;
    place.write_pictures("data/val", TWO, 3)?;
    let outcome =
        place.trained("--data data --lr 2e-2 --steps 12 --batch-size 4 --eval-every 6 --flip --random-crop")?;
    let told = &outcome.stderr;
    assert!(told.contains("training on data/train, evaluation on data/val"), "{told}");
    assert!(told.contains("a new head for 2 classes is trained: the model's is for 7 classes"), "{told}");
    assert!(told.contains("images/s") && told.contains("12 images of 2 classes"), "{told}");
    assert_eq!(place.json("out/labels.json")?["id2label"], serde_json::json!({ "0": "dark", "1": "light" }));
    let lines = place.lines("out/metrics.jsonl")?;
    assert_eq!(lines[0]["tokens"], 4 * 26);
    let report = place.json("out/report.json")?;
    assert_eq!(report["evaluation"]["accuracy"], 1.0, "{}", report["evaluation"]);
    assert_eq!(report["evaluation"]["confusion"], serde_json::json!([[3, 0], [0, 3]]));
    let card = place.text("out/README.md")?;
    assert!(card.contains("AutoModelForImageClassification") && card.contains("num_labels=2"), "{card}");
    assert!(card.contains("pipeline_tag: image-classification\n"), "{card}");
    let config = place.json("out/adapter_config.json")?;
    assert_eq!((&config["task_type"], &config["modules_to_save"]), (&Value::Null, &serde_json::json!(["classifier"])));

    // Another time the classes come from the adapter, whatever the order of folders and whether all are there.
    place.copy("data/val/light", "light-only/light")?;
    for (data, images) in [("data", 6), ("light-only", 3)] {
        let got = place.eval(&format!("--model model --adapter out --data {data} --confusion {data}.svg"))?;
        assert_eq!((&got["accuracy"], &got["rows"]), (&1.0.into(), &images.into()));
        let svg = place.text(&format!("{data}.svg"))?;
        assert!(svg.contains("dark") && svg.contains(&format!("{images} images, accuracy 1.0000")), "{svg}");
    }
    let html = place.run("report out --out page.html")?;
    assert_eq!(html.code, Some(0), "{}", html.told());
    assert!(place.text("page.html")?.contains("6 images, top-5 1.0000"));

    let merged = place.run("merge --model model --adapter out --out merged --threads 1")?;
    assert!(merged.code == Some(0) && merged.stdout.contains("random images"), "{}", merged.told());
    let config = place.json("merged/config.json")?;
    assert_eq!(config["id2label"], serde_json::json!({ "0": "dark", "1": "light" }));
    let [want, got] =
        ["--model model --adapter out", "--model merged"].map(|model| place.eval(&format!("{model} --data data")));
    let [want, got] = [want?, got?].map(|found| found["loss"].as_f64().unwrap_or(f64::NAN));
    assert!((want - got).abs() <= 1e-4 * want, "{want} {got}");
    Ok(())
}

#[test]
fn a_head_for_the_same_classes_is_kept_by_name_or_number() -> Anyhow {
    let place = Place::with_images("vit")?;
    // Under other numbers: the folders are sorted, as the model's names are not all.
    let config =
        place.text("model/config.json")?.replace("ankle boot", "trouser2").replace("\"trouser\"", "\"ankle boot\"");
    place.write("model/config.json", config.replace("trouser2", "trouser"))?;
    let names = ["ankle boot", "bag", "coat", "dress", "sandal", "shirt", "trouser"];
    let classes: Vec<_> = names.iter().zip(0..).map(|(name, class)| (*name, 30 * class)).collect();
    place.write_pictures("pictures", &classes, 1)?;
    for data in ["pictures", "images.safetensors"] {
        let outcome = place
            .trained(&format!("--data {data} --no-shuffle --batch-size 7 --steps 1 --lr 1e-9 --eval-data {data}"))?;
        assert!(!outcome.stderr.contains("a new head"), "{}", outcome.told());
        let base = place.eval(&format!("--model model --data {data}"))?["loss"].as_f64().ok_or("a loss")?;
        // Labels are numbered alike in training and in evaluation.
        let report = place.json("out/report.json")?;
        let losses = [&report["evaluation"]["loss"], &place.lines("out/metrics.jsonl")?[0]["loss"]]
            .map(|loss| loss.as_f64().unwrap_or(f64::NAN));
        assert!((losses[0] - base).abs() <= 1e-4 * base, "{data}: {losses:?} {base}");
        assert!(data != "pictures" || (losses[1] - base).abs() <= 1e-4 * base, "{data}: {losses:?} {base}");
        std::fs::remove_dir_all(place.path("out"))?;
    }
    Ok(())
}

#[test]
fn a_resumed_run_ends_as_one_that_was_never_interrupted() -> Anyhow {
    let place = Place::with_images("vit")?;
    place.write_pictures("data/train", TWO, 5)?;
    place.write_pictures("data/valid", TWO, 2)?;
    for (case, flags) in [
        "--data data --activations loract --flip --random-crop --batch-size 3 --eval-every 2",
        "--data data --activations loract-paper --warm-start reuse --grad-accum 2 --image-size 24x16 --lora-dropout 0.1",
        "--data images.safetensors --activations exact --adapter adapter --audit-every 2",
        "--data data --fine-tune-type full --activations checkpoint --eval-every 1",
        "--data data --fine-tune-type head --activations loract-layer",
    ]
    .into_iter()
    .enumerate()
    {
        let whole = format!("whole{case}");
        let flags = format!("{flags} --steps 5 --save-every 1 --keep-checkpoints 9 --lr 1e-2");
        place.trained(&format!("{flags} --out {whole}"))?;
        for step in [1, 4] {
            let out = format!("part{case}-{step}");
            interrupted(&place, &whole, step, &out)?;
            place.trained(&format!("{flags} --out {out} --resume"))?;
            assert_same_end(&place, &whole, &out)?;
        }
    }
    let outcome = place.train(
        "--data data --activations loract --random-crop --batch-size 3 --steps 5 --lr 1e-2 --out part0-1 --resume",
    )?;
    assert!(
        outcome.code == Some(2) && outcome.stderr.contains("flip was true, is now not given"),
        "{}",
        outcome.told()
    );
    Ok(())
}

#[test]
fn a_plan_is_what_training_reports() -> Anyhow {
    for case in ["vit", "swin"] {
        let place = Place::with_images(case)?;
        let planned =
            place.run("plan --model model --batch-size 2 --lora-rank 2 --threads 1 --memory-limit 100GB --json")?;
        assert_eq!(planned.code, Some(0), "{}", planned.stderr);
        let planned: Value = serde_json::from_str(&planned.stdout)?;
        for plan in planned["presets"].as_array().ok_or("presets")? {
            let preset = text(&plan["activations"]);
            assert_eq!(plan["most_images"], 1024);
            place.trained(&format!("--data images.safetensors --activations {preset} --out {preset}"))?;
            let report = place.json(&format!("{preset}/report.json"))?;
            for key in ["saved_bytes", "saved", "peak_activation_bytes", "peak_op"] {
                assert_eq!(report["memory"][key], report["planned"][key], "{case} {preset} {key}");
                assert_eq!(report["memory"][key], plan["memory"][key], "{case} {preset} {key}");
            }
        }
    }
    Ok(())
}

#[test]
fn activations_are_seen_at_every_place_of_a_layer() -> Anyhow {
    for (case, width, gated) in [("vit", 24, false), ("dinov2-swiglu", 16, true), ("swin", 8, false)] {
        let place = Place::with_images(case)?;
        let words =
            "inspect activations --model model --data images.safetensors --rows 6 --layers all --json --threads 1";
        let outcome = place.run(&format!("{words} --save seen.safetensors"))?;
        assert_eq!(outcome.code, Some(0), "{}", outcome.told());
        let found: Value = serde_json::from_str(&outcome.stdout)?;
        let want = place.eval("--model model --data images.safetensors")?["loss"].as_f64().ok_or("a loss")?;
        let loss = found["loss"].as_f64().ok_or("a loss")?;
        assert!((loss - want).abs() <= 1e-5 * want, "{case}: {loss} {want}");
        let seen = golden::tensors(&place.path("seen.safetensors"));
        let places =
            ["norm.attn", "attn_qkv.q", "attn_qkv.k", "attn_qkv.v", "attn_out", "norm.mlp", "act_fn.up", "mlp_out"];
        for name in places.iter().copied().chain(gated.then_some("act_fn.gate")) {
            let (shape, _) = seen.get(&format!("layer1.{name}")).ok_or_else(|| format!("{case}: no {name}"))?;
            assert!(
                shape[0] >= 6 && (shape[1] == width) != (name.starts_with("act_fn") || name == "mlp_out"),
                "{case} {name}: {shape:?}"
            );
        }
        // Nothing is below the first norm of all.
        assert!(seen.contains_key("layer0.attn_in") && !seen.contains_key("layer0.norm.attn"), "{case}");
        assert!(!seen.keys().any(|name| name.contains("mlp_after") || name.contains("q_norm")), "{case}");
    }
    Ok(())
}

/// Numbers that stand for nothing known are classes of their own, but in tensors, which are taken as they are.
#[test]
fn numbered_classes_get_a_new_head_where_the_models_has_names() -> Anyhow {
    let place = Place::with_images("vit")?;
    let mut images = vec![0, 0, 8, 3, 0, 0, 0, 7, 0, 0, 0, 20, 0, 0, 0, 20];
    images.extend((0..7 * 400).map(|i| (i % 251) as u8));
    place.write("x-images-idx3-ubyte", images)?;
    place.write("x-labels-idx1-ubyte", [0, 0, 8, 1, 0, 0, 0, 7, 0, 1, 2, 3, 4, 5, 6])?;
    let told = place.trained("--data x-images-idx3-ubyte --out idx")?.stderr;
    assert!(told.contains("a new head for 7 classes is trained"), "{told}");
    assert_eq!(place.json("idx/labels.json")?["id2label"]["3"], "3");
    let told = place.trained("--data images.safetensors --out tensors")?.stderr;
    assert!(!told.contains("a new head"), "{told}");
    assert_eq!(place.json("tensors/labels.json")?["id2label"]["3"], "dress");
    Ok(())
}

#[test]
fn another_size_of_images_goes_into_the_tuned_model() -> Anyhow {
    let place = Place::with_images("vit")?;
    place.write_pictures("data/train", TWO, 4)?;
    place.trained("--data data --fine-tune-type full --image-size 24x16 --lr 1e-3")?;
    assert_eq!(place.lines("out/metrics.jsonl")?[0]["tokens"], 2 * (1 + 6 * 4));
    assert!(place.text("out/config.toml")?.contains("image_size = \"24x16\"\n"));
    let size = place.json("out/preprocessor_config.json")?;
    assert_eq!(size["size"], serde_json::json!({ "height": 24, "width": 16 }));
    assert_eq!(place.json("out/config.json")?["image_size"], serde_json::json!([24, 16]));
    // It takes such images without being told.
    let want = place.eval("--model out --data data/train")?;
    assert_eq!(place.eval("--model out --data data/train --image-size 24x16")?, want);
    assert_ne!(place.eval("--model out --data data/train --image-size 20")?["loss"], want["loss"]);
    Ok(())
}

/// Pictures so large that decoding them is nearly all there is to do.
#[test]
fn the_wait_for_pictures_is_part_of_a_step() -> Anyhow {
    let place = Place::with_images("vit")?;
    place.write_large_picture("data/dark/0.png", 1500)?;
    place.write_large_picture("data/light/0.png", 1500)?;
    place.trained("--data data --steps 3 --batch-size 2")?;
    let steps: f64 = place.lines("out/metrics.jsonl")?.iter().filter_map(|line| line["seconds"].as_f64()).sum();
    let wall = place.json("out/report.json")?["wall_seconds"].as_f64().ok_or("a time")?;
    assert!(steps > 0.5 * wall, "{steps} of {wall} s");
    Ok(())
}

#[test]
fn steps_are_measured_as_they_are_trained() -> Anyhow {
    let place = Place::with_images("vit")?;
    let bench =
        |flags: &str| place.run(&format!("bench step --model model --threads 1 --rounds 1 --batch-size 2 {flags}"));
    for (flags, says) in [
        ("--seq-len 8", "seq-len: belongs to text"),
        ("--activations loract --rank 99", "rank: 99 is above the 24 features"),
        ("--flip", "flip: belongs to pictures"),
        ("--skip-broken", "skip-broken: belongs to pictures"),
    ] {
        assert_eq!(bench(flags)?.complaint(2, &[says]), None, "{flags}");
    }
    let found = |flags: &str| -> Anyhow<Value> {
        let outcome = bench(&format!("--json {flags}"))?;
        if outcome.code != Some(0) {
            return Err(outcome.told().into());
        }
        Ok(serde_json::from_str(&outcome.stdout)?)
    };
    assert_eq!(
        found("--activations exact --adapter adapter")?["lora_rank"],
        place.json("adapter/adapter_config.json")?["r"]
    );
    assert_eq!(found("--activations exact --image-size 24x16")?["tokens"], 2 * (1 + 6 * 4));
    // The head is trained beside a module that is named.
    place.trained("--data images.safetensors --modules-to-save layernorm --lora-rank 16 --steps 1")?;
    let trained = place.json("out/report.json")?["memory"]["saved_bytes"].clone();
    let measured = found("--activations exact --modules-to-save layernorm")?;
    assert_eq!(measured["settings"][0]["saved_bytes"], trained);
    std::fs::remove_file(place.path("model/model.safetensors"))?;
    assert_eq!(found("--activations exact --image-size 24x16")?["tokens"], 2 * (1 + 6 * 4));
    assert_eq!(bench("--seq-len 8")?.complaint(2, &["seq-len: belongs to text"]), None);
    let text = Place::with("llama-tied")?;
    let outcome = text.run("bench step --model model --threads 1 --image-size 24")?;
    assert_eq!(outcome.complaint(2, &["image-size: belongs to image models"]), None);
    Ok(())
}
