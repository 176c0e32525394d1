//! Mistral: Llama with a window.

use super::{AttentionBias, AttentionBiasKey, Family, WindowKeys, llama};

pub(super) const FAMILY: Family = Family {
    name: "mistral",
    class: "MistralForCausalLM",
    context: 131_072,
    kv_heads: Some(8),
    window: WindowKeys::Every { tokens: Some(4096) },
    attention_bias: AttentionBiasKey { key: None, default: false, which: AttentionBias::None },
    mlp_bias: (None, false),
    ..llama::FAMILY
};
