//! `loract export`: the file is the model with its adapter, or the adapter; nothing is written over, nothing half is left.

use loract_models::weights::gguf::Gguf;

use crate::harness::{Anyhow, Place};

#[test]
fn an_exported_model_evaluates_as_its_adapter() -> Anyhow {
    let place = Place::with_run("")?;
    let want = place.loss("--model model --adapter run")?;
    let base = place.loss("--model model")?;
    for (flags, within) in [("--dtype f32", 1e-5), ("", 2e-3), ("--dtype bf16", 1e-2), ("--dtype q8_0", 2e-2)] {
        let out = format!("model{}.gguf", flags.replace("--dtype ", "-"));
        let outcome = place.run(&format!("export --model model --adapter run --out {out} {flags}"))?;
        assert!(outcome.code == Some(0) && outcome.stdout.contains("relative error"), "{}", outcome.told());
        assert!(outcome.stderr.contains("no tokenizer"), "{}", outcome.told());
        let got = place.loss(&format!("--model {out}"))?;
        assert!((got - want).abs() <= within * want, "{flags}: {got} {want}");
        assert!((base - want).abs() > 3.0 * within * want, "{flags}: the adapter makes no difference");
    }
    // From one GGUF file to another, without an adapter.
    let outcome = place.run("export --model model-f32.gguf --out again.gguf --dtype f32")?;
    assert!(outcome.code == Some(0) && outcome.stderr.is_empty(), "{}", outcome.told());
    assert!((place.loss("--model again.gguf")? - want).abs() <= 1e-5 * want);
    Ok(())
}

#[test]
fn an_adapter_alone_is_the_pairs() -> Anyhow {
    let place = Place::with_run("")?;
    let outcome = place.run("export --model model --adapter run --adapter-only --out adapter.gguf")?;
    assert!(outcome.code == Some(0) && outcome.stdout.contains("adapter exported"), "{}", outcome.told());
    let gguf = Gguf::open(&place.path("adapter.gguf"))?;
    assert_eq!(gguf.metadata().text("general.type")?, Some("adapter"));
    assert!(gguf.names().count() == 2 * 7 * 2 && gguf.names().all(|name| name.contains(".weight.lora_")));
    for kind in ["--dora", "--modules-to-save norm"] {
        let place = Place::with_run(kind)?;
        let outcome = place.run("export --model model --adapter run --adapter-only --out adapter.gguf")?;
        assert_eq!(outcome.complaint(2, &["adapter_config.json", "export the merged model"]), None);
        assert!(!place.path("adapter.gguf").exists());
        let outcome = place.run("export --model model --adapter run --out model.gguf --dtype f32")?;
        assert_eq!(outcome.code, Some(0), "{}", outcome.told());
        let want = place.loss("--model model --adapter run")?;
        assert!((place.loss("--model model.gguf")? - want).abs() <= 1e-5 * want, "{kind}");
    }
    Ok(())
}

#[test]
fn what_cannot_be_exported_is_refused_and_nothing_is_written() -> Anyhow {
    let place = Place::with_run("")?;
    place.write("there.gguf", b"mine")?;
    let before = place.files(".")?;
    for (words, says) in [
        ("--model model --adapter run --out there.gguf", "out: there.gguf is there already"),
        ("--model there.gguf --out there.gguf", "out: there.gguf is there already"),
        ("--model model --adapter run --out new.bin", "does not end in .gguf"),
        ("--model model --adapter run --out nowhere/new.gguf", "nowhere is no folder"),
        ("--model model --adapter model --out new.gguf", "adapter_config.json"),
        (
            "--model model --adapter run --out new.gguf --dtype q4_k",
            "dtype: `q4_k` is none of f16, bf16, f32, q8_0, q4_0",
        ),
        ("--model model --adapter run --adapter-only --out new.gguf --dtype q8_0", "take f32, f16 or bf16"),
        ("--model model --adapter-only --out new.gguf", "--adapter <ADAPTER>"),
        ("--model nothing --adapter run --out new.gguf", "nothing"),
    ] {
        assert_eq!(place.run(&format!("export {words}"))?.complaint(2, &[says]), None);
    }
    assert!(place.files(".")? == before);
    Ok(())
}

#[test]
fn a_file_that_does_not_agree_is_removed() -> Anyhow {
    let place = Place::with("llama-tied")?;
    let mut weights = place.read("model/model.safetensors")?;
    // The last number of the last v_proj, before the 32 of the final norm: beyond f16, not beyond the others.
    let at = weights.len() - 4 * 33;
    weights[at..at + 4].copy_from_slice(&1e6f32.to_le_bytes());
    place.write("model/model.safetensors", weights)?;
    let outcome = place.run("export --model model --out new.gguf")?;
    assert_eq!(outcome.complaint(2, &["dtype: stored as F16", "take bf16"]), None);
    assert!(!place.path("new.gguf").exists());
    let outcome = place.run("export --model model --out new.gguf --dtype f32")?;
    assert!(outcome.code == Some(0) && place.path("new.gguf").exists(), "{}", outcome.told());
    Ok(())
}

#[cfg(unix)]
#[test]
fn a_full_disk_leaves_no_file_under_the_name() -> Anyhow {
    let place = Place::with("llama-tied")?;
    for blocks in [0, 8, 64] {
        let outcome =
            place.run_after(&format!("trap '' XFSZ; ulimit -f {blocks}"), "export --model model --out new.gguf")?;
        assert_eq!(outcome.complaint(1, &["new.gguf"]), None);
        assert!(!place.path("new.gguf").exists());
    }
    let outcome = place.run("export --model model --out new.gguf")?;
    assert!(outcome.code == Some(0) && place.path("new.gguf").exists(), "{}", outcome.told());
    Ok(())
}

#[test]
fn families_of_other_architectures_are_exported() -> Anyhow {
    let families =
        [("qwen2", "qwen2"), ("qwen3", "qwen3"), ("mistral-window", "llama"), ("phi3", "phi3"), ("olmo2", "olmo2")];
    for (family, architecture) in families {
        let place = Place::with(family)?;
        let want = place.loss("--model model --adapter adapter")?;
        let outcome = place.run("export --model model --adapter adapter --out out.gguf --dtype f32")?;
        assert!(outcome.code == Some(0) && outcome.stdout.contains("relative error"), "{}", outcome.told());
        let got = place.loss("--model out.gguf")?;
        assert!((got - want).abs() <= 1e-5 * want, "{family}: {got} {want}");
        let outcome = place.run("export --model model --adapter adapter --adapter-only --out adapter.gguf")?;
        assert!(outcome.code == Some(0) && outcome.stdout.contains("adapter exported"), "{}", outcome.told());
        for file in ["out.gguf", "adapter.gguf"] {
            let gguf = Gguf::open(&place.path(file))?;
            assert_eq!(gguf.metadata().text("general.architecture")?, Some(architecture), "{family}: {file}");
        }
    }
    Ok(())
}

#[test]
fn what_a_gguf_file_cannot_say_is_refused() -> Anyhow {
    for (family, says) in [
        ("helium", "model_type helium is not written as GGUF"),
        ("gemma2", "query_pre_attn_scalar is 20, which a GGUF file cannot say"),
    ] {
        let place = Place::with(family)?;
        let outcome = place.run("export --model model --out out.gguf --dtype f32")?;
        assert_eq!(outcome.complaint(2, &[says, "loract merge"]), None, "{family}");
        assert!(!place.path("out.gguf").exists(), "{family}");
    }
    Ok(())
}
