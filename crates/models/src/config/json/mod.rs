//! `config.json` of Transformers 4 and 5.

mod fields;
pub(crate) mod rope;
pub(crate) mod window;

use std::path::Path;

use loract_autograd::ops::Activation;
use serde_json::{Map, Value, json};

pub(crate) use fields::Fields;

use super::family::{AttentionBiasKey, When};
use super::{AttentionBias, ConfigError, DecoderConfig, HeadNorm, Layers, ModelType, Scales, head_dim};
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

    /// The configuration in these values of a `config.json`.
    pub(crate) fn of_map(values: &Map<String, Value>) -> Result<Self, ConfigError> {
        Self::of_values(&Fields(values), &Fields(&Map::new()))
    }

    /// As a `config.json`, which [`Self::from_json`] reads as the same configuration.
    pub fn to_json(&self) -> Map<String, Value> {
        // A GGUF file calls Mistral llama too; in a folder a Llama has no window.
        let model_type = match (self.model_type, &self.sliding_window) {
            (ModelType::Llama, Some(_)) => ModelType::Mistral,
            (model_type, _) => model_type,
        };
        let family = model_type.family();
        let layer_types: Vec<_> =
            (0..self.layers).map(|layer| window::layer_type(self.window(layer).is_some())).collect();
        let Value::Object(mut values) = json!({
            "architectures": [family.class],
            "model_type": family.name,
            "hidden_size": self.hidden_size,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_dim,
            "intermediate_size": self.intermediate_size,
            "vocab_size": self.vocab_size,
            "max_position_embeddings": self.context,
            "rope_theta": self.rope.theta,
            "partial_rotary_factor": part(self.rope.rotated, self.head_dim),
            "tie_word_embeddings": self.tied,
            "sliding_window": self.sliding_window.as_ref().map(|window| window.tokens),
            "use_sliding_window": self.sliding_window.is_some(),
            "layer_types": layer_types,
            "bos_token_id": self.bos,
            "eos_token_id": self.eos,
        }) else {
            return Map::new();
        };
        values.insert(family.activation.0.into(), activation_name(self.activation).into());
        // The shortest text that is read as the same number.
        let eps = self.norm_eps.to_string().parse::<f64>().unwrap_or(f64::from(self.norm_eps));
        values.extend(family.eps.0.map(|key| (key.into(), eps.into())));
        let has_bias = self.attention_bias != AttentionBias::None;
        values.extend(family.mlp_bias.0.map(|key| (key.into(), self.mlp_bias.into())));
        values.extend(family.attention_bias.key.map(|key| (key.into(), has_bias.into())));
        if let When::Asked(key) = family.head_norm.when {
            values.insert(key.into(), (self.head_norm == HeadNorm::QueryKey).into());
        }
        values.extend(rope::scaling_written(&self.rope.scaling, family));
        (family.write)(self, &mut values);
        values
    }

    fn of_values(config: &Fields<'_>, generation: &Fields<'_>) -> Result<Self, ConfigError> {
        let found = config.text("model_type")?.ok_or(ConfigError::Missing { key: "model_type" })?;
        let model_type = ModelType::named(found).ok_or_else(|| ConfigError::ModelType { found: found.to_owned() })?;
        let family = model_type.family();
        let (hidden_size, heads) = (config.needed("hidden_size")?, config.needed("num_attention_heads")?);
        let layers = config.needed("num_hidden_layers")?;
        let context = config.size("max_position_embeddings")?.unwrap_or(family.context);
        let head_dim = match (config.size("head_dim")?, family.head_dim) {
            (Some(dim), _) => dim,
            (None, Some(dim)) if !config.has("head_dim") => dim,
            (None, _) => head_dim(hidden_size, heads)?,
        };
        let flag = |(key, default): (Option<&str>, bool)| key.map_or(Ok(default), |key| config.flag_or(key, default));
        let AttentionBiasKey { key, default, which } = family.attention_bias;
        let mut eos = config.ids("eos_token_id")?;
        for id in generation.ids("eos_token_id")? {
            if !eos.contains(&id) {
                eos.push(id);
            }
        }
        let head_norm = match family.head_norm.when {
            When::Never => false,
            When::Always => true,
            When::Asked(key) => config.flag(key)?,
        };
        let eps = family.eps.0.map(|key| config.float(key)).transpose()?.flatten();
        let mut read = Self {
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
            head_dim,
            intermediate_size: config.needed("intermediate_size")?,
            vocab_size: config.needed("vocab_size")?,
            context,
            activation: activation(config, family.activation)?,
            rope: rope::read(config, family, &rope::Around { head_dim, context })?,
            local_rope: None,
            turned: Layers::All,
            block: family.block,
            norm_eps: eps.unwrap_or(family.eps.1) as f32,
            tied: config.flag_or("tie_word_embeddings", family.tied)?,
            attention_bias: if flag((key, default))? { which } else { AttentionBias::None },
            head_norm: if head_norm { HeadNorm::QueryKey } else { HeadNorm::None },
            mlp_bias: flag(family.mlp_bias)?,
            sliding_window: window::read(config, family.window, layers)?,
            clip_qkv: None,
            scales: Scales::of_heads(head_dim),
            attention_softcap: None,
            logit_softcap: None,
            experts: None,
            bos: config.ids("bos_token_id")?.first().copied(),
            eos,
        };
        (family.read)(config, &mut read)?;
        read.checked()
    }
}

/// The part of a head that gives `rotated` again when it is cut off to a whole number.
fn part(rotated: usize, head_dim: usize) -> f64 {
    let part = rotated as f64 / head_dim as f64;
    if (head_dim as f64 * part) as usize == rotated { part } else { part.next_up() }
}

/// Transformers' words for activations (`ACT2FN`); the first of each is what we write.
const ACTIVATIONS: [(&str, Activation); 7] = [
    ("silu", Activation::Silu),
    ("swish", Activation::Silu),
    ("gelu", Activation::Gelu),
    ("gelu_pytorch_tanh", Activation::GeluTanh),
    ("gelu_new", Activation::GeluTanh),
    ("quick_gelu", Activation::QuickGelu),
    ("relu", Activation::Relu),
];

pub(crate) fn activation(
    config: &Fields<'_>,
    (key, default): (&'static str, Activation),
) -> Result<Activation, ConfigError> {
    let Some(found) = config.text(key)? else { return Ok(default) };
    let known = ACTIVATIONS.iter().find(|(name, _)| *name == found);
    known.map(|(_, activation)| *activation).ok_or_else(|| ConfigError::Activation {
        key,
        found: found.to_owned(),
        known: ACTIVATIONS.map(|(name, _)| name).join(", "),
    })
}

fn activation_name(activation: Activation) -> &'static str {
    ACTIVATIONS.iter().find(|(_, known)| *known == activation).map_or("silu", |(name, _)| name)
}
