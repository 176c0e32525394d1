//! StarCoder2: LayerNorm, biases, and an MLP without a gate.

use loract_autograd::ops::{Activation, NormKind};

use super::{AttentionBias, AttentionBiasKey, Family, MlpNames, NormWeights, WindowKeys, llama};

pub(super) const FAMILY: Family = Family {
    name: "starcoder2",
    class: "Starcoder2ForCausalLM",
    context: 4096,
    kv_heads: Some(2),
    activation: ("hidden_act", Activation::GeluTanh),
    eps: (Some("norm_epsilon"), 1e-5),
    tied: true,
    attention_bias: AttentionBiasKey { key: Some("use_bias"), default: true, which: AttentionBias::All },
    mlp_bias: (Some("use_bias"), true),
    window: WindowKeys::Every { tokens: None },
    norm: NormKind::Layer,
    norm_weights: NormWeights::WeightAndBias,
    mlp: MlpNames::Plain { up: "mlp.c_fc", down: "mlp.c_proj" },
    ..llama::FAMILY
};
