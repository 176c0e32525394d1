//! How far tokens see, layer by layer.

/// Tokens see the nearest before them only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlidingWindow {
    /// Each sees itself and the `tokens − 1` before it.
    pub tokens: usize,
    /// Where.
    pub layers: WindowLayers,
}

/// Layers that have a window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WindowLayers {
    /// All of them.
    All,
    /// Those for which this is true, the first layer first; there are as many as layers.
    Listed(Vec<bool>),
}

impl SlidingWindow {
    /// In every layer.
    pub fn everywhere(tokens: usize) -> Self {
        Self { tokens, layers: WindowLayers::All }
    }

    /// That of a layer, if it has one.
    pub fn of_layer(&self, layer: usize) -> Option<usize> {
        let has = match &self.layers {
            WindowLayers::All => true,
            WindowLayers::Listed(list) => list.get(layer).copied().unwrap_or(false),
        };
        has.then_some(self.tokens)
    }
}
