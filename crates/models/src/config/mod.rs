//! What a decoder is, apart from its numbers.
//!
//! | source | keys |
//! |---|---|
//! | `config.json` up to Transformers 4 | `rope_theta`, `rope_scaling {type or rope_type, …}` |
//! | `config.json` of Transformers 5 | `rope_parameters {rope_type, rope_theta, …}` |
//! | GGUF metadata | `llama.*`, or with another architecture's name; what is tied or has a bias is seen from the tensors |
//!
//! Keys that are absent have the defaults of the family's configuration in Transformers (`family/`); sizes have none,
//! and an absent token id means that there is none.

mod error;
mod experts;
pub(crate) mod family;
pub(crate) mod json;
mod layers;
mod rope;

pub use error::ConfigError;
pub(crate) use experts::MOST_EXPERTS;
pub use experts::{ExpertWeights, Experts};
pub use family::{AttentionBias, HeadNorm, ModelType};
pub use layers::{Layers, SlidingWindow};
use loract_autograd::ops::Activation;
pub(crate) use rope::yarn_amplitude;
pub use rope::{Rope, RopeScaling};

/// A decoder: layers of attention and an MLP on a residual stream. What all models of a family have alike, its `model_type` says.
#[derive(Debug, Clone, PartialEq)]
pub struct DecoderConfig {
    /// Family; a GGUF file says `llama` for Mistral too, which is known by its windows.
    pub model_type: ModelType,
    /// Width of the residual stream, C.
    pub hidden_size: usize,
    /// Number of layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of a head, D; even. heads·D need not be C.
    pub head_dim: usize,
    /// Width inside the MLP, F.
    pub intermediate_size: usize,
    /// Tokens, V: rows of the embedding.
    pub vocab_size: usize,
    /// Longest sequence the model was made for.
    pub context: usize,
    /// Inside the MLP.
    pub activation: Activation,
    /// How heads turn with their position.
    pub rope: Rope,
    /// The same in layers with a window, if it is another there.
    pub local_rope: Option<Rope>,
    /// Layers in which they turn.
    pub turned: Layers,
    /// How attention and MLP follow each other.
    pub block: Block,
    /// Added to the mean square in norms.
    pub norm_eps: f32,
    /// Whether the head is the embedding.
    pub tied: bool,
    /// Which of q, k, v and o have a bias.
    pub attention_bias: AttentionBias,
    /// Whether heads of q and k are normed.
    pub head_norm: HeadNorm,
    /// Whether the layers of the MLP have a bias.
    pub mlp_bias: bool,
    /// How far tokens see; `None`: all before them, in every layer.
    pub sliding_window: Option<SlidingWindow>,
    /// q, k and v are cut off at ± this.
    pub clip_qkv: Option<f32>,
    /// Fixed factors.
    pub scales: Scales,
    /// Scores of attention become cap·tanh(score/cap).
    pub attention_softcap: Option<f32>,
    /// Logits become cap·tanh(logit/cap).
    pub logit_softcap: Option<f32>,
    /// Layers whose MLP is a mixture of experts.
    pub experts: Option<Experts>,
    /// Token that begins a text.
    pub bos: Option<u32>,
    /// Tokens that end one.
    pub eos: Vec<u32>,
}

/// How attention and MLP of a layer follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Block {
    /// x + attention(x), then that + mlp(that).
    Sequential,
    /// x + attention(norm(x)) + mlp(norm(x)), of one norm.
    Parallel,
}

/// Fixed factors.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scales {
    /// Of embeddings.
    pub embedding: f32,
    /// Of what attention and MLP add to the residual stream.
    pub residual: f32,
    /// Of q·k.
    pub attention: f32,
    /// Of logits.
    pub logits: f32,
}

impl Scales {
    /// 1, and of q·k 1/√D.
    pub(crate) fn of_heads(head_dim: usize) -> Self {
        Self { embedding: 1.0, residual: 1.0, attention: 1.0 / (head_dim as f32).sqrt(), logits: 1.0 }
    }
}

/// More layers than any decoder has; a damaged file must not make a loader ask for billions of tensors.
pub(crate) const MOST_LAYERS: usize = 10_000;

impl DecoderConfig {
    /// How many tokens each token of a layer sees, itself included; `None`: all before it.
    pub fn window(&self, layer: usize) -> Option<usize> {
        self.sliding_window.as_ref().and_then(|window| window.of_layer(layer))
    }

