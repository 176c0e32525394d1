//! `loract merge`: what comes out is the model with its adapter, and nothing is written over.

use crate::harness::{Anyhow, Place};

#[test]
fn a_merged_model_evaluates_as_its_adapter() -> Anyhow {
    for (kind, flags, within) in [
        ("", "", 1e-5),
        ("--dora", "--shard-size 20KB", 1e-5),
        ("", "--dtype bf16", 5e-3),
        ("--modules-to-save norm", "--dtype f16", 2e-3),
    ] {
        let place = Place::with_run(kind)?;
        let want = place.loss("--model model --adapter run")?;
        let outcome = place.run(&format!("merge --model model --adapter run --out merged {flags}"))?;
        assert!(outcome.code == Some(0) && outcome.stdout.contains("relative error"), "{}", outcome.told());
        let card = place.text("merged/README.md")?;
        assert!(card.contains("base_model: \"model\"\n") && card.contains("with the adapter `run` added"), "{card}");
        let got = place.loss("--model merged")?;
        assert!((got - want).abs() <= within * want, "{kind} {flags}: {got} {want}");
        let base = place.loss("--model model")?;
        assert!((base - want).abs() > 3.0 * within * want, "{kind} {flags}: the adapter makes no difference");
        assert_eq!(place.path("merged/model.safetensors.index.json").exists(), flags.contains("shard"));
    }
    Ok(())
}

#[test]
fn what_cannot_be_merged_is_refused_and_nothing_is_written() -> Anyhow {
    let place = Place::with_run("")?;
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
