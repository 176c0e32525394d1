//! Phi-1, Phi-1.5, Phi-2: attention and MLP side by side, LayerNorm, biases everywhere, half of each head turned.

use loract_autograd::ops::{Activation, NormKind};

use super::{
    AttentionBias, AttentionBiasKey, AttentionNames, Family, MlpNames, NormWeights, Norms, llama,
};
use crate::config::json::Fields;
use crate::config::{Block, ConfigError, DecoderConfig};

pub(super) const FAMILY: Family = Family {
    name: "phi",
    class: "PhiForCausalLM",
    activation: ("hidden_act", Activation::GeluTanh),
    eps: (Some("layer_norm_eps"), 1e-5),
    rotated: 0.5,
    attention_bias: AttentionBiasKey { key: None, default: true, which: AttentionBias::All },
    mlp_bias: (None, true),
    norm: NormKind::Layer,
    norm_weights: NormWeights::WeightAndBias,
    block: Block::Parallel,
    norms: Norms { before_mlp: None, ..llama::FAMILY.norms },
    attention: AttentionNames { o: "self_attn.dense", ..llama::FAMILY.attention },
    mlp: MlpNames::Plain { up: "mlp.fc1", down: "mlp.fc2" },
    final_norm: "model.final_layernorm",
    head_bias: true,
    read,
    ..llama::FAMILY
};

/// Refuses norms of heads: they have been compared with nothing.
pub(super) fn read(fields: &Fields<'_>, _: &mut DecoderConfig) -> Result<(), ConfigError> {
    if fields.flag("qk_layernorm")? { Err(ConfigError::HeadNorms) } else { Ok(()) }
}
