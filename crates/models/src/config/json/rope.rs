//! Rotary positions, as a `config.json` says them: `rope_parameters` of Transformers 5, in Gemma 3 one for each kind of layer, or
//! `rope_theta`, `rope_scaling` and `partial_rotary_factor` of those before.

use serde_json::{Map, Value, json};

use super::Fields;
use crate::config::family::Family;
use crate::config::rope::{long_amplitude, yarn_amplitude};
use crate::config::{ConfigError, DecoderConfig, Rope, RopeScaling};

/// Key in `rope_parameters` of the layers that have no window, and of those that have.
const GLOBAL: &str = "full_attention";
const LOCAL: &str = "sliding_attention";

/// Sizes that rope depends on.
pub(super) struct Around {
    pub head_dim: usize,
    pub context: usize,
}

/// That of all layers, or of those without a window where the others have one of their own.
pub(super) fn read(config: &Fields<'_>, family: &Family, around: &Around) -> Result<Rope, ConfigError> {
    let none = Map::new();
    let inner = match config.object("rope_parameters")? {
        Some(inner) => Some(inner.object(GLOBAL)?.unwrap_or(inner)),
        None => config.object("rope_scaling")?,
    };
    let inner = inner.unwrap_or(Fields(&none));
    let part = match inner.float("partial_rotary_factor")? {
        Some(part) => part,
        None => config.float("partial_rotary_factor")?.unwrap_or(family.rotated),
    };
    let theta = match inner.float("rope_theta")? {
        Some(theta) => theta,
        None => config.float("rope_theta")?.unwrap_or(family.theta),
    };
    // A part of a head as Python cuts it off; nonsense is refused by its size.
    let rotated = (around.head_dim as f64 * part) as usize;
    Ok(Rope { theta, rotated, scaling: scaling(config, &inner, family, around.context)? })
}

/// That of layers with a window, in Gemma 3.
pub(crate) fn local(fields: &Fields<'_>, config: &DecoderConfig) -> Result<Rope, ConfigError> {
    const THETA: f64 = 10_000.0;
    let inner = match fields.object("rope_parameters")? {
        Some(inner) => inner.object(LOCAL)?,
        None => None,
    };
    let (theta, scaling) = match inner {
        Some(inner) => {
            (inner.float("rope_theta")?, scaling(fields, &inner, config.model_type.family(), config.context)?)
        }
        None => (None, RopeScaling::None),
    };
    let theta = match theta {
        Some(theta) => theta,
        None => fields.float("rope_local_base_freq")?.unwrap_or(THETA),
    };
    Ok(Rope { theta, rotated: config.head_dim, scaling })
}

fn scaling(
    config: &Fields<'_>,
    inner: &Fields<'_>,
    family: &Family,
    context: usize,
) -> Result<RopeScaling, ConfigError> {
    let rope_type = match inner.text("rope_type")? {
        Some(rope_type) => Some(rope_type),
        None => inner.text("type")?,
    };
    let needed = |key| inner.float(key)?.ok_or(ConfigError::Missing { key });
    // Phi-3 has it outside, and that counts.
    let outside = config.size("original_max_position_embeddings")?.or(family.original_context);
    let original_context = match outside {
        Some(outside) => outside,
        None => inner.size("original_max_position_embeddings")?.unwrap_or(context),
    };
    let longer = context as f64 / original_context as f64;
    Ok(match rope_type.unwrap_or("default") {
        "default" => RopeScaling::None,
        "linear" => RopeScaling::Linear { factor: needed("factor")? },
        "llama3" => RopeScaling::Llama3 {
            factor: needed("factor")?,
            low_freq_factor: needed("low_freq_factor")?,
            high_freq_factor: needed("high_freq_factor")?,
            original_context,
        },
        // Phi-3's first files call LongRoPE so.
        "yarn" if !inner.has("long_factor") => {
            let factor = inner.float("factor")?.unwrap_or(longer);
            let (mscale, all) = (inner.float("mscale")?, inner.float("mscale_all_dim")?);
            let amplitude = match (inner.float("attention_factor")?, mscale, all) {
                (Some(amplitude), _, _) => amplitude,
                (None, Some(mscale), Some(all)) if mscale != 0.0 && all != 0.0 => {
                    yarn_amplitude(factor, mscale) / yarn_amplitude(factor, all)
                }
                _ => yarn_amplitude(factor, 1.0),
            };
            RopeScaling::Yarn {
                factor,
                beta_fast: inner.float("beta_fast")?.filter(|&beta| beta != 0.0).unwrap_or(32.0),
                beta_slow: inner.float("beta_slow")?.filter(|&beta| beta != 0.0).unwrap_or(1.0),
                truncate: inner.flag_or("truncate", true)?,
                original_context,
                amplitude,
            }
        }
        "longrope" | "su" | "yarn" => {
            let factors = |key| inner.floats(key)?.ok_or(ConfigError::Missing { key });
            let factor = inner.float("factor")?.unwrap_or(longer);
            let amplitude =
                inner.float("attention_factor")?.unwrap_or_else(|| long_amplitude(factor, original_context));
            RopeScaling::Long {
                short: factors("short_factor")?,
                long: factors("long_factor")?,
                original_context,
                amplitude,
            }
        }
        found => return Err(ConfigError::RopeType { found: found.to_owned() }),
    })
}

/// The keys of layers with a window beside those of the others, which [`local`] and [`read`] read as the same.
pub(crate) fn local_written(local: &Rope, global: &Rope) -> Map<String, Value> {
    let mut values = Map::new();
    if local.scaling == RopeScaling::None {
        values.insert("rope_local_base_freq".into(), local.theta.into());
        return values;
    }
    // The older keys have no place for it.
    let of = |rope: &Rope| {
        let mut inner = match written(&rope.scaling) {
            Value::Object(inner) => inner,
            _ => Map::new(),
        };
        inner.insert("rope_theta".into(), rope.theta.into());
        inner
    };
    values.insert("rope_parameters".into(), json!({ GLOBAL: of(global), LOCAL: of(local) }));
    values
}

/// `rope_scaling`, and what a family has beside it, which [`read`] reads as the same.
pub(crate) fn scaling_written(scaling: &RopeScaling, family: &Family) -> Map<String, Value> {
    let mut values = Map::new();
    values.insert("rope_scaling".into(), written(scaling));
    if family.original_context.is_some()
        && let RopeScaling::Long { original_context, .. } | RopeScaling::Yarn { original_context, .. } = scaling
    {
        values.insert("original_max_position_embeddings".into(), (*original_context).into());
    }
    values
}

fn written(scaling: &RopeScaling) -> Value {
    match scaling {
        RopeScaling::None => Value::Null,
        RopeScaling::Linear { factor } => json!({ "rope_type": "linear", "factor": factor }),
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => json!({
            "rope_type": "llama3", "factor": factor, "low_freq_factor": low_freq_factor,
            "high_freq_factor": high_freq_factor, "original_max_position_embeddings": original_context,
        }),
        RopeScaling::Yarn { factor, beta_fast, beta_slow, truncate, original_context, amplitude } => json!({
            "rope_type": "yarn", "factor": factor, "beta_fast": beta_fast, "beta_slow": beta_slow, "truncate": truncate,
            "original_max_position_embeddings": original_context, "attention_factor": amplitude,
        }),
        RopeScaling::Long { short, long, original_context, amplitude } => json!({
            "rope_type": "longrope", "short_factor": short, "long_factor": long,
            "original_max_position_embeddings": original_context, "attention_factor": amplitude,
        }),
    }
}
