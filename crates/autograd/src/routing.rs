//! Which rows go to which experts: decided once, and remembered where a segment runs again.

use std::sync::Arc;

use crate::ledger::{Category, Claim};
use crate::saved::SavedRef;
use crate::tensor::Memory;

/// The experts that each of m rows chose, K of E, sorted by expert. 4·m·K + 8·E bytes, which the ledger knows.
#[derive(Debug)]
pub struct Choices {
    rows: usize,
    top_k: usize,
    /// row·K + slot, ascending within an expert.
    places: Vec<u32>,
    /// Where each expert's places end.
    ends: Vec<usize>,
    _claim: Claim,
}

impl Choices {
    /// From the experts of each row, `top_k` a row.
    pub(crate) fn new(chosen: &[u32], top_k: usize, experts: usize, category: Category, memory: &Memory) -> Self {
        let mut ends = vec![0; experts];
        for &expert in chosen {
            ends[expert as usize] += 1;
        }
        let mut end = 0;
        for count in &mut ends {
            let start = end;
            end += *count;
            // The next free place of the expert; its end when all are filled.
            *count = start;
        }
        let mut places = vec![0; chosen.len()];
        for (place, &expert) in chosen.iter().enumerate() {
            let next = &mut ends[expert as usize];
            places[*next] = place as u32;
            *next += 1;
        }
        let bytes = size_of_val(places.as_slice()) + size_of_val(ends.as_slice());
        let claim = memory.ledger().claim(category, bytes);
        Self { rows: chosen.len() / top_k.max(1), top_k, places, ends, _claim: claim }
    }

    /// m.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// K.
    pub fn top_k(&self) -> usize {
        self.top_k
    }

    /// E.
    pub fn experts(&self) -> usize {
        self.ends.len()
    }

    /// The row and the slot (0 for the row's likeliest expert) of everyone who chose `expert`, rows ascending.
    pub fn of(&self, expert: usize) -> impl Iterator<Item = (usize, usize)> {
        self.places_of(expert).iter().map(|&place| (place as usize / self.top_k, place as usize % self.top_k))
    }

    fn places_of(&self, expert: usize) -> &[u32] {
        let start = expert.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.places[start..self.ends[expert]]
    }

    /// The experts of each row, `top_k` a row.
    pub(crate) fn chosen(&self) -> Vec<u32> {
        let mut chosen = vec![0; self.places.len()];
        for expert in 0..self.experts() {
            for &place in self.places_of(expert) {
                chosen[place as usize] = expert as u32;
            }
        }
        chosen
    }
}

/// The rows of one expert.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    pub(crate) choices: Arc<Choices>,
    pub(crate) expert: usize,
}

impl Places {
    /// Of each of the expert's rows: its place among all choices, row·K + slot, ascending.
    pub(crate) fn all(&self) -> &[u32] {
        self.choices.places_of(self.expert)
    }

    /// Number of the expert's rows.
    pub(crate) fn len(&self) -> usize {
        self.all().len()
    }

    /// Whether both are the same rows.
    pub(crate) fn is_same(&self, other: &Places) -> bool {
        Arc::ptr_eq(&self.choices, &other.choices) && self.expert == other.expert
    }
}

/// What was decided for some rows, exactly: a segment that runs again from an approximate input must not decide anew.
#[derive(Debug, Clone)]
pub(crate) struct Decision {
    pub(crate) choices: Arc<Choices>,
    /// The softmax that the weights are from: m×E over all experts, or m×K over the chosen.
    pub(crate) shares: SavedRef,
}
