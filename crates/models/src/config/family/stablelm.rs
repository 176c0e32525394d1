//! StableLM: LayerNorm, a quarter of each head turned, attention and MLP side by side if that is asked for.

use loract_autograd::ops::NormKind;
use serde_json::{Map, Value};

use super::{AttentionBias, AttentionBiasKey, Family, NormWeights, llama, phi};
use crate::config::json::Fields;
use crate::config::{Block, ConfigError, DecoderConfig};

pub(super) const FAMILY: Family = Family {
    name: "stablelm",
    class: "StableLmForCausalLM",
    context: 4096,
    kv_heads: Some(32),
    eps: (Some("layer_norm_eps"), 1e-5),
    rotated: 0.25,
    attention_bias: AttentionBiasKey { key: Some("use_qkv_bias"), default: false, which: AttentionBias::Qkv },
    mlp_bias: (None, false),
    norm: NormKind::Layer,
    norm_weights: NormWeights::WeightAndBias,
    read,
    write,
    ..llama::FAMILY
};

fn read(fields: &Fields<'_>, config: &mut DecoderConfig) -> Result<(), ConfigError> {
    phi::read(fields, config)?;
    if fields.flag("use_parallel_residual")? {
        config.block = Block::Parallel;
    }
    Ok(())
}

fn write(config: &DecoderConfig, values: &mut Map<String, Value>) {
    values.insert("use_parallel_residual".into(), (config.block == Block::Parallel).into());
}
