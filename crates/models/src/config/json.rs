//! `config.json` of Transformers 4 and 5.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::family::{AttentionBias, BiasKey, Family, WindowKeys};
use super::{ConfigError, DecoderConfig, MOST_LAYERS, ModelType, RopeScaling, SlidingWindow, WindowLayers, head_dim};
use crate::error::Error;

impl DecoderConfig {
    /// The configuration in the text of a `config.json`, which messages call `path`. `generation`, the text of a
    /// `generation_config.json`, may add tokens that end a text.
    ///
    /// # Errors
    /// [`Error::Json`] if a text is not a JSON object; [`Error::Config`] if the model is not supported or a value is
    /// missing, of another kind or does not fit the others.
    pub fn from_json(path: &Path, text: &str, generation: Option<&str>) -> Result<Self, Error> {
        let object = |text| {
            let parsed = serde_json::from_str::<Map<String, Value>>(text);
            parsed.map_err(|reason| Error::Json { path: path.to_path_buf(), reason })
        };
        let values = object(text)?;
        let more = generation.map(object).transpose()?.unwrap_or_default();
        let config = Self::of_values(&Fields(&values), &Fields(&more));
        config.map_err(|reason| Error::Config { path: path.to_path_buf(), reason })
    }

    /// As a `config.json`, which [`Self::from_json`] reads as the same configuration.
    pub fn to_json(&self) -> Map<String, Value> {
        // A GGUF file calls Mistral llama too; in a folder a Llama has no window.
        let model_type = match (self.model_type, &self.sliding_window) {
            (ModelType::Llama, Some(_)) => ModelType::Mistral,
            (model_type, _) => model_type,
        };
        let layer_types: Vec<_> = (0..self.layers).map(|layer| layer_type(self.window(layer).is_some())).collect();
        let rope_scaling = match self.rope {
            RopeScaling::None => Value::Null,
            RopeScaling::Linear { factor } => json!({ "rope_type": "linear", "factor": factor }),
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => json!({
                "rope_type": "llama3", "factor": factor, "low_freq_factor": low_freq_factor,
                "high_freq_factor": high_freq_factor, "original_max_position_embeddings": original_context,
            }),
        };
        let Value::Object(values) = json!({
            "architectures": [model_type.family().class],
            "model_type": model_type.to_string(),
            "hidden_act": "silu",
            "hidden_size": self.hidden_size,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_dim,
            "intermediate_size": self.intermediate_size,
            "vocab_size": self.vocab_size,
            "max_position_embeddings": self.context,
            "rope_theta": self.rope_theta,
            "rope_scaling": rope_scaling,
            // The shortest text that is read as the same number.
            "rms_norm_eps": self.rms_eps.to_string().parse::<f64>().unwrap_or(f64::from(self.rms_eps)),
            "tie_word_embeddings": self.tied,
            "attention_bias": self.attention_bias == AttentionBias::All,
            "mlp_bias": self.mlp_bias,
            "sliding_window": self.sliding_window.as_ref().map(|window| window.tokens),
            "use_sliding_window": self.sliding_window.is_some(),
            "layer_types": layer_types,
            "bos_token_id": self.bos,
            "eos_token_id": self.eos,
        }) else {
            return Map::new();
        };
        values
    }

