//! OLMo 2: norms after attention and MLP, none before; q and k normed over all their heads.

use super::{Family, HeadNorms, Norms, Over, When, llama};

pub(super) const FAMILY: Family = Family {
    name: "olmo2",
    class: "Olmo2ForCausalLM",
    eps: (Some("rms_norm_eps"), 1e-5),
    mlp_bias: (None, false),
    norms: Norms {
        before_attention: None,
        after_attention: Some("post_attention_layernorm"),
        before_mlp: None,
        after_mlp: Some("post_feedforward_layernorm"),
    },
    head_norm: HeadNorms { when: When::Always, over: Over::Row, ..llama::FAMILY.head_norm },
    ..llama::FAMILY
};
