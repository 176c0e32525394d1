//! OLMo: LayerNorm without weights, q, k and v cut off at a limit if that is asked for.

use loract_autograd::ops::NormKind;
use serde_json::{Map, Value};

use super::{Family, NormWeights, llama};
use crate::config::json::Fields;
use crate::config::{ConfigError, DecoderConfig};

pub(super) const FAMILY: Family = Family {
    name: "olmo",
    class: "OlmoForCausalLM",
    eps: (None, 1e-5),
    mlp_bias: (None, false),
    norm: NormKind::Layer,
    norm_weights: NormWeights::None,
    read,
    write,
    ..llama::FAMILY
};

pub(super) fn read(fields: &Fields<'_>, config: &mut DecoderConfig) -> Result<(), ConfigError> {
    config.clip_qkv = fields.float("clip_qkv")?.map(|limit| limit as f32);
    Ok(())
}

pub(super) fn write(config: &DecoderConfig, values: &mut Map<String, Value>) {
    values.insert("clip_qkv".into(), config.clip_qkv.into());
}