    fn of_values(config: &Fields<'_>, generation: &Fields<'_>) -> Result<Self, ConfigError> {
        let model_type = config.text("model_type")?.ok_or(ConfigError::Missing { key: "model_type" })?;
        let model_type =
            ModelType::named(model_type).ok_or_else(|| ConfigError::ModelType { found: model_type.to_owned() })?;
        let family = model_type.family();
        match config.text("hidden_act")? {
            None | Some("silu" | "swish") => {}
            Some(found) => return Err(ConfigError::Activation { found: found.to_owned() }),
        }
        let (hidden_size, heads) = (config.needed("hidden_size")?, config.needed("num_attention_heads")?);
        let layers = config.needed("num_hidden_layers")?;
        let context = config.size("max_position_embeddings")?.unwrap_or(family.context);
        let (rope_theta, rope) = rope(config, context)?;
        let mut eos = config.ids("eos_token_id")?;
        for id in generation.ids("eos_token_id")? {
            if !eos.contains(&id) {
                eos.push(id);
            }
        }
        Self {
            model_type,
            hidden_size,
            layers,
            heads,
            kv_heads: match config.size("num_key_value_heads")? {
                Some(kv_heads) => kv_heads,
                // Written as null it is that of the queries.
                None if config.has("num_key_value_heads") => heads,
                None => family.kv_heads.unwrap_or(heads),
            },
            head_dim: match (config.size("head_dim")?, family.head_dim) {
                (Some(dim), _) => dim,
                (None, Some(dim)) if !config.has("head_dim") => dim,
                (None, _) => head_dim(hidden_size, heads)?,
            },
            intermediate_size: config.needed("intermediate_size")?,
            vocab_size: config.needed("vocab_size")?,
            context,
            rope_theta,
            rope,
            rms_eps: config.float("rms_norm_eps")?.unwrap_or(1e-6) as f32,
            tied: config.flag("tie_word_embeddings")?,
            attention_bias: match family.attention_bias {
                BiasKey::Always(bias) => bias,
                BiasKey::Asked if config.flag("attention_bias")? => AttentionBias::All,
                BiasKey::Asked => AttentionBias::None,
            },
            head_norm: family.head_norm,
            mlp_bias: family.reads_mlp_bias && config.flag("mlp_bias")?,
            sliding_window: window(config, &family, layers)?,
            bos: config.ids("bos_token_id")?.first().copied(),
            eos,
        }
        .checked()
    }
}

/// The window, where there is one.
fn window(config: &Fields<'_>, family: &Family, layers: usize) -> Result<Option<SlidingWindow>, ConfigError> {
    /// Of Mistral and Qwen.
    const TOKENS: usize = 4096;
    /// Of Qwen.
    const FULL_LAYERS: usize = 28;
    let used = match family.window {
        WindowKeys::Never => false,
        WindowKeys::Every => true,
        WindowKeys::IfUsed => config.flag("use_sliding_window")?,
    };
    let tokens = match config.size("sliding_window")? {
        None if !config.has("sliding_window") => Some(TOKENS),
        tokens => tokens,
    };
    let Some(tokens) = tokens.filter(|_| used) else { return Ok(None) };
    if family.window == WindowKeys::Every {
        return Ok(Some(SlidingWindow::everywhere(tokens)));
    }
    let list = match config.texts("layer_types")? {
        Some(types) => types.into_iter().map(has_window).collect::<Result<_, _>>()?,
        None => {
            let full = config.size("max_window_layers")?.unwrap_or(FULL_LAYERS);
            // More layers than there can be are refused elsewhere.
            (0..layers.min(MOST_LAYERS)).map(|layer| layer >= full).collect()
        }
    };
    Ok(Some(SlidingWindow { tokens, layers: WindowLayers::Listed(list) }))
}

/// Transformers' words for attention with a window and without.
const LAYER_TYPES: [&str; 2] = ["full_attention", "sliding_attention"];

fn layer_type(has_window: bool) -> &'static str {
    LAYER_TYPES[usize::from(has_window)]
}

fn has_window(layer_type: &str) -> Result<bool, ConfigError> {
    let place = LAYER_TYPES.iter().position(|known| *known == layer_type);
    place.map(|place| place == 1).ok_or_else(|| ConfigError::LayerType { found: layer_type.to_owned() })
}

