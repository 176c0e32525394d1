//! Where the families save: each place of a layer under its name.

use loract_autograd::Memory;
use loract_models::{Decoder, LoraConfig, Model, ModelSource, Row, TokenBatch, adapter};
use loract_testkit::golden::folder;
use loract_train::capture::{Place, capture};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// The places of the second layer with the adapter of the case, in the order of their saves.
fn places(case: &str) -> Result<Vec<Place>> {
    of_layer(case, 1, None)
}

fn of_layer(case: &str, wanted: usize, targets: Option<&[&str]>) -> Result<Vec<Place>> {
    let memory = Memory::new();
    let source = ModelSource::open(&folder(case))?;
    let mut decoder = Decoder::load(&memory, source.config, source.weights)?;
    match targets {
        None => drop(adapter::load(&memory, &mut decoder, &folder(case).join("adapter"))?),
        Some(targets) => {
            let targets = targets.iter().map(|&target| target.to_owned()).collect();
            decoder.attach_lora(&memory, &LoraConfig { targets, ..LoraConfig::default() }, 1)?;
        }
    }
    let batch = TokenBatch::new(&[Row::all((0..20).collect())]);
    let mut found = Vec::new();
    capture(&decoder, &memory, &batch, &mut |place, layer, _| {
        found.extend((layer == Some(wanted)).then_some(place));
        Ok(())
    })?;
    Ok(found)
}

#[test]
fn every_kind_of_layer_has_its_places() -> Result {
    use Place::{
        AttnIn, AttnOut, Gate, K, KNorm, MlpIn, MlpOut, NormAttn, NormAttnAfter, NormMlp, NormMlpAfter, Q, QNorm, Up, V,
    };
    assert_eq!(places("llama-tied")?, [NormAttn, Q, K, V, AttnOut, NormMlp, Gate, Up, MlpOut]);
    assert_eq!(places("qwen3")?, [NormAttn, QNorm, KNorm, Q, K, V, AttnOut, NormMlp, Gate, Up, MlpOut]);
    // Norms before and after; after only; one for both halves and no gate; joined matrices.
    let between = [AttnOut, NormAttnAfter, NormMlp, Gate, Up, MlpOut, NormMlpAfter];
    assert_eq!(places("gemma2")?, [&[NormAttn, Q, K, V][..], &between].concat());
    let between = [AttnOut, NormAttnAfter, MlpIn, Gate, Up, MlpOut, NormMlpAfter];
    assert_eq!(places("olmo2")?, [&[AttnIn, QNorm, KNorm, Q, K, V][..], &between].concat());
    assert_eq!(places("phi")?, [NormAttn, Q, K, V, AttnOut, Up, MlpOut]);
    assert_eq!(places("phi3")?, [NormAttn, Q, K, V, AttnOut, NormMlp, Gate, Up, MlpOut]);
    // Of experts only what all of them share.
    assert_eq!(places("mixtral")?, [NormAttn, Q, K, V, AttnOut, NormMlp]);
    // Below the first layer nothing is trained: what is not trained itself there keeps nothing.
    assert_eq!(of_layer("qwen3", 0, Some(&["q_proj", "v_proj"]))?[..5], [AttnIn, QNorm, Q, K, V]);
    assert_eq!(of_layer("qwen3", 0, Some(&["k_proj"]))?[..5], [AttnIn, KNorm, Q, K, V]);
    Ok(())
}
