//! Qwen2 and Qwen2.5: biases of q, k and v, and a window in the upper layers if that is asked for.

use super::{AttentionBias, AttentionBiasKey, Family, WindowKeys, llama};

pub(super) const FAMILY: Family = Family {
    name: "qwen2",
    class: "Qwen2ForCausalLM",
    context: 32_768,
    kv_heads: Some(32),
    window: WindowKeys::UpperIfUsed { tokens: 4096, full: 28 },
    attention_bias: AttentionBiasKey { key: None, default: true, which: AttentionBias::Qkv },
    mlp_bias: (None, false),
    ..llama::FAMILY
};
