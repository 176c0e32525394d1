//! The configuration in a GGUF file: its metadata in the words of a `config.json`, so that what a family does by default is told
//! at one place; and what no key says, as llama.cpp does it.

use loract_autograd::ops::NormKind;
use serde_json::{Map, Value, json};

use super::architecture::{Architecture, Windows};
use super::rope;
use crate::config::family::When;
use crate::config::json::{rope::scaling_written, window::layer_type};
use crate::config::{AttentionBias, ConfigError, DecoderConfig, HeadNorm, MOST_LAYERS, ModelType, RopeScaling, Scales};
use crate::error::Error;
use crate::weights::gguf::{Gguf, GgufError, Metadata};

/// Base of the rotary frequencies where a file says nothing.
pub(super) const THETA: f64 = 10_000.0;
/// Key of the layers that have a window, without the architecture: true for each that has, or every how manyth has not.
pub(super) const PATTERN: &str = "attention.sliding_window_pattern";

impl DecoderConfig {
    /// The configuration of an open GGUF file.
    ///
    /// # Errors
    /// [`Error::Gguf`] if a key is missing or of another kind; [`Error::Config`] if the model is not supported or its
    /// sizes do not fit each other.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self, Error> {
        let damaged = |reason| gguf.damaged(reason);
        let refused = |reason| Error::Config { path: gguf.path().to_path_buf(), reason };
        let architecture = Architecture::of(gguf.metadata()).map_err(damaged)?.map_err(refused)?;
        let file = File { gguf, metadata: gguf.metadata(), architecture };
        let values = file.values().map_err(damaged)?;
        file.check(&values).map_err(damaged)?.map_err(refused)?;
        let scaling = rope::read(architecture, gguf)?.map_err(refused)?;
        let windows = values.get("sliding_window").and_then(Value::as_u64);
        let config = Self::of_gguf_values(values, &scaling).map_err(refused)?;
        match windows {
            Some(tokens) if config.sliding_window.is_none() => {
                Err(refused(ConfigError::GgufWindow { tokens, family: config.model_type }))
            }
            _ => Ok(file.with_seen(config)),
        }
    }

    fn of_gguf_values(mut values: Map<String, Value>, scaling: &RopeScaling) -> Result<Self, ConfigError> {
        let named = values.get("model_type").and_then(Value::as_str).and_then(ModelType::named);
        // Of another name the reader says what is wrong.
        values.extend(scaling_written(scaling, named.unwrap_or(ModelType::Llama).family()));
        let config = Self::of_map(&values)?;
        Ok(match granted_attention_scale(&config) {
            Some(attention) => Self { scales: Scales { attention, ..config.scales }, ..config },
            None => config,
        })
    }
}

/// What llama.cpp multiplies q·k with where no key says it; `None` where one does, or the family is not told apart.
pub(super) fn granted_attention_scale(config: &DecoderConfig) -> Option<f32> {
    // The 27 billion parameters, by their number of layers (`src/models/gemma2.cpp`, `gemma3.cpp`).
    let large = match config.model_type {
        ModelType::Gemma2 => 46,
        ModelType::Gemma3 => 62,
        _ => return None,
    };
    let width = if config.layers == large { config.hidden_size / config.heads } else { config.head_dim };
    Some((width as f64).powf(-0.5) as f32)
}

/// The key of what is added in norms, without the architecture.
pub(super) fn norm_eps(kind: NormKind) -> &'static str {
    match kind {
        NormKind::Rms => "attention.layer_norm_rms_epsilon",
        NormKind::Layer => "attention.layer_norm_epsilon",
    }
}

/// A file that is read.
struct File<'a> {
    gguf: &'a Gguf,
    metadata: &'a Metadata,
    architecture: &'static Architecture,
}

