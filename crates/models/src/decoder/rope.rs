//! Frequencies of rotary embeddings, and the table of angles, grown as longer rows come.

use std::sync::{Arc, Mutex, PoisonError};

use loract_autograd::ops::RopeTable;

use crate::config::DecoderConfig;

/// The D/2 frequencies (radians a position): theta^(−2i/D), scaled as the model asks.
pub(super) fn frequencies(config: &DecoderConfig) -> Vec<f64> {
    let d = config.head_dim as f64;
    let plain = (0..config.head_dim / 2).map(|i| config.rope_theta.powf(-2.0 * i as f64 / d));
    plain.map(|frequency| frequency / config.rope.divisor(frequency)).collect()
}

/// The table so far.
#[derive(Debug, Default)]
pub(super) struct RopeCache(Mutex<Option<Arc<RopeTable>>>);

impl RopeCache {
    /// A table for at least `positions` positions.
    pub(super) fn table(&self, config: &DecoderConfig, positions: usize) -> Arc<RopeTable> {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*slot {
            Some(table) if table.positions() >= positions => Arc::clone(table),
            _ => {
                let positions = positions.next_power_of_two().min(config.context.max(positions));
                let table = Arc::new(RopeTable::new(positions, &frequencies(config)));
                *slot = Some(Arc::clone(&table));
                table
            }
        }
    }
}
