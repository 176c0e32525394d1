//! GLM-4 of 2025: GLM with norms after attention and MLP too.

use super::{Family, Norms, glm};

pub(super) const FAMILY: Family = Family {
    name: "glm4",
    class: "Glm4ForCausalLM",
    norms: Norms {
        before_attention: Some("input_layernorm"),
        after_attention: Some("post_self_attn_layernorm"),
        before_mlp: Some("post_attention_layernorm"),
        after_mlp: Some("post_mlp_layernorm"),
    },
    ..glm::FAMILY
};