impl File<'_> {
    fn has(&self, tensor: &str) -> bool {
        self.gguf.shape(tensor).is_some()
    }

    fn size(&self, end: &str) -> Result<Option<usize>, GgufError> {
        self.metadata.size(&self.architecture.key(end))
    }

    /// The metadata in the words of a `config.json`.
    fn values(&self) -> Result<Map<String, Value>, GgufError> {
        let (architecture, family) = (self.architecture, self.architecture.model_type.family());
        let mut values = architecture.values(self.metadata)?;
        let float = |end: &str| self.metadata.float(&architecture.key(end));
        // Absent they are those of other sizes, whatever the family has by default.
        for key in ["head_dim", "num_key_value_heads"] {
            values.entry(key).or_insert(Value::Null);
        }
        values.insert("model_type".into(), family.name.into());
        values.insert("rope_theta".into(), float("rope.freq_base")?.unwrap_or(THETA).into());
        values.insert("partial_rotary_factor".into(), self.rotated(&values)?.into());
        if let Some(key) = family.eps.0 {
            let end = norm_eps(family.norm);
            values.insert(key.into(), needed(float(end), &architecture.key(end))?.into());
        }
        values.insert("vocab_size".into(), self.vocabulary()?.into());
        values.insert("tie_word_embeddings".into(), (!self.has("output.weight")).into());
        match architecture.model_type {
            ModelType::Qwen3Moe => drop(values.insert("norm_topk_prob".into(), true.into())),
            ModelType::StableLm => {
                let parallel = !self.has("blk.0.ffn_norm.weight");
                values.insert("use_parallel_residual".into(), parallel.into());
            }
            _ => {}
        }
        self.window(&mut values)?;
        self.tokens(&mut values)?;
        Ok(values)
    }

    /// The part of each head that turns.
    fn rotated(&self, values: &Map<String, Value>) -> Result<f64, GgufError> {
        let size = |key: &str| values.get(key).and_then(Value::as_u64).unwrap_or(0) as f64;
        let head_dim = match size("head_dim") {
            0.0 => (size("hidden_size") / size("num_attention_heads")).floor(),
            said => said,
        };
        // Half a feature more, as the part is cut off to whole ones.
        Ok(self.size("rope.dimension_count")?.map_or(1.0, |rotated| (rotated as f64 + 0.5) / head_dim))
    }

    /// Tokens, V.
    fn vocabulary(&self) -> Result<usize, GgufError> {
        let rows = self.gguf.shape("token_embd.weight").and_then(|shape| shape.first().copied());
        let tokens = self.metadata.texts("tokenizer.ggml.tokens")?.map(<[String]>::len);
        let said = self.size("vocab_size")?;
        needed(Ok(rows.or(said).or(tokens)), "vocab_size or tokenizer.ggml.tokens")
    }

    /// How far tokens see, and where.
    fn window(&self, values: &mut Map<String, Value>) -> Result<(), GgufError> {
        let tokens = match self.size("attention.sliding_window")? {
            // Files of its first days do not say it, and llama.cpp takes what the family has by default.
            None if self.architecture.model_type == ModelType::Gemma2 => return Ok(()),
            tokens => tokens.filter(|&tokens| tokens > 0),
        };
        values.insert("sliding_window".into(), json!(tokens));
        values.insert("use_sliding_window".into(), tokens.is_some().into());
        // A Llama with windows is called Mistral.
        if tokens.is_some() && self.architecture.model_type == ModelType::Llama {
            values.insert("model_type".into(), ModelType::Mistral.family().name.into());
        }
        let layers = self.size("block_count")?.unwrap_or(0).min(MOST_LAYERS);
        let all_but =
            |period: usize| (0..layers).map(|i| period == 0 || i % period < period - 1).collect::<Vec<bool>>();
        let key = self.architecture.key(PATTERN);
        let listed = match (self.metadata.size(&key), self.architecture.windows) {
            (Ok(Some(period)), _) | (Ok(None), Windows::AllBut(period)) => all_but(period),
            (Ok(None), Windows::Ignored) => vec![true; layers],
            (Err(_), _) => self.metadata.bools(&key)?.unwrap_or_default().to_vec(),
        };
        let types = listed.into_iter().map(|has| layer_type(tokens.is_some() && has));
        values.insert("layer_types".into(), types.collect());
        Ok(())
    }

    /// The tokens that begin and end a text.
    fn tokens(&self, values: &mut Map<String, Value>) -> Result<(), GgufError> {
        let id = |key| Ok(self.metadata.unsigned(key)?.and_then(|id| u32::try_from(id).ok()));
        let mut eos = Vec::new();
        for key in ["tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"] {
            let id: Option<u32> = id(key)?;
            eos.extend(id.filter(|id| !eos.contains(id)));
        }
        values.insert("bos_token_id".into(), json!(id("tokenizer.ggml.bos_token_id")?));
        values.insert("eos_token_id".into(), json!(eos));
        Ok(())
    }

    /// Refuses what no configuration here says.
    fn check(&self, values: &Map<String, Value>) -> Result<Result<(), ConfigError>, GgufError> {
        let experts = self.metadata.unsigned(&self.architecture.key("expert_count"))?.unwrap_or(0);
        if experts > 0 && !self.architecture.keys.iter().any(|key| key.gguf == "expert_count") {
            return Ok(Err(ConfigError::GgufExperts { experts }));
        }
        let key = values.get("head_dim").and_then(Value::as_u64).map(|dim| dim as usize);
        Ok(match (key, self.size("attention.value_length")?) {
            (Some(key), Some(value)) if key != value => Err(ConfigError::ValueWidth { key, value }),
            _ => Ok(()),
        })
    }

    /// With what is seen from the tensors, where the family leaves it open.
    fn with_seen(&self, config: DecoderConfig) -> DecoderConfig {
        let family = config.model_type.family();
        let has_bias = |part: &str| self.has(&format!("blk.0.{part}.bias"));
        DecoderConfig {
            attention_bias: match (has_bias("attn_q") || has_bias("attn_qkv"), has_bias("attn_output")) {
                _ if family.attention_bias.key.is_none() => config.attention_bias,
                (false, _) => AttentionBias::None,
                (true, false) => AttentionBias::Qkv,
                (true, true) => AttentionBias::All,
            },
            mlp_bias: match family.mlp_bias.0 {
                Some(_) => has_bias("ffn_up"),
                None => config.mlp_bias,
            },
            head_norm: match family.head_norm.when {
                When::Asked(_) if self.has("blk.0.attn_q_norm.weight") => HeadNorm::QueryKey,
                When::Asked(_) => HeadNorm::None,
                _ => config.head_norm,
            },
            ..config
        }
    }
}

fn needed<T>(value: Result<Option<T>, GgufError>, key: &str) -> Result<T, GgufError> {
    value?.ok_or_else(|| GgufError::MissingKey { key: key.to_owned() })
}
