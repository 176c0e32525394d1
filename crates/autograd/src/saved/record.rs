//! What a [`History`] remembers, as plain numbers to be stored and given back: a resumed run goes on from the same ranks
//! and bases, to the last bit.

use bytemuck::{cast_slice, cast_slice_mut};
use half::bf16;

use super::history::{Basis, Remembered};
use super::{History, Place, Site};
use crate::error::Error;
use crate::tensor::Memory;

/// Of one place.
#[derive(Debug, Clone, PartialEq)]
pub struct PlaceRecord {
    /// Layer, counted from 0.
    pub layer: Option<usize>,
    /// Site.
    pub site: Site,
    /// Which of this site's tensors in this layer.
    pub ordinal: usize,
    /// Rank held for a tolerance.
    pub rank: Option<usize>,
    /// Basis to start from.
    pub basis: Option<BasisRecord>,
}

/// A k×n basis.
#[derive(Debug, Clone, PartialEq)]
pub struct BasisRecord {
    /// k.
    pub rank: usize,
    /// n.
    pub cols: usize,
    /// Relative error of the decomposition that found it.
    pub error: f64,
    /// Its k·n numbers, the bits of bf16.
    pub halves: Vec<u16>,
}

impl History {
    /// What is remembered, in the order of places.
    pub fn records(&self) -> Vec<PlaceRecord> {
        let mut records: Vec<PlaceRecord> = self
            .places
            .iter()
            .filter(|(_, remembered)| remembered.rank.is_some() || remembered.basis.is_some())
            .map(|(place, remembered)| PlaceRecord {
                layer: place.layer,
                site: place.site,
                ordinal: place.ordinal,
                rank: remembered.rank,
                basis: remembered.basis.as_ref().map(BasisRecord::of),
            })
            .collect();
        records.sort_by_key(|record| (record.layer, record.site, record.ordinal));
        records
    }

    /// The history that gave `records`; bases are counted in `memory`.
    ///
    /// # Errors
    /// [`Error::Shape`] if a basis or a rank has sizes that none can have.
    pub fn from_records(records: Vec<PlaceRecord>, memory: &Memory) -> Result<Self, Error> {
        let mut history = History::default();
        for record in records {
            let PlaceRecord { layer, site, ordinal, rank, basis } = record;
            if rank == Some(0) {
                return Err(Error::Shape { op: "history", what: "a remembered rank and the least", left: 0, right: 1 });
            }
            let basis = basis.map(|basis| basis.restore(memory)).transpose()?;
            history.put(Place { layer, site, ordinal }, Remembered { rank, basis });
        }
        Ok(history)
    }
}

impl BasisRecord {
    fn of(basis: &Basis) -> Self {
        let (rank, cols) = (basis.rank, basis.cols);
        // Their number may be odd; the room is of whole f32.
        let halves: &[bf16] = cast_slice(basis.halves.data());
        let halves = halves.iter().take(rank * cols).map(|x| x.to_bits()).collect();
        Self { rank, cols, error: basis.error, halves }
    }

    fn restore(self, memory: &Memory) -> Result<Basis, Error> {
        let Self { rank, cols, error, halves } = self;
        if rank == 0 || rank > cols {
            return Err(Error::Shape { op: "history", what: "rank and features of a basis", left: rank, right: cols });
        }
        if rank.checked_mul(cols) != Some(halves.len()) {
            let (left, right) = (halves.len(), rank.saturating_mul(cols));
            return Err(Error::Shape { op: "history", what: "numbers of a basis and its sizes", left, right });
        }
        let mut basis = Basis { error, ..Basis::room(rank, cols, memory) };
        let room: &mut [bf16] = cast_slice_mut(basis.halves.slice_mut());
        for (to, bits) in room.iter_mut().zip(halves) {
            *to = bf16::from_bits(bits);
        }
        Ok(basis)
    }
}
