//! What a GGUF file has no key for: llama.cpp takes it for granted, and a model that has it otherwise is not written.

use loract_autograd::ops::Activation;

use super::architecture::Architecture;
use super::config::granted_attention_scale;
use crate::config::{ConfigError, DecoderConfig, ExpertWeights, HeadNorm, ModelType, RopeScaling};

/// Layers from which on llama.cpp reads norms of heads of Command R.
const NORMED_COHERE: usize = 64;

/// # Errors
/// [`ConfigError::NotSaid`] with the first such thing.
pub(super) fn check(architecture: &Architecture, config: &DecoderConfig) -> Result<(), ConfigError> {
    let granted = Granted::of(architecture, config);
    let differs = |key, found: String, taken: String| match found == taken {
        true => Ok(()),
        false => Err(ConfigError::NotSaid { key, found, taken }),
    };
    let activation = |activation: Activation| format!("{activation:?}");
    differs("the activation", activation(config.activation), activation(granted.activation))?;
    if let Some(scale) = granted.attention_scale {
        let scalar = |scale: f32| f64::from(scale).powi(-2).round().to_string();
        differs("query_pre_attn_scalar", scalar(config.scales.attention), scalar(scale))?;
    }
    let turned = |list: Vec<bool>| format!("{:?}", list.into_iter().map(u8::from).collect::<Vec<_>>());
    let turns = config.each_layer(|layer| config.turned.has(layer));
    differs("no_rope_layers", turned(turns), turned(granted.turned))?;
    if let Some(experts) = &config.experts {
        let sums = |weights: ExpertWeights| (weights == ExpertWeights::SumToOne).to_string();
        differs("norm_topk_prob", sums(experts.weights), sums(granted.expert_weights))?;
        let dense = config.each_layer(|layer| !experts.layers.has(layer)).into_iter().filter(|dense| *dense).count();
        differs("the number of layers without experts", dense.to_string(), "0".to_owned())?;
    }
    if config.model_type == ModelType::Cohere {
        let normed = (config.head_norm == HeadNorm::QueryKey).to_string();
        differs("use_qk_norm", normed, (config.layers >= NORMED_COHERE).to_string())?;
    }
    if let RopeScaling::Yarn { truncate: false, .. } = config.rope.scaling {
        return differs("truncate", "false".to_owned(), "true".to_owned());
    }
    match config.local_rope.as_ref().map(|rope| &rope.scaling) {
        None | Some(RopeScaling::None) => Ok(()),
        Some(_) => differs("the rope scaling of layers with a window", "one".to_owned(), "none".to_owned()),
    }
}

/// What llama.cpp takes for granted of a model.
struct Granted {
    activation: Activation,
    attention_scale: Option<f32>,
    turned: Vec<bool>,
    expert_weights: ExpertWeights,
}

impl Granted {
    fn of(architecture: &Architecture, config: &DecoderConfig) -> Self {
        Self {
            activation: architecture.model_type.family().activation.1,
            attention_scale: granted_attention_scale(config),
            turned: config.each_layer(|layer| match config.model_type {
                ModelType::SmolLm3 => !(layer + 1).is_multiple_of(4),
                ModelType::Cohere2 => config.window(layer).is_some(),
                _ => true,
            }),
            expert_weights: match config.model_type {
                ModelType::Olmoe => ExpertWeights::Probabilities,
                _ => ExpertWeights::SumToOne,
            },
        }
    }
}
