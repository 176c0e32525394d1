//! How far tokens see, as a `config.json` says it.

use super::Fields;
use crate::config::family::WindowKeys;
use crate::config::{ConfigError, Layers, MOST_LAYERS, SlidingWindow};

/// The window, where there is one.
pub(super) fn read(config: &Fields<'_>, keys: WindowKeys, layers: usize) -> Result<Option<SlidingWindow>, ConfigError> {
    let tokens = |default: Option<usize>| match config.size("sliding_window")? {
        None if !config.has("sliding_window") => Ok::<_, ConfigError>(default),
        tokens => Ok(tokens),
    };
    let everywhere = |tokens: Option<usize>| tokens.map(SlidingWindow::everywhere);
    let in_layers = |tokens: Option<usize>, otherwise: &dyn Fn(usize) -> bool| {
        let Some(tokens) = tokens else { return Ok(None) };
        // More layers than there can be are refused elsewhere.
        let list = listed(config)?.unwrap_or_else(|| (0..layers.min(MOST_LAYERS)).map(otherwise).collect());
        Ok(Some(SlidingWindow { tokens, layers: Layers::Listed(list) }))
    };
    match keys {
        WindowKeys::Never => Ok(None),
        WindowKeys::Every { tokens: default } => Ok(everywhere(tokens(default)?)),
        WindowKeys::EveryIfUsed { .. } | WindowKeys::UpperIfUsed { .. } if !config.flag("use_sliding_window")? => {
            Ok(None)
        }
        WindowKeys::EveryIfUsed { tokens: default } => Ok(everywhere(tokens(Some(default))?)),
        WindowKeys::UpperIfUsed { tokens: default, full } => {
            let full = config.size("max_window_layers")?.unwrap_or(full);
            in_layers(tokens(Some(default))?, &|layer| layer >= full)
        }
        WindowKeys::Pattern { tokens: default, period } => {
            let period = config.size("sliding_window_pattern")?.unwrap_or(period);
            if period == 0 {
                return Err(ConfigError::Size { key: "sliding_window_pattern", size: 0 });
            }
            in_layers(tokens(Some(default))?, &|layer| !(layer + 1).is_multiple_of(period))
        }
    }
}

/// Transformers' words for attention with a window and without.
const LAYER_TYPES: [&str; 2] = ["full_attention", "sliding_attention"];

/// Which layers have a window, as `layer_types` lists them.
pub(crate) fn listed(config: &Fields<'_>) -> Result<Option<Vec<bool>>, ConfigError> {
    let types = config.texts("layer_types")?;
    types.map(|types| types.into_iter().map(has_window).collect()).transpose()
}

pub(crate) fn layer_type(has_window: bool) -> &'static str {
    LAYER_TYPES[usize::from(has_window)]
}

fn has_window(layer_type: &str) -> Result<bool, ConfigError> {
    let place = LAYER_TYPES.iter().position(|known| *known == layer_type);
    place.map(|place| place == 1).ok_or_else(|| ConfigError::LayerType { found: layer_type.to_owned() })
}
