//! Command R and Aya: attention and MLP side by side, LayerNorm without bias, neighbouring features turned, logits scaled.

use loract_autograd::ops::{NormKind, RopePairs};
use serde_json::{Map, Value};

use super::{Family, HeadNorms, Norms, Over, When, llama};
use crate::config::json::Fields;
use crate::config::{Block, ConfigError, DecoderConfig};

pub(super) const FAMILY: Family = Family {
    name: "cohere",
    class: "CohereForCausalLM",
    context: 8192,
    eps: (Some("layer_norm_eps"), 1e-5),
    theta: 500_000.0,
    tied: true,
    mlp_bias: (None, false),
    norm: NormKind::Layer,
    block: Block::Parallel,
    norms: Norms { before_mlp: None, ..llama::FAMILY.norms },
    head_norm: HeadNorms { when: When::Asked("use_qk_norm"), over: Over::OwnHead, ..llama::FAMILY.head_norm },
    pairs: RopePairs::Neighbours,
    read,
    write,
    ..llama::FAMILY
};

pub(super) fn read(fields: &Fields<'_>, config: &mut DecoderConfig) -> Result<(), ConfigError> {
    config.scales.logits = fields.float("logit_scale")?.unwrap_or(0.0625) as f32;
    Ok(())
}

pub(super) fn write(config: &DecoderConfig, values: &mut Map<String, Value>) {
    values.insert("logit_scale".into(), config.scales.logits.into());
}
