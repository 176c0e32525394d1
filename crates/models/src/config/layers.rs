//! What some layers have and others have not, and how far tokens see.

/// Layers that have something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layers {
    /// All of them.
    All,
    /// Those for which this is true, the first layer first; there are as many as layers.
    Listed(Vec<bool>),
}

impl Layers {
    /// Whether a layer has it.
    pub fn has(&self, layer: usize) -> bool {
        match self {
            Layers::All => true,
            Layers::Listed(list) => list.get(layer).copied().unwrap_or(false),
        }
    }

    /// How many layers are listed; `None` if all have it.
    pub(super) fn listed(&self) -> Option<usize> {
        match self {
            Layers::All => None,
            Layers::Listed(list) => Some(list.len()),
        }
    }
}

/// Tokens see the nearest before them only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlidingWindow {
    /// Each sees itself and the `tokens − 1` before it.
    pub tokens: usize,
    /// Where.
    pub layers: Layers,
}

impl SlidingWindow {
    /// In every layer.
    pub fn everywhere(tokens: usize) -> Self {
        Self { tokens, layers: Layers::All }
    }

    /// That of a layer, if it has one.
    pub fn of_layer(&self, layer: usize) -> Option<usize> {
        self.layers.has(layer).then_some(self.tokens)
    }
}
