//! Qwen3: Qwen2 with norms of heads, without biases.

use super::{Family, HeadNorms, When, llama, qwen2};

pub(super) const FAMILY: Family = Family {
    name: "qwen3",
    class: "Qwen3ForCausalLM",
    head_dim: Some(128),
    attention_bias: llama::FAMILY.attention_bias,
    head_norm: HeadNorms { when: When::Always, ..llama::FAMILY.head_norm },
    ..qwen2::FAMILY
};
