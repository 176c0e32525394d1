//! What an image model is not to be had for, and what is wrong with pictures.

use crate::harness::{Anyhow, Place};

const TWO: &[(&str, u8)] = &[("dark", 20), ("light", 200)];

#[test]
fn flags_of_text_and_of_images_are_told_apart() -> Anyhow {
    let place = Place::with_images("vit")?;
    for (flags, says) in [
        ("--seq-len 8", "seq-len: belongs to text"),
        ("--packing --seq-len 8", "seq-len: belongs to text"),
        ("--train-on all", "train-on: belongs to text"),
        ("--chat-date 2026-01-01", "chat-date: belongs to text"),
        ("--image-size 0", "image-size: `0` is no size; expected 224"),
        ("--image-size 2", "patch"),
        ("--image-size 24", "pixel_values hold pictures of 3x20x20"),
        ("--flip", "pixel_values are taken as they are"),
        ("--activations loract --rank 99", "rank: 99 is above the 24 features"),
        ("--data nothing", "nothing"),
        ("--lora-targets lm_head", "LoRA target `lm_head` matches no layer"),
        ("--memory-limit 1B", "a smaller --image-size"),
    ] {
        let data = if flags.contains("--data") { "" } else { "--data images.safetensors" };
        assert_eq!(place.train(&format!("{data} {flags}"))?.complaint(2, &[says]), None, "{flags}");
        assert!(!place.path("out").exists(), "{flags}");
    }
    let eval = |flags: &str| place.run(&format!("eval --model model --data images.safetensors {flags}"));
    assert_eq!(eval("--seq-len 9")?.complaint(2, &["seq-len: belongs to text"]), None);
    let text = Place::with("llama-tied")?;
    for (flags, says) in [
        ("--image-size 20", "image-size: belongs to image models"),
        ("--flip", "flip: belongs to image models"),
        ("--random-crop", "random-crop: belongs to image models"),
        ("--skip-broken", "skip-broken: belongs to image models"),
    ] {
        assert_eq!(text.train(flags)?.complaint(2, &[says]), None);
    }
    for flags in ["--confusion c.svg", "--logits l.safetensors", "--image-size 9"] {
        let outcome = text.run(&format!("eval --model model --data rows.jsonl {flags}"))?;
        assert_eq!(outcome.complaint(2, &["belongs to image models"]), None);
    }
    Ok(())
}

#[test]
fn what_is_of_text_is_refused_by_name_with_the_next_step() -> Anyhow {
    let place = Place::with_images("vit")?;
    for (words, says) in [
        ("generate --model model --prompt x", "loract eval --logits"),
        ("chat --model model", "loract eval --logits"),
        ("export --model model --out x.gguf", "loract merge"),
        ("inspect data --model model --data images.safetensors", "loract train"),
    ] {
        let outcome = place.run(words)?;
        assert_eq!(outcome.complaint(2, &["model is an image model (vit)", says]), None);
    }
    let outcome =
        place.run("inspect gradients --model model --data images.safetensors --batch-size 4 --threads 1 --json")?;
    assert_eq!(outcome.code, Some(0), "{}", outcome.told());
    let found: serde_json::Value = serde_json::from_str(&outcome.stdout)?;
    assert!(found["whole"]["cosine"].as_f64().is_some_and(|cosine| cosine > 0.9), "{found}");
    Ok(())
}

#[test]
fn broken_pictures_are_named_or_left_out() -> Anyhow {
    let place = Place::with_images("vit")?;
    place.write_pictures("data", TWO, 3)?;
    let whole = place.read("data/dark/00.png")?;
    place.write("data/dark/01.png", &whole[..whole.len() / 2])?;
    let outcome = place.train("--data data --batch-size 6 --steps 1")?;
    assert!(outcome.code == Some(2) && outcome.stderr.contains("data/dark/01.png: "), "{}", outcome.told());
    assert!(outcome.stderr.contains("--skip-broken"), "{}", outcome.told());
    let outcome = place.trained("--data data --batch-size 5 --skip-broken --out skipped")?;
    assert!(outcome.stderr.contains("warning: 1 broken pictures of data are left out"), "{}", outcome.told());
    assert!(outcome.stderr.contains("(5 images of 2 classes)"), "{}", outcome.told());
    let outcome = place.run("eval --model model --adapter skipped --data data --skip-broken --threads 1 --json")?;
    let found: serde_json::Value = serde_json::from_str(&outcome.stdout)?;
    assert_eq!(found["rows"], 5, "{}", outcome.told());
    let outcome = place.run("eval --model model --adapter skipped --data data --threads 1")?;
    assert_eq!(outcome.complaint(2, &["data/dark/01.png"]), None);
    Ok(())
}

