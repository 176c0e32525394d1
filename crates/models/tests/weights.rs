//! Stored weights against the values that Python packages read from the same files.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;

use loract_autograd::{Category, Memory};
use loract_models::weights::{gguf::Gguf, safetensors};
use loract_models::{Checked, ModelSource, Weights};
use loract_testkit::golden::{folder, tensors};

type Outcome = Result<(), Box<dyn Error>>;
type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// Every tensor of `weights` equals that of `want`, and there is none besides. Vectors through `take_vector`.
fn assert_same(mut weights: Weights, want: &Tensors) -> Outcome {
    assert_eq!(weights.remaining(), want.keys().cloned().collect::<Vec<_>>());
    let memory = Memory::new();
    for (name, (shape, numbers)) in want {
        let got = match shape[..] {
            [len] => weights.take_vector(name, &[len])?,
            [rows, cols] => weights.take_matrix(&memory, name, rows, cols)?.to_f32(),
            _ => return Err(format!("{name}: {shape:?}").into()),
        };
        assert_eq!(&got, numbers, "{name}");
    }
    assert!(weights.remaining().is_empty());
    Ok(())
}

#[test]
fn every_block_type_equals_the_gguf_package() -> Outcome {
    let weights = Gguf::open(&folder("gguf").join("blocks.gguf"))?.weights()?;
    let want = tensors(&folder("gguf").join("blocks.safetensors"));
    assert_eq!(want.len(), 13);
    let memory = Memory::new();
    for (name, (shape, numbers)) in &want {
        // To the bit: of 0 the sign too.
        let got = weights.clone().take_matrix(&memory, name, shape[0], shape[1])?.to_f32();
        let different = got.iter().zip(numbers).position(|(got, want)| got.to_bits() != want.to_bits());
        assert_eq!((got.len(), different), (numbers.len(), None), "{name}");
    }
    assert_same(weights, &want)
}

#[test]
fn a_gguf_model_equals_its_safetensors() -> Outcome {
    let want = tensors(&folder("llama-tied").join("model.safetensors"));
    assert_same(Gguf::open(&folder("gguf").join("llama.gguf"))?.weights()?, &want)?;
    assert_same(safetensors::open_folder(&folder("llama-tied"))?, &want)
}

#[test]
fn shards_are_one_model() -> Outcome {
    let mut want = Tensors::new();
    for shard in 1..=3 {
        want.append(&mut tensors(&folder("llama-untied").join(format!("model-0000{shard}-of-00003.safetensors"))));
    }
    assert_same(safetensors::open_folder(&folder("llama-untied"))?, &want)
}

#[test]
fn half_precision_is_kept_and_counted_as_stored() -> Outcome {
    for case in ["llama3-rope", "mistral-window"] {
        let mut weights = safetensors::open_folder(&folder(case))?;
        let memory = Memory::new();
        let head = weights.take_matrix(&memory, "lm_head.weight", 64, 32)?;
        assert_eq!(memory.ledger().live_in(Category::FrozenWeights), 64 * 32 * 2);
        assert!(head.to_f32().iter().all(|x| x.is_finite()) && head.to_f32().iter().any(|&x| x != 0.0));
        let norm = weights.take_vector("model.norm.weight", &[32])?;
        assert!(norm.iter().all(|x| (0.49..1.51).contains(x)), "{norm:?}");
    }
    Ok(())
}

#[test]
fn every_mismatch_is_reported_at_once() -> Outcome {
    let mut checked = Checked::new(safetensors::open_folder(&folder("llama-tied"))?, &Memory::new());
    assert!(checked.shaped("model.embed_tokens.weight", &[64, 33], [64, 33]).is_none());
    assert!(checked.shaped("lm_head.weight", &[64, 32], [64, 32]).is_none());
    assert!(checked.vector("model.norm.weight", &[32]).is_some());
    let message = checked.finish(&["*.rotary_emb.inv_freq"]).err().map(|e| e.to_string()).unwrap_or_default();
    for part in [
        "llama-tied do not fit the configuration: 1 missing (lm_head.weight); 1 of a wrong shape \
         (model.embed_tokens.weight: stored 64x32, expected 64x33); 18 unknown (model.layers.0.input_layernorm.weight, ",
        " and 10 more); check that",
    ] {
        assert!(message.contains(part), "{message}");
    }
    Ok(())
}

#[test]
fn ignored_names_are_whole_or_endings() -> Outcome {
    let open = || -> Result<Checked, Box<dyn Error>> {
        Ok(Checked::new(safetensors::open_folder(&folder("llama-tied"))?, &Memory::new()))
    };
    open()?.finish(&["*.weight"])?;
    assert!(open()?.finish(&["model.norm.weight", ".weight"]).is_err());
    Ok(())
}

#[test]
fn a_built_in_model_is_the_same() -> Outcome {
    let at = folder("llama-tied");
    let config = std::fs::read_to_string(at.join("config.json"))?;
    let bytes = std::fs::read(at.join("model.safetensors"))?;
    let built_in = ModelSource::from_safetensors_bytes("demo", &config, bytes)?;
    assert_eq!((built_in.name.as_str(), built_in.weights.path()), ("demo", Path::new("demo")));
    assert_eq!(built_in.config, ModelSource::open(&at)?.config);
    assert_same(built_in.weights, &tensors(&at.join("model.safetensors")))
}
