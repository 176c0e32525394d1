//! Mixtures of experts: an MLP of which each token takes a few of many.

use super::json::Fields;
use super::{ConfigError, Layers};

/// The experts of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Experts {
    /// How many there are.
    pub count: usize,
    /// How many a token takes.
    pub chosen: usize,
    /// Width inside each.
    pub width: usize,
    /// What their outputs are weighed with.
    pub weights: ExpertWeights,
    /// Layers that have them.
    pub layers: Layers,
}

/// What the outputs of the chosen experts are weighed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpertWeights {
    /// Their probabilities among all experts.
    Probabilities,
    /// Those, divided by their sum.
    SumToOne,
}

impl ExpertWeights {
    /// As a flag says.
    pub(super) fn asked(fields: &Fields<'_>, key: &str) -> Result<Self, ConfigError> {
        Ok(if fields.flag(key)? { ExpertWeights::SumToOne } else { ExpertWeights::Probabilities })
    }
}

/// More experts than any layer has; a damaged file must not make a loader ask for billions of tensors.
pub(crate) const MOST_EXPERTS: usize = 10_000;
/// The same of all layers together.
const MOST_IN_ALL: usize = 100_000;

impl Experts {
    pub(super) fn check(&self, layers: usize) -> Result<(), ConfigError> {
        for (key, size, most) in [
            ("the number of experts", self.count, MOST_EXPERTS.min(MOST_IN_ALL / layers.max(1))),
            ("num_experts_per_tok", self.chosen, self.count),
            ("moe_intermediate_size", self.width, u32::MAX as usize),
        ] {
            if size == 0 || size > most {
                return Err(ConfigError::OutOf { key, size, most });
            }
        }
        Ok(())
    }
}