/// θ and the scaling, from the keys of Transformers 5 or those before.
fn rope(config: &Fields<'_>, context: usize) -> Result<(f64, RopeScaling), ConfigError> {
    let none = Map::new();
    let inner = match config.object("rope_parameters")? {
        Some(inner) => Some(inner),
        None => config.object("rope_scaling")?,
    };
    let inner = Fields(inner.unwrap_or(&none));
    for (key, fields) in [("partial_rotary_factor", config), ("partial_rotary_factor", &inner)] {
        if let Some(found) = fields.float(key)?.filter(|&part| part != 1.0) {
            return Err(ConfigError::PartialRotary { key, found });
        }
    }
    let theta = match inner.float("rope_theta")? {
        Some(theta) => theta,
        None => config.float("rope_theta")?.unwrap_or(10_000.0),
    };
    let rope_type = match inner.text("rope_type")? {
        Some(rope_type) => Some(rope_type),
        None => inner.text("type")?,
    };
    let needed = |key| inner.float(key)?.ok_or(ConfigError::Missing { key });
    let scaling = match rope_type.unwrap_or("default") {
        "default" => RopeScaling::None,
        "linear" => RopeScaling::Linear { factor: needed("factor")? },
        "llama3" => RopeScaling::Llama3 {
            factor: needed("factor")?,
            low_freq_factor: needed("low_freq_factor")?,
            high_freq_factor: needed("high_freq_factor")?,
            original_context: inner.size("original_max_position_embeddings")?.unwrap_or(context),
        },
        found => return Err(ConfigError::RopeType { found: found.to_owned() }),
    };
    Ok((theta, scaling))
}

/// A JSON object whose values are asked for by kind; `null` is the same as absent.
struct Fields<'a>(&'a Map<String, Value>);

impl<'a> Fields<'a> {
    fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    fn of_kind<T>(
        &self,
        key: &str,
        expected: &'static str,
        pick: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, ConfigError> {
        let Some(value) = self.0.get(key).filter(|value| !value.is_null()) else { return Ok(None) };
        pick(value).map(Some).ok_or_else(|| {
            // A few words of a long value are enough to find it.
            let found: String = value.to_string().chars().take(60).collect();
            ConfigError::Kind { key: key.to_owned(), found, expected }
        })
    }

    fn size(&self, key: &str) -> Result<Option<usize>, ConfigError> {
        self.of_kind(key, "a whole number", |v| v.as_u64().and_then(|n| usize::try_from(n).ok()))
    }
    fn needed(&self, key: &'static str) -> Result<usize, ConfigError> {
        self.size(key)?.ok_or(ConfigError::Missing { key })
    }
    fn float(&self, key: &str) -> Result<Option<f64>, ConfigError> {
        self.of_kind(key, "a number", Value::as_f64)
    }
    fn flag(&self, key: &str) -> Result<bool, ConfigError> {
        Ok(self.of_kind(key, "true or false", Value::as_bool)?.unwrap_or(false))
    }
    fn text(&self, key: &str) -> Result<Option<&'a str>, ConfigError> {
        self.of_kind(key, "a string", Value::as_str)
    }
    fn texts(&self, key: &str) -> Result<Option<Vec<&'a str>>, ConfigError> {
        self.of_kind(key, "a list of strings", |v| v.as_array()?.iter().map(Value::as_str).collect())
    }
    fn object(&self, key: &str) -> Result<Option<&'a Map<String, Value>>, ConfigError> {
        self.of_kind(key, "an object", Value::as_object)
    }

    /// A token id or a list of them; a negative one means none.
    fn ids(&self, key: &str) -> Result<Vec<u32>, ConfigError> {
        let id = |value: &Value| value.as_i64().filter(|&id| id <= i64::from(u32::MAX));
        let ids = self.of_kind(key, "a token id or a list of them", |value| match value {
            Value::Array(list) => list.iter().map(id).collect::<Option<Vec<i64>>>(),
            one => id(one).map(|id| vec![id]),
        })?;
        Ok(ids.unwrap_or_default().into_iter().filter_map(|id| u32::try_from(id).ok()).collect())
    }
}
