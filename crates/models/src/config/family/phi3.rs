//! Phi-3, Phi-3.5, Phi-4: Llama with q, k and v in one matrix, and gate and up in another.

use super::{
    AttentionBias, AttentionBiasKey, AttentionNames, Family, MlpNames, QkvNames, WindowKeys, llama,
};

pub(super) const FAMILY: Family = Family {
    name: "phi3",
    class: "Phi3ForCausalLM",
    context: 4096,
    original_context: Some(4096),
    eps: (Some("rms_norm_eps"), 1e-5),
    attention_bias: AttentionBiasKey { key: None, default: false, which: AttentionBias::None },
    mlp_bias: (None, false),
    window: WindowKeys::Every { tokens: None },
    attention: AttentionNames { qkv: QkvNames::Fused("self_attn.qkv_proj"), ..llama::FAMILY.attention },
    mlp: MlpNames::Fused { gate_up: "mlp.gate_up_proj", down: "mlp.down_proj" },
    ..llama::FAMILY
};
