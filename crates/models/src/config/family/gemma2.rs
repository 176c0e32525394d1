//! Gemma 2: norms before and after, a window in every second layer, soft caps.

use loract_autograd::ops::Activation;
use serde_json::{Map, Value};

use super::{Family, Norms, WindowKeys, gemma};
use crate::config::json::Fields;
use crate::config::{ConfigError, DecoderConfig};

pub(super) const FAMILY: Family = Family {
    name: "gemma2",
    class: "Gemma2ForCausalLM",
    kv_heads: Some(4),
    activation: ("hidden_activation", Activation::GeluTanh),
    window: WindowKeys::Pattern { tokens: 4096, period: 2 },
    norms: Norms {
        before_attention: Some("input_layernorm"),
        after_attention: Some("post_attention_layernorm"),
        before_mlp: Some("pre_feedforward_layernorm"),
        after_mlp: Some("post_feedforward_layernorm"),
    },
    read,
    write,
    ..gemma::FAMILY
};

fn read(fields: &Fields<'_>, config: &mut DecoderConfig) -> Result<(), ConfigError> {
    read_scales(fields, config)?;
    config.attention_softcap = fields.unless_null("attn_logit_softcapping", Some(50.0))?;
    config.logit_softcap = fields.unless_null("final_logit_softcapping", Some(30.0))?;
    Ok(())
}

pub(super) fn read_scales(fields: &Fields<'_>, config: &mut DecoderConfig) -> Result<(), ConfigError> {
    gemma::read(fields, config)?;
    let scalar = fields.float("query_pre_attn_scalar")?.unwrap_or(256.0);
    config.scales.attention = scalar.powf(-0.5) as f32;
    Ok(())
}

fn write(config: &DecoderConfig, values: &mut Map<String, Value>) {
    write_scales(config, values);
    values.insert("attn_logit_softcapping".into(), config.attention_softcap.into());
}

pub(super) fn write_scales(config: &DecoderConfig, values: &mut Map<String, Value>) {
    // Its square is a whole number in every published model, and must be read as the same f32 again.
    let scalar = f64::from(config.scales.attention).powi(-2);
    let whole = scalar.round();
    let scalar = if whole.powf(-0.5) as f32 == config.scales.attention { whole } else { scalar };
    values.insert("query_pre_attn_scalar".into(), scalar.into());
    values.insert("final_logit_softcapping".into(), config.logit_softcap.into());
}
