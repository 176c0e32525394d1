//! Granite: Llama with embeddings, branches, scores and logits scaled.

use serde_json::{Map, Value};

use super::{Family, llama};
use crate::config::json::Fields;
use crate::config::{ConfigError, DecoderConfig, Scales};

pub(super) const FAMILY: Family =
    Family { name: "granite", class: "GraniteForCausalLM", read, write, ..llama::FAMILY };

fn read(fields: &Fields<'_>, config: &mut DecoderConfig) -> Result<(), ConfigError> {
    let scale = |key| Ok::<_, ConfigError>(fields.float(key)?.unwrap_or(1.0));
    config.scales = Scales {
        embedding: scale("embedding_multiplier")? as f32,
        residual: scale("residual_multiplier")? as f32,
        attention: scale("attention_multiplier")? as f32,
        logits: (1.0 / scale("logits_scaling")?) as f32,
    };
    Ok(())
}

fn write(config: &DecoderConfig, values: &mut Map<String, Value>) {
    let Scales { embedding, residual, attention, logits } = config.scales;
    values.insert("embedding_multiplier".into(), embedding.into());
    values.insert("residual_multiplier".into(), residual.into());
    values.insert("attention_multiplier".into(), attention.into());
    values.insert("logits_scaling".into(), (1.0 / f64::from(logits)).into());
}
