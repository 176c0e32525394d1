//! What a decoder is, apart from its numbers.
//!
//! | source | keys |
//! |---|---|
//! | `config.json` up to Transformers 4 | `rope_theta`, `rope_scaling {type or rope_type, …}` |
//! | `config.json` of Transformers 5 | `rope_parameters {rope_type, rope_theta, …}` |
//! | GGUF metadata, architecture `llama` | `llama.*`; what is tied or has a bias is seen from the tensors |
//!
//! Keys that are absent have the defaults of the family's configuration in Transformers (`family.rs`); sizes have none,
//! and an absent token id means that there is none.

mod error;
mod family;
mod gguf;
mod json;
mod rope;
mod window;

pub use error::ConfigError;
pub use family::{AttentionBias, HeadNorm, ModelType};
pub use rope::RopeScaling;
pub use window::{SlidingWindow, WindowLayers};

/// A decoder of Llama's kind: RMS norms, rotary positions, grouped-query attention, SwiGLU.
#[derive(Debug, Clone, PartialEq)]
pub struct DecoderConfig {
    /// Family; a GGUF file says `llama` for Mistral too.
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
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// How the rotary frequencies are changed for long contexts.
    pub rope: RopeScaling,
    /// Added to the mean square in RMS norms.
    pub rms_eps: f32,
    /// Whether the head is the embedding.
    pub tied: bool,
    /// Which of q, k, v and o have a bias.
    pub attention_bias: AttentionBias,
    /// Whether heads of q and k are normed.
    pub head_norm: HeadNorm,
    /// Whether gate, up and down have a bias.
    pub mlp_bias: bool,
    /// How far tokens see; `None`: all before them, in every layer.
    pub sliding_window: Option<SlidingWindow>,
    /// Token that begins a text.
    pub bos: Option<u32>,
    /// Tokens that end one.
    pub eos: Vec<u32>,
}

/// More layers than any decoder has; a damaged file must not make a loader ask for billions of tensors.
const MOST_LAYERS: usize = 10_000;

impl DecoderConfig {
    /// How many tokens each token of a layer sees, itself included; `None`: all before it.
    pub fn window(&self, layer: usize) -> Option<usize> {
        self.sliding_window.as_ref().and_then(|window| window.of_layer(layer))
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
        if let Some(SlidingWindow { layers: WindowLayers::Listed(list), .. }) = &self.sliding_window
            && list.len() != self.layers
        {
            return Err(ConfigError::LayerTypes { listed: list.len(), layers: self.layers });
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return Err(ConfigError::Heads { heads: self.heads, kv_heads: self.kv_heads });
        }
        if !self.head_dim.is_multiple_of(2) {
            return Err(ConfigError::OddHead { head_dim: self.head_dim });
        }
        for (key, value) in [("rms_norm_eps", f64::from(self.rms_eps)), ("rope_theta", self.rope_theta)] {
            if !(value.is_finite() && value > 0.0) {
                return Err(ConfigError::NotPositive { key, value });
            }
        }
        self.rope.check()?;
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
