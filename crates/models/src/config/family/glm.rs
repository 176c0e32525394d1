//! GLM-4 of 2024: gate and up in one matrix, the first half of each head turned, neighbouring features together.

use loract_autograd::ops::RopePairs;

use super::{AttentionBias, AttentionBiasKey, Family, MlpNames, llama};

pub(super) const FAMILY: Family = Family {
    name: "glm",
    class: "GlmForCausalLM",
    context: 131_072,
    kv_heads: Some(2),
    head_dim: Some(128),
    eps: (Some("rms_norm_eps"), 1.5625e-7),
    rotated: 0.5,
    attention_bias: AttentionBiasKey { key: Some("attention_bias"), default: true, which: AttentionBias::Qkv },
    mlp_bias: (None, false),
    mlp: MlpNames::Fused { gate_up: "mlp.gate_up_proj", down: "mlp.down_proj" },
    pairs: RopePairs::Neighbours,
    ..llama::FAMILY
};
