//! A whole model, its LoRA branches added.

use super::about::About;
use crate::config::DecoderConfig;
use crate::decoder::Decoder;
use crate::weights::RowOrder;
use crate::weights::gguf::names;
use crate::weights::gguf::write::{GgufFile, GgufTensor, GgufType};
use crate::weights::store::{Numbers, StoredAs};

/// The model as it computes, in one file, its matrices stored as `stored` (exceptions: see [the module](super)).
pub fn model_file<'a>(decoder: &'a Decoder, about: &'a About, stored: GgufType) -> GgufFile<'a> {
    let config = decoder.config();
    let factors = about.rope_factors().map(|factors| GgufTensor {
        name: names::ROPE_FACTORS.to_owned(),
        shape: vec![factors.len()],
        numbers: Numbers::Floats(factors),
        order: RowOrder::AsIs,
        stored: GgufType::F32,
    });
    // How the tensors would be stored elsewhere is not asked.
    let tensors = decoder.merged_tensors(StoredAs::F32).into_iter().map(|(name, tensor)| {
        // A name that llama.cpp has not stays, as in reading; loading such a file names it.
        let name = names::llama_cpp(&name).unwrap_or(name);
        let stored = if makes_logits(&name, config) { head_type(stored) } else { stored };
        GgufTensor {
            stored: stored.of_shape(&tensor.shape),
            order: row_order(&name, config),
            shape: tensor.shape,
            numbers: tensor.numbers,
            name,
        }
    });
    GgufFile { entries: about.entries(stored), tensors: factors.into_iter().chain(tensors).collect() }
}

fn makes_logits(name: &str, config: &DecoderConfig) -> bool {
    name == if config.tied { "token_embd.weight" } else { "output.weight" }
}

fn head_type(stored: GgufType) -> GgufType {
    if stored == GgufType::Q4_0 { GgufType::Q8_0 } else { stored }
}

/// The order that llama.cpp wants the rows of this tensor (its name) in.
pub(super) fn row_order(name: &str, config: &DecoderConfig) -> RowOrder {
    match names::heads_key(name) {
        Some(names::KV_HEADS) => RowOrder::RotaryPairs { heads: config.kv_heads },
        Some(_) => RowOrder::RotaryPairs { heads: config.heads },
        None => RowOrder::AsIs,
    }
}
