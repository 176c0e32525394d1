//! Llama 1 to 3.3: what most families change in a few points.

use loract_autograd::ops::{Activation, NormKind, RopePairs};

use super::{
    AttentionBias, AttentionBiasKey, AttentionNames, ExpertNames, Family, HeadNorms, MlpNames, NormWeights, Norms, Over,
    QkvNames, When, WindowKeys, nothing_more, nothing_written,
};
use crate::config::Block;

pub(super) const FAMILY: Family = Family {
    name: "llama",
    class: "LlamaForCausalLM",
    context: 2048,
    original_context: None,
    kv_heads: None,
    head_dim: None,
    activation: ("hidden_act", Activation::Silu),
    eps: (Some("rms_norm_eps"), 1e-6),
    theta: 10_000.0,
    rotated: 1.0,
    tied: false,
    attention_bias: AttentionBiasKey { key: Some("attention_bias"), default: false, which: AttentionBias::All },
    mlp_bias: (Some("mlp_bias"), false),
    window: WindowKeys::Never,
    norm: NormKind::Rms,
    norm_weights: NormWeights::Weight,
    block: Block::Sequential,
    norms: Norms {
        before_attention: Some("input_layernorm"),
        after_attention: None,
        before_mlp: Some("post_attention_layernorm"),
        after_mlp: None,
    },
    head_norm: HeadNorms {
        when: When::Never,
        names: ["self_attn.q_norm", "self_attn.k_norm"],
        over: Over::Head,
    },
    attention: AttentionNames {
        qkv: QkvNames::Apart(["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]),
        o: "self_attn.o_proj",
    },
    mlp: MlpNames::Gated { gate: "mlp.gate_proj", up: "mlp.up_proj", down: "mlp.down_proj" },
    experts: ExpertNames { router: "mlp.gate", experts: "mlp.experts", parts: ["gate_proj", "up_proj", "down_proj"] },
    pairs: RopePairs::Halves,
    final_norm: "model.norm",
    head_bias: false,
    read: nothing_more,
    write: nothing_written,
};
