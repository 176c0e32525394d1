//! `loract merge`: what comes out is the model with its adapter, and nothing is written over.

use crate::harness::{Anyhow, Place};

/// A place with a model and an adapter trained on it.
fn with_adapter(flags: &str) -> Anyhow<Place> {
    let place = Place::with("llama-tied")?;
    place.trained(&format!("--out run --steps 12 --lr 5e-2 {flags}"))?;
    Ok(place)
}

fn loss(place: &Place, flags: &str) -> Anyhow<f64> {
    place.eval(&format!("{flags} --data rows.jsonl"))?["loss"].as_f64().ok_or_else(|| "no loss".into())
}

#[test]
fn a_merged_model_evaluates_as_its_adapter() -> Anyhow {
    for (kind, flags, within) in [
        ("", "", 1e-5),
        ("--dora", "--shard-size 20KB", 1e-5),
        ("", "--dtype bf16", 5e-3),
        ("--modules-to-save norm", "--dtype f16", 2e-3),
    ] {
        let place = with_adapter(kind)?;
        let want = loss(&place, "--model model --adapter run")?;
        let outcome = place.run(&format!("merge --model model --adapter run --out merged {flags}"))?;
        assert!(outcome.code == Some(0) && outcome.stdout.contains("relative error"), "{}", outcome.told());
        let card = place.text("merged/README.md")?;
        assert!(card.contains("base_model: \"model\"\n") && card.contains("with the adapter `run` added"), "{card}");
        let got = loss(&place, "--model merged")?;
        assert!((got - want).abs() <= within * want, "{kind} {flags}: {got} {want}");
        let base = loss(&place, "--model model")?;
        assert!((base - want).abs() > 3.0 * within * want, "{kind} {flags}: the adapter makes no difference");
        assert_eq!(place.path("merged/model.safetensors.index.json").exists(), flags.contains("shard"));
    }
    Ok(())
}

#[test]
fn what_cannot_be_merged_is_refused_and_nothing_is_written() -> Anyhow {
    let place = with_adapter("")?;
    let before = place.files(".")?;
    for (words, says) in [
        ("--model model --adapter run --out run", "out: run is not empty"),
        ("--model model --adapter run --out model/config.json", "is a file"),
        ("--model model --adapter model --out new", "adapter_config.json"),
        ("--model model --adapter run --out new --dtype int8", "dtype: `int8` is none of f32, bf16, f16"),
        ("--model model --adapter run --out new --shard-size big", "shard-size: `big` is not a size"),
        ("--model nothing --adapter run --out new", "nothing"),
    ] {
        assert_eq!(place.run(&format!("merge {words}"))?.complaint(2, &[says]), None);
    }
    assert!(place.files(".")? == before);
    Ok(())
}