    /// Width inside the widest MLP of a layer, an expert's where all layers have experts.
    pub fn widest_mlp(&self) -> usize {
        let has_experts = |layer| self.experts.as_ref().is_some_and(|experts| experts.layers.has(layer));
        let width = |layer| match &self.experts {
            Some(experts) if has_experts(layer) => experts.width,
            _ => self.intermediate_size,
        };
        (0..self.layers).map(width).max().unwrap_or(self.intermediate_size)
    }

    /// Whether norms of heads have a weight for each head.
    pub(crate) fn has_own_head_norms(&self) -> bool {
        self.model_type.family().head_norm.over == family::Over::OwnHead
    }

    /// Whether the MLP has a gate.
    pub fn is_gated(&self) -> bool {
        !matches!(self.model_type.family().mlp, family::MlpNames::Plain { .. })
    }

    /// Whether attention and MLP are followed by a norm.
    pub fn has_norms_after(&self) -> bool {
        self.model_type.family().norms.after_attention.is_some()
    }

    /// Whether texts of so many tokens turn by the frequencies of long ones ([`RopeScaling::Long`]): their first tokens then have other
    /// keys than in a short text.
    pub fn is_long(&self, tokens: usize) -> bool {
        matches!(self.rope.scaling, RopeScaling::Long { original_context, .. } if tokens > original_context)
    }

    /// What `f` says of each layer; of more layers than there can be, which are refused elsewhere, the first.
    pub(crate) fn each_layer(&self, f: impl Fn(usize) -> bool) -> Vec<bool> {
        (0..self.layers.min(MOST_LAYERS)).map(f).collect()
    }

    /// Itself, if its sizes fit each other.
    fn checked(self) -> Result<Self, ConfigError> {
        let sizes = [
            ("hidden_size", self.hidden_size),
            ("num_hidden_layers", self.layers),
            ("num_attention_heads", self.heads),
            ("num_key_value_heads", self.kv_heads),
            ("head_dim", self.head_dim),
            ("intermediate_size", self.intermediate_size),
            ("vocab_size", self.vocab_size),
            ("max_position_embeddings", self.context),
            ("sliding_window", self.sliding_window.as_ref().map_or(1, |window| window.tokens)),
        ];
        for (key, size) in sizes {
            if size == 0 || u32::try_from(size).is_err() {
                return Err(ConfigError::Size { key, size });
            }
        }
        if self.layers > MOST_LAYERS {
            return Err(ConfigError::Layers { layers: self.layers, most: MOST_LAYERS });
        }
        let window = self.sliding_window.as_ref().map(|window| ("layer_types", &window.layers));
        for (key, layers) in window.into_iter().chain([("no_rope_layers", &self.turned)]) {
            if let Some(listed) = layers.listed().filter(|&listed| listed != self.layers) {
                return Err(ConfigError::LayerList { key, listed, layers: self.layers });
            }
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return Err(ConfigError::Heads { heads: self.heads, kv_heads: self.kv_heads });
        }
        if !self.head_dim.is_multiple_of(2) {
            return Err(ConfigError::OddHead { head_dim: self.head_dim });
        }
        let family = self.model_type.family();
        let positive = [
            (family.eps.0.unwrap_or("norm eps"), Some(self.norm_eps)),
            ("clip_qkv", self.clip_qkv),
            ("attn_logit_softcapping", self.attention_softcap),
            ("final_logit_softcapping", self.logit_softcap),
            ("the scale of attention", Some(self.scales.attention)),
            ("the scale of embeddings", Some(self.scales.embedding)),
            ("the scale of branches", Some(self.scales.residual)),
            ("the scale of logits", Some(self.scales.logits)),
        ];
        for (key, value) in positive {
            if let Some(value) = value.filter(|value| !(value.is_finite() && *value > 0.0)) {
                return Err(ConfigError::NotPositive { key, value: f64::from(value) });
            }
        }
        for rope in [Some(&self.rope), self.local_rope.as_ref()].into_iter().flatten() {
            rope.check(self.head_dim)?;
        }
        self.experts.as_ref().map_or(Ok(()), |experts| experts.check(self.layers))?;
        Ok(self)
    }
}

/// D from C and the number of heads, for files that do not say it.
fn head_dim(hidden_size: usize, heads: usize) -> Result<usize, ConfigError> {
    if heads == 0 || !hidden_size.is_multiple_of(heads) {
        return Err(ConfigError::NoHeadDim { hidden_size, heads });
    }
    Ok(hidden_size / heads)
}

/// The image encoders, for messages.
fn supported_for_images() -> String {
    crate::vision::VisionType::ALL.map(crate::vision::VisionType::name).join(", ")
}
