//! The configuration in a GGUF file of architecture `llama`.

use super::{
    AttentionBias, ConfigError, DecoderConfig, HeadNorm, Layers, ModelType, Rope, RopeScaling, Scales, SlidingWindow,
    head_dim,
};
use crate::error::Error;
use crate::weights::gguf::{Gguf, GgufError, Metadata};

/// Context of Llama 3 before it was made longer; llama.cpp's converter takes it for granted too.
const LLAMA3_CONTEXT: usize = 8192;

impl DecoderConfig {
    /// The configuration of an open GGUF file.
    ///
    /// # Errors
    /// [`Error::Gguf`] if a key is missing or of another kind; [`Error::Config`] if the model is not supported or its
    /// sizes do not fit each other.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self, Error> {
        let damaged = |reason| Error::Gguf { path: gguf.path().to_path_buf(), reason };
        let refused = |reason| Error::Config { path: gguf.path().to_path_buf(), reason };
        let metadata = gguf.metadata();
        let architecture = needed(metadata.text("general.architecture"), "general.architecture").map_err(damaged)?;
        if architecture != "llama" {
            return Err(refused(ConfigError::ModelType { found: architecture.to_owned() }));
        }
        let keys = Keys::read(metadata).map_err(damaged)?;
        let rope = match gguf.rope_factors()? {
            Some(factors) => {
                let original = keys.original_context.unwrap_or(LLAMA3_CONTEXT);
                RopeScaling::of_factors(&factors, keys.rope_theta, original)
            }
            None => keys.rope(),
        };
        let vocabulary = gguf.shape("token_embd.weight").and_then(|shape| shape.first().copied());
        let vocab_size = vocabulary.or(keys.vocab_size);
        let vocab_size = needed(Ok(vocab_size), "llama.vocab_size or tokenizer.ggml.tokens").map_err(damaged)?;
        let has = |name| gguf.shape(name).is_some();
        let config = keys.config(rope.map_err(refused)?, vocab_size).map_err(refused)?;
        let config = Self {
            tied: !has("output.weight"),
            attention_bias: match (has("blk.0.attn_q.bias"), has("blk.0.attn_output.bias")) {
                (false, _) => AttentionBias::None,
                (true, false) => AttentionBias::Qkv,
                (true, true) => AttentionBias::All,
            },
            mlp_bias: has("blk.0.ffn_gate.bias"),
            ..config
        };
        config.checked().map_err(refused)
    }
}

/// The metadata keys that matter, as they are.
struct Keys {
    hidden_size: usize,
    layers: usize,
    heads: usize,
    kv_heads: Option<usize>,
    key_length: Option<usize>,
    value_length: Option<usize>,
    rotated: Option<usize>,
    intermediate_size: usize,
    vocab_size: Option<usize>,
    context: usize,
    rope_theta: f64,
    rope_type: Option<String>,
    rope_factor: Option<f64>,
    original_context: Option<usize>,
    rms_eps: f64,
    sliding_window: Option<usize>,
    experts: u64,
    bos: Option<u32>,
    eos: Vec<u32>,
}

impl Keys {
    fn read(metadata: &Metadata) -> Result<Self, GgufError> {
        let size = |key| metadata.size(key);
        let needed_size = |key| needed(size(key), key);
        let id = |key| Ok(metadata.unsigned(key)?.and_then(|id| u32::try_from(id).ok()));
        let mut eos = Vec::new();
        for key in ["tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"] {
            let id: Option<u32> = id(key)?;
            eos.extend(id.filter(|id| !eos.contains(id)));
        }
        let tokens = metadata.texts("tokenizer.ggml.tokens")?.map(<[String]>::len);
        let eps = "llama.attention.layer_norm_rms_epsilon";
        Ok(Self {
            hidden_size: needed_size("llama.embedding_length")?,
            layers: needed_size("llama.block_count")?,
            heads: needed_size("llama.attention.head_count")?,
            kv_heads: size("llama.attention.head_count_kv")?,
            key_length: size("llama.attention.key_length")?,
            value_length: size("llama.attention.value_length")?,
            rotated: size("llama.rope.dimension_count")?,
            intermediate_size: needed_size("llama.feed_forward_length")?,
            vocab_size: size("llama.vocab_size")?.or(tokens),
            context: needed_size("llama.context_length")?,
            rope_theta: metadata.float("llama.rope.freq_base")?.unwrap_or(10_000.0),
            rope_type: metadata.text("llama.rope.scaling.type")?.map(str::to_owned),
            rope_factor: match metadata.float("llama.rope.scaling.factor")? {
                Some(factor) => Some(factor),
                None => metadata.float("llama.rope.scale_linear")?,
            },
            original_context: size("llama.rope.scaling.original_context_length")?,
            rms_eps: needed(metadata.float(eps), eps)?,
            sliding_window: size("llama.attention.sliding_window")?.filter(|&window| window > 0),
            experts: metadata.unsigned("llama.expert_count")?.unwrap_or(0),
            bos: id("tokenizer.ggml.bos_token_id")?,
            eos,
        })
    }

    fn rope(&self) -> Result<RopeScaling, ConfigError> {
        // Before `type` existed, a factor alone meant linear.
        match (self.rope_type.as_deref(), self.rope_factor) {
            (Some("none"), _) | (None, None) => Ok(RopeScaling::None),
            (None, Some(1.0)) => Ok(RopeScaling::None),
            (Some("linear") | None, Some(factor)) => Ok(RopeScaling::Linear { factor }),
            (Some("linear"), None) => Err(ConfigError::Missing { key: "llama.rope.scaling.factor" }),
            (Some(found), _) => Err(ConfigError::RopeType { found: found.to_owned() }),
        }
    }

    fn config(self, rope: RopeScaling, vocab_size: usize) -> Result<DecoderConfig, ConfigError> {
        if self.experts > 0 {
            return Err(ConfigError::GgufExperts { experts: self.experts });
        }
        let head_dim = match self.key_length {
            Some(dim) => dim,
            None => head_dim(self.hidden_size, self.heads)?,
        };
        if let Some(value) = self.value_length.filter(|&value| value != head_dim) {
            return Err(ConfigError::ValueWidth { key: head_dim, value });
        }
        let model_type = ModelType::Llama;
        let family = model_type.family();
        Ok(DecoderConfig {
            model_type,
            hidden_size: self.hidden_size,
            layers: self.layers,
            heads: self.heads,
            kv_heads: self.kv_heads.unwrap_or(self.heads),
            head_dim,
            intermediate_size: self.intermediate_size,
            vocab_size,
            context: self.context,
            activation: family.activation.1,
            rope: Rope { theta: self.rope_theta, rotated: self.rotated.unwrap_or(head_dim), scaling: rope },
            local_rope: None,
            turned: Layers::All,
            block: family.block,
            norm_eps: self.rms_eps as f32,
            tied: false,
            attention_bias: AttentionBias::None,
            head_norm: HeadNorm::None,
            mlp_bias: false,
            sliding_window: self.sliding_window.map(SlidingWindow::everywhere),
            clip_qkv: None,
            scales: Scales::of_heads(head_dim),
            attention_softcap: None,
            logit_softcap: None,
            experts: None,
            bos: self.bos,
            eos: self.eos,
        })
    }
}

fn needed<T>(value: Result<Option<T>, GgufError>, key: &str) -> Result<T, GgufError> {
    value?.ok_or_else(|| GgufError::MissingKey { key: key.to_owned() })
}
