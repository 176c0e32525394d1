//! SmolLM3: Llama in which every fourth layer does not turn by position.

use serde_json::{Map, Value};

use super::{Family, llama};
use crate::config::json::{Fields, window};
use crate::config::{ConfigError, DecoderConfig, Layers, SlidingWindow};

pub(super) const FAMILY: Family = Family {
    name: "smollm3",
    class: "SmolLM3ForCausalLM",
    context: 32_768,
    kv_heads: Some(4),
    theta: 2_000_000.0,
    tied: true,
    read,
    write,
    ..llama::FAMILY
};

fn read(fields: &Fields<'_>, config: &mut DecoderConfig) -> Result<(), ConfigError> {
    let turned = match fields.sizes("no_rope_layers")? {
        // The name says the contrary: 1 is a layer that turns.
        Some(list) => list.into_iter().map(|turns| turns != 0).collect(),
        None => {
            let interval = fields.size("no_rope_layer_interval")?.unwrap_or(4);
            if interval == 0 {
                return Err(ConfigError::Size { key: "no_rope_layer_interval", size: 0 });
            }
            config.each_layer(|layer| !(layer + 1).is_multiple_of(interval))
        }
    };
    if let (true, Some(tokens)) = (fields.flag("use_sliding_window")?, fields.size("sliding_window")?) {
        let layers = window::listed(fields)?.unwrap_or_else(|| turned.iter().map(|turns| !turns).collect());
        config.sliding_window = Some(SlidingWindow { tokens, layers: Layers::Listed(layers) });
    }
    config.turned = Layers::Listed(turned);
    Ok(())
}

fn write(config: &DecoderConfig, values: &mut Map<String, Value>) {
    let turned: Vec<u8> = (0..config.layers).map(|layer| config.turned.has(layer).into()).collect();
    values.insert("no_rope_layers".into(), turned.into());
}
