//! Qwen3 with experts in some layers.

use serde_json::{Map, Value};

use super::{Family, WindowKeys, qwen3};
use crate::config::json::Fields;
use crate::config::{ConfigError, DecoderConfig, ExpertWeights, Experts, Layers};

pub(super) const FAMILY: Family = Family {
    name: "qwen3_moe",
    class: "Qwen3MoeForCausalLM",
    kv_heads: Some(4),
    head_dim: None,
    window: WindowKeys::EveryIfUsed { tokens: 4096 },
    read,
    write,
    ..qwen3::FAMILY
};

fn read(fields: &Fields<'_>, config: &mut DecoderConfig) -> Result<(), ConfigError> {
    let dense = fields.sizes("mlp_only_layers")?.unwrap_or_default();
    // 0 would have no layer with experts; Transformers divides by it.
    let step = fields.size("decoder_sparse_step")?.unwrap_or(1);
    if step == 0 {
        return Err(ConfigError::Size { key: "decoder_sparse_step", size: 0 });
    }
    let has_experts = |layer: usize| !dense.contains(&layer) && (layer + 1).is_multiple_of(step);
    config.experts = Some(Experts {
        count: fields.either_size(["num_experts", "num_local_experts"])?.unwrap_or(128),
        chosen: fields.size("num_experts_per_tok")?.unwrap_or(8),
        width: fields.size("moe_intermediate_size")?.unwrap_or(768),
        weights: ExpertWeights::asked(fields, "norm_topk_prob")?,
        layers: Layers::Listed(config.each_layer(has_experts)),
    });
    Ok(())
}

fn write(config: &DecoderConfig, values: &mut Map<String, Value>) {
    let Some(experts) = &config.experts else { return };
    let dense: Vec<usize> = (0..config.layers).filter(|&layer| !experts.layers.has(layer)).collect();
    values.insert("num_experts".into(), experts.count.into());
    values.insert("num_experts_per_tok".into(), experts.chosen.into());
    values.insert("moe_intermediate_size".into(), experts.width.into());
    values.insert("norm_topk_prob".into(), (experts.weights == ExpertWeights::SumToOne).into());
    values.insert("decoder_sparse_step".into(), 1.into());
    values.insert("mlp_only_layers".into(), dense.into());
}
