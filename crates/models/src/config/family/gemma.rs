//! Gemma: weights of norms kept less one, embeddings times √C, GELU.

use loract_autograd::ops::Activation;

use super::{Family, NormWeights, llama};
use crate::config::json::Fields;
use crate::config::{ConfigError, DecoderConfig, ModelType};

pub(super) const FAMILY: Family = Family {
    name: "gemma",
    class: "GemmaForCausalLM",
    context: 8192,
    kv_heads: Some(16),
    head_dim: Some(256),
    activation: ("hidden_act", Activation::GeluTanh),
    tied: true,
    mlp_bias: (None, false),
    norm_weights: NormWeights::LessOne,
    read,
    ..llama::FAMILY
};

pub(super) fn read(fields: &Fields<'_>, config: &mut DecoderConfig) -> Result<(), ConfigError> {
    if fields.flag("use_bidirectional_attention")? {
        return Err(ConfigError::Bidirectional);
    }
    config.scales.embedding = (config.hidden_size as f64).sqrt() as f32;
    // Gemma's first files say `gelu` and mean its approximation.
    if config.model_type == ModelType::Gemma && config.activation == Activation::Gelu {
        config.activation = Activation::GeluTanh;
    }
    Ok(())
}