#[test]
fn labels_that_are_missing_or_of_other_classes_are_told() -> Anyhow {
    let place = Place::with_images("vit")?;
    place.write_pictures("data", TWO, 2)?;
    place.copy("data/dark", "flat")?;
    let unlabelled = place.train("--data flat")?;
    assert_eq!(unlabelled.complaint(2, &["00.png has no label", "folder of its name"]), None);
    let eval = |flags: &str| place.run(&format!("eval --model model --threads 1 {flags}"));
    assert_eq!(eval("--data flat")?.complaint(2, &["has no label"]), None);
    let outcome = eval("--data flat --logits l.safetensors --json")?;
    assert_eq!(outcome.code, Some(0), "{}", outcome.told());
    let logits = loract_testkit::golden::tensors(&place.path("l.safetensors"));
    assert_eq!(logits["logits"].0, [2, 7]);
    assert_eq!(eval("--data data")?.complaint(2, &["it has a class \"dark\", which is none of 7: ankle boot"]), None);
    place.trained("--data data --out two")?;
    place.write_pictures("others", &[("dark", 3), ("green", 90)], 2)?;
    let other = place.train("--data others --adapter two --out other")?;
    assert_eq!(other.complaint(2, &["adapter: the head", "2 classes (dark, light)", "(dark, green)"]), None);
    assert_eq!(
        Place::with_images("vit-base-only")?
            .run("eval --model model --data images.safetensors")?
            .complaint(2, &["has no head for classes"]),
        None
    );
    Ok(())
}

#[test]
fn a_run_that_met_a_broken_picture_goes_on_when_it_is_whole() -> Anyhow {
    let place = Place::with_images("vit")?;
    place.write_pictures("data", TWO, 4)?;
    let flags = "--data data --steps 4 --no-shuffle --lr 1e-2";
    place.trained(&format!("{flags} --out whole"))?;
    let whole = place.read("data/light/01.png")?;
    place.write("data/light/01.png", &whole[..whole.len() / 2])?;
    let outcome = place.train(flags)?;
    assert!(outcome.code == Some(2) && outcome.stderr.contains("light/01.png: damaged"), "{}", outcome.told());
    assert!(
        outcome.stderr.contains("the run ends after step 2 of 4; all of it is in out/checkpoint-2"),
        "{}",
        outcome.told()
    );
    assert!(outcome.stderr.contains("of a new run"), "{}", outcome.told());
    place.write("data/light/01.png", whole)?;
    place.trained(&format!("{flags} --resume"))?;
    crate::resume::assert_same_end(&place, "whole", "out")
}

#[test]
fn a_run_does_not_go_on_with_pictures_prepared_otherwise() -> Anyhow {
    let place = Place::with_images("vit")?;
    place.write_pictures("data", TWO, 4)?;
    let flags = "--data data --steps 4 --save-every 2";
    place.trained(&format!("{flags} --out whole"))?;
    crate::resume::interrupted(&place, "whole", 2, "out")?;
    let mut processor = place.json("model/preprocessor_config.json")?;
    processor["image_mean"] = serde_json::json!([0.1, 0.2, 0.3]);
    place.write("model/preprocessor_config.json", processor.to_string())?;
    let outcome = place.train(&format!("{flags} --resume"))?;
    assert_eq!(outcome.complaint(2, &["contents of data was 8 pictures", "preprocessor_config.json"]), None);
    Ok(())
}

#[test]
fn outputs_of_an_evaluation_are_looked_at_first() -> Anyhow {
    let place = Place::with_images("vit")?;
    place.write_pictures("data", &[("bag", 20)], 2)?;
    place.copy("data/bag", "flat")?;
    for (flags, says) in [
        ("--data data --confusion no/dir/c.svg", "confusion: there is no folder no/dir"),
        ("--data data --logits no/l.safetensors", "logits: there is no folder no"),
        ("--data data --logits model", "logits: model is a folder"),
        ("--data flat --logits l.safetensors --confusion c.svg", "confusion: the pictures have no labels"),
    ] {
        let outcome = place.run(&format!("eval --model model --threads 1 {flags}"))?;
        assert_eq!(outcome.complaint(2, &[says]), None, "{flags}");
        assert!(!place.path("l.safetensors").exists(), "{flags}");
    }
    Ok(())
}

#[test]
fn what_needs_no_data_looks_at_none() -> Anyhow {
    let place = Place::with_images("vit")?;
    for folder in ["test", "train", "train.parquet"] {
        place.write_pictures(folder, TWO, 1)?;
    }
    for words in
        ["plan --model model --threads 1", "bench step --model model --threads 1 --rounds 1 --activations exact"]
    {
        let outcome = place.run(words)?;
        assert_eq!(outcome.code, Some(0), "{}", outcome.told());
    }
    Ok(())
}
