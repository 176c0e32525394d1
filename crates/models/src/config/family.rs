//! What a family is, where its `config.json` says nothing: the defaults of its configuration class in Transformers, and what its
//! modelling code always does. Another family of Llama's kind is a constant here and a line in [`ModelType`].

use std::fmt;

/// A family of decoders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelType {
    /// Llama, and what calls itself so (SmolLM2, many others).
    Llama,
    /// Mistral.
    Mistral,
    /// Qwen2 and Qwen2.5.
    Qwen2,
    /// Qwen3.
    Qwen3,
}

/// Which projections of attention have a bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AttentionBias {
    /// None of them.
    #[default]
    None,
    /// q, k and v.
    Qkv,
    /// q, k, v and o.
    All,
}

/// Whether heads of q and k are normed before rope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HeadNorm {
    /// They are not.
    #[default]
    None,
    /// Each head by itself, with D weights for all heads of q and D for those of k.
    QueryKey,
}

/// What a family takes for granted.
pub(super) struct Family {
    /// `model_type`.
    pub name: &'static str,
    /// The class in Transformers.
    pub class: &'static str,
    pub context: usize,
    /// Key and value heads; `None` = as many as query heads.
    pub kv_heads: Option<usize>,
    /// Width of a head; `None` = C divided by the heads.
    pub head_dim: Option<usize>,
    pub window: WindowKeys,
    pub attention_bias: BiasKey,
    /// Whether `mlp_bias` is read.
    pub reads_mlp_bias: bool,
    pub head_norm: HeadNorm,
}

/// How a family says how far tokens see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WindowKeys {
    /// They see everything.
    Never,
    /// `sliding_window`, in every layer.
    Every,
    /// `sliding_window` if `use_sliding_window`, in the layers of `layer_types`, or else from `max_window_layers` on.
    IfUsed,
}

/// How a family says what has a bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BiasKey {
    /// All, if `attention_bias`.
    Asked,
    /// It does not.
    Always(AttentionBias),
}

const LLAMA: Family = Family {
    name: "llama",
    class: "LlamaForCausalLM",
    context: 2048,
    kv_heads: None,
    head_dim: None,
    window: WindowKeys::Never,
    attention_bias: BiasKey::Asked,
    reads_mlp_bias: true,
    head_norm: HeadNorm::None,
};

const MISTRAL: Family = Family {
    name: "mistral",
    class: "MistralForCausalLM",
    context: 131_072,
    kv_heads: Some(8),
    window: WindowKeys::Every,
    attention_bias: BiasKey::Always(AttentionBias::None),
    reads_mlp_bias: false,
    ..LLAMA
};

const QWEN2: Family = Family {
    name: "qwen2",
    class: "Qwen2ForCausalLM",
    context: 32_768,
    kv_heads: Some(32),
    window: WindowKeys::IfUsed,
    attention_bias: BiasKey::Always(AttentionBias::Qkv),
    reads_mlp_bias: false,
    ..LLAMA
};

const QWEN3: Family = Family {
    name: "qwen3",
    class: "Qwen3ForCausalLM",
    head_dim: Some(128),
    attention_bias: BiasKey::Asked,
    head_norm: HeadNorm::QueryKey,
    ..QWEN2
};

impl ModelType {
    /// All of them.
    pub const ALL: [ModelType; 4] = [ModelType::Llama, ModelType::Mistral, ModelType::Qwen2, ModelType::Qwen3];

    pub(super) fn family(self) -> Family {
        match self {
            ModelType::Llama => LLAMA,
            ModelType::Mistral => MISTRAL,
            ModelType::Qwen2 => QWEN2,
            ModelType::Qwen3 => QWEN3,
        }
    }

    /// The one with this `model_type`.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.family().name == name)
    }
}

impl fmt::Display for ModelType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.family().name)
    }
}

/// The names of all, for messages.
pub(super) fn supported() -> String {
    ModelType::ALL.map(|one| one.family().name).join(", ")
}
