//! A whole model, its LoRA branches added.

use super::about::About;
use super::architecture::Architecture;
use super::names::Heads;
use crate::config::DecoderConfig;
use crate::decoder::Decoder;
use crate::export::merged_tensors;
use crate::weights::RowOrder;
use crate::weights::gguf::write::{GgufFile, GgufTensor, GgufType};
use crate::weights::store::{Numbers, StoredAs, ToStore};

/// The model as it computes, in one file, its matrices stored as `stored` (exceptions: see [the module](super)).
pub fn model_file<'a>(decoder: &'a Decoder, about: &'a About, stored: GgufType) -> GgufFile<'a> {
    let (config, architecture) = (decoder.config(), about.architecture());
    let factors = about.factors().iter().map(|(name, factors)| GgufTensor {
        name: (*name).to_owned(),
        shape: vec![factors.len()],
        numbers: vec![Numbers::Floats(factors)],
        order: RowOrder::AsIs,
        plus: 0.0,
        stored: GgufType::F32,
    });
    let mut tensors: Vec<GgufTensor<'a>> = factors.collect();
    // How the tensors would be stored elsewhere is not asked.
    for (name, ToStore { shape, numbers, .. }) in merged_tensors(decoder, StoredAs::F32) {
        // A name that llama.cpp has not stays, as in reading; loading such a file names it.
        let (stored_name, expert) = architecture.llama_cpp(&name).unwrap_or_else(|| (name.clone(), None));
        let all_experts = tensors.iter_mut().rev().find(|tensor| expert.is_some() && tensor.name == stored_name);
        if let Some(all) = all_experts {
            all.shape[0] += 1;
            all.numbers.push(numbers);
            continue;
        }
        let stored = if makes_logits(&stored_name, config) {
            head_type(stored)
        } else if stays_wide(&stored_name) {
            GgufType::F32
        } else {
            stored
        };
        tensors.push(GgufTensor {
            stored: stored.of_shape(&shape),
            order: row_order(architecture, &stored_name, config),
            plus: architecture.plus(&name),
            shape: if expert.is_some() { [vec![1], shape].concat() } else { shape },
            numbers: vec![numbers],
            name: stored_name,
        });
    }
    GgufFile { entries: about.entries(stored), tensors }
}

fn makes_logits(name: &str, config: &DecoderConfig) -> bool {
    name == if config.tied { "token_embd.weight" } else { "output.weight" }
}

fn head_type(stored: GgufType) -> GgufType {
    if stored == GgufType::Q4_0 { GgufType::Q8_0 } else { stored }
}

/// Norms with a row for each head, and routers.
fn stays_wide(name: &str) -> bool {
    name.ends_with("_norm.weight") || name.ends_with(".ffn_gate_inp.weight")
}

/// The order that llama.cpp wants the rows of this tensor (its name) in.
pub(super) fn row_order(architecture: &Architecture, name: &str, config: &DecoderConfig) -> RowOrder {
    match architecture.reordered(name) {
        Some(Heads::Keys) => RowOrder::RotaryPairs { heads: config.kv_heads },
        Some(Heads::Queries) => RowOrder::RotaryPairs { heads: config.heads },
        None => RowOrder::AsIs,
    }
}
