//! Helium: Llama with neighbouring features turned together.

use loract_autograd::ops::RopePairs;

use super::{AttentionBias, AttentionBiasKey, Family, llama};

pub(super) const FAMILY: Family = Family {
    name: "helium",
    class: "HeliumForCausalLM",
    context: 4096,
    kv_heads: Some(20),
    head_dim: Some(128),
    eps: (Some("rms_norm_eps"), 1e-8),
    theta: 100_000.0,
    attention_bias: AttentionBiasKey { which: AttentionBias::Qkv, ..llama::FAMILY.attention_bias },
    pairs: RopePairs::Neighbours,
    ..llama::FAMILY
};
