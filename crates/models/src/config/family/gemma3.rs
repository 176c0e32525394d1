//! Gemma 3, text: Gemma 2 with norms of heads instead of soft caps, and other rotary frequencies in layers with a window.

use serde_json::{Map, Value};

use super::{Family, HeadNorms, When, WindowKeys, gemma2};
use crate::config::json::{Fields, rope};
use crate::config::{ConfigError, DecoderConfig};

pub(super) const FAMILY: Family = Family {
    name: "gemma3_text",
    class: "Gemma3ForCausalLM",
    context: 131_072,
    theta: 1_000_000.0,
    window: WindowKeys::Pattern { tokens: 4096, period: 6 },
    head_norm: HeadNorms { when: When::Always, ..gemma2::FAMILY.head_norm },
    read,
    write,
    ..gemma2::FAMILY
};

fn read(fields: &Fields<'_>, config: &mut DecoderConfig) -> Result<(), ConfigError> {
    gemma2::read_scales(fields, config)?;
    config.logit_softcap = fields.unless_null("final_logit_softcapping", None)?;
    config.local_rope = Some(rope::local(fields, config)?);
    Ok(())
}

fn write(config: &DecoderConfig, values: &mut Map<String, Value>) {
    gemma2::write_scales(config, values);
    if let Some(local) = &config.local_rope {
        values.extend(rope::local_written(local, &config.rope));
    }
}
