//! Command R7B and Command A: Cohere with a window in three layers of four; only those turn by position.

use super::{Family, HeadNorms, When, WindowKeys, cohere};
use crate::config::json::Fields;
use crate::config::{ConfigError, DecoderConfig, Layers};

pub(super) const FAMILY: Family = Family {
    name: "cohere2",
    class: "Cohere2ForCausalLM",
    theta: 10_000.0,
    window: WindowKeys::Pattern { tokens: 4096, period: 4 },
    head_norm: HeadNorms { when: When::Never, ..cohere::FAMILY.head_norm },
    read,
    ..cohere::FAMILY
};

fn read(fields: &Fields<'_>, config: &mut DecoderConfig) -> Result<(), ConfigError> {
    cohere::read(fields, config)?;
    config.turned = Layers::Listed(config.each_layer(|layer| config.window(layer).is_some()));
    Ok(())
}
