//! The tables of angles, grown as longer rows come.

use std::sync::{Arc, Mutex, PoisonError};

use loract_autograd::ops::RopeTable;

use crate::config::{DecoderConfig, Rope};

/// The tables so far: of all layers, and of those with a window if theirs is another.
#[derive(Debug, Default)]
pub(super) struct RopeCache(Mutex<Option<Tables>>);

/// For positions up to `positions`.
#[derive(Debug, Clone)]
pub(super) struct Tables {
    positions: usize,
    /// Of layers that turn as most do.
    pub(super) global: Arc<RopeTable>,
    /// Of layers with a window, if they turn otherwise.
    pub(super) local: Option<Arc<RopeTable>>,
    /// Where rows of long texts are in `global`: texts of more than so many tokens, and what to add to their positions.
    pub(super) long: Option<(usize, u32)>,
}

impl RopeCache {
    /// Tables for at least `positions` positions.
    pub(super) fn tables(&self, config: &DecoderConfig, positions: usize) -> Tables {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*slot {
            Some(tables) if tables.positions >= positions => tables.clone(),
            _ => {
                let positions = positions.next_power_of_two().min(config.context.max(positions));
                let tables = Tables {
                    positions,
                    global: Arc::new(table(config, &config.rope, positions)),
                    local: config.local_rope.as_ref().map(|rope| Arc::new(table(config, rope, positions))),
                    long: config.rope.long_frequencies().map(|(most, _)| (most, positions as u32)),
                };
                *slot = Some(tables.clone());
                tables
            }
        }
    }
}

/// Rows for short texts, and below them those for long ones if they are others.
fn table(config: &DecoderConfig, rope: &Rope, positions: usize) -> RopeTable {
    let short = rope.frequencies();
    let long = rope.long_frequencies().map(|(_, frequencies)| frequencies);
    let sets: Vec<&[f64]> = std::iter::once(&short[..]).chain(long.as_deref()).collect();
    RopeTable::new(positions, config.head_dim, config.model_type.family().pairs, &sets, rope.amplitude())
}
