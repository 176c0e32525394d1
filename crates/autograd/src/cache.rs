//! Keys and values of the tokens so far, so that generation runs each token once.
//!
//! [`crate::Tape::generation`] appends to it: attention puts the keys and values of its rows behind those of earlier ones,
//! layer by layer, and its queries see all of them. Nothing of it is for backward.

use crate::error::{Error, same};
use crate::ledger::Category;
use crate::tensor::{Memory, Tensor};

/// Rows that the first allocation of a layer holds, at least; it doubles when it is full.
const FIRST_ROWS: usize = 64;

/// Keys and values of one sequence: for each layer two matrices, tokens × H_kv·D.
#[derive(Debug, Default)]
pub struct KvCache {
    layers: Vec<Kept>,
}

#[derive(Debug)]
struct Kept {
    k: Tensor,
    v: Tensor,
    /// Rows in use.
    tokens: usize,
}

impl KvCache {
    /// Of a sequence that has no tokens yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Tokens that every layer holds.
    pub fn tokens(&self) -> usize {
        self.layers.iter().map(|layer| layer.tokens).min().unwrap_or(0)
    }

    /// Forgets all but the first `tokens` tokens.
    pub fn truncate(&mut self, tokens: usize) {
        for layer in &mut self.layers {
            layer.tokens = layer.tokens.min(tokens);
        }
    }

    /// Puts rows behind those of `layer`; its keys, its values, and how many rows there were before.
    pub(crate) fn extend(
        &mut self,
        layer: usize,
        k: &Tensor,
        v: &Tensor,
        memory: &Memory,
    ) -> Result<(&[f32], &[f32], usize), Error> {
        let empty = || memory.zeros(0, k.cols(), Category::Transient);
        while self.layers.len() <= layer {
            self.layers.push(Kept { k: empty(), v: empty(), tokens: 0 });
        }
        let kept = &mut self.layers[layer];
        same("attention", "features of k against those of earlier tokens", k.cols(), kept.k.cols())?;
        same("attention", "features of v against those of k", v.cols(), k.cols())?;
        let (past, tokens) = (kept.tokens, kept.tokens + k.rows());
        for (kept, new) in [(&mut kept.k, k), (&mut kept.v, v)] {
            if kept.rows() < tokens {
                let rows = tokens.max(2 * kept.rows()).max(FIRST_ROWS);
                let mut larger = memory.zeros(rows, k.cols(), Category::Transient);
                larger.slice_mut()[..past * k.cols()].copy_from_slice(&kept.data()[..past * k.cols()]);
                *kept = larger;
            }
            kept.slice_mut()[past * k.cols()..tokens * k.cols()].copy_from_slice(new.data());
        }
        kept.tokens = tokens;
        let used = ..tokens * k.cols();
        Ok((&kept.k.data()[used], &kept.v.data()[used], past))
    }
}
