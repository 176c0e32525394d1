//! What compression remembers of a place from one step to the next: the rank that a tolerance asked for, so that it is not
//! searched anew, and the last basis, so that the next decomposition can start from it.

use std::collections::HashMap;

use bytemuck::{cast_slice, cast_slice_mut};
use half::bf16;
use loract_linalg::{LowRank, MatRef, Warm, qb_warm, with_buffer};

use super::factors::{find, params};
use super::policy::PlannedFactors;
use super::{Compress, Rank, Site};
use crate::kernels::elementwise;
use crate::ledger::Category;
use crate::tensor::{Memory, Tensor};

/// Where a compressed tensor belongs; the same in every step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub(crate) layer: Option<usize>,
    pub(crate) site: Site,
    /// Which of this site's tensors in this layer: gate 0, up 1.
    pub(crate) ordinal: usize,
}

/// What a decomposition starts from. Of `rqb` and `gauss`, and of activations with more rows than features, whose basis
/// spans features; the others always start cold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WarmStart {
    /// A sketch of the activation: two products with it.
    #[default]
    None,
    /// The place's last basis as it is: one product. A new sketch is made when the error has grown by a tenth since the
    /// basis was found.
    Reuse,
    /// One power pass from the place's last basis: three products, a smaller error.
    Refresh,
}

/// The memory of all places; belongs to a run.
#[derive(Debug, Default)]
pub struct History {
    pub(super) places: HashMap<Place, Remembered>,
}

impl History {
    pub(crate) fn take(&mut self, place: Place) -> Remembered {
        self.places.remove(&place).unwrap_or_default()
    }

    pub(crate) fn put(&mut self, place: Place, remembered: Remembered) {
        self.places.insert(place, remembered);
    }
}

/// Of one place.
#[derive(Debug, Default)]
pub(crate) struct Remembered {
    /// Rank that met the tolerance of [`Rank::Auto`], and a little more.
    pub(super) rank: Option<usize>,
    pub(super) basis: Option<Basis>,
}

/// V of the last factors.
#[derive(Debug)]
pub(super) struct Basis {
    pub(super) rank: usize,
    pub(super) cols: usize,
    /// k×n in bf16; the bytes lie in a tensor of the pool.
    pub(super) halves: Tensor,
    /// Relative error of the decomposition that found it.
    pub(super) error: f64,
}

impl Basis {
    /// Room for k×n; without numbers in a hollow memory.
    pub(super) fn room(rank: usize, cols: usize, memory: &Memory) -> Self {
        let halves = memory.stale(1, (rank * cols).div_ceil(2), Category::WarmBases);
        Self { rank, cols, halves, error: 0.0 }
    }
}

/// A basis is given up when the error has grown by this since it was found.
const STALE: f64 = 1.1;

/// The rank of a tolerance is held until the error is above it, or below this share of it.
const LOOSE: f64 = 0.5;

impl Remembered {
    /// Factors of x (m×n) as `wanted`, from what is remembered; and their relative error.
    ///
    /// # Errors
    /// The linalg error that names the element which is not finite.
    pub(super) fn decompose(
        &mut self,
        x: MatRef<'_>,
        wanted: PlannedFactors,
        warm: WarmStart,
        seed: u64,
        memory: &Memory,
    ) -> Result<(LowRank, f64), loract_linalg::Error> {
        let Rank::Auto { tolerance } = wanted.rank else {
            return self.at_rank(x, wanted, warm, seed, memory);
        };
        let tolerance = f64::from(tolerance);
        // A rank that turned out too low: the search, which picks the best of a wider basis, may not find so many.
        let mut least = 0;
        if let Some(held) = self.rank {
            let fixed = PlannedFactors { rank: Rank::Count(held), most: held.min(wanted.most), ..wanted };
            let (factors, error) = self.at_rank(x, fixed, warm, seed, memory)?;
            let enough = error <= tolerance || held >= wanted.most;
            if enough && error >= LOOSE * tolerance {
                return Ok((factors, error));
            }
            least = if enough { 0 } else { held };
        }
        let (factors, error) = find(x, wanted, seed)?;
        let rank = factors.rank().max(least);
        self.rank = Some((rank + rank / 8 + 1).min(wanted.most));
        self.remember(&factors, error, x, wanted, warm, memory);
        Ok((factors, error))
    }

    /// Factors of a rank that is known.
    fn at_rank(
        &mut self,
        x: MatRef<'_>,
        wanted: PlannedFactors,
        warm: WarmStart,
        seed: u64,
        memory: &Memory,
    ) -> Result<(LowRank, f64), loract_linalg::Error> {
        let how = match warm {
            WarmStart::None => None,
            WarmStart::Reuse => Some(Warm::Reuse),
            WarmStart::Refresh => Some(Warm::Refresh),
        };
        if let (Some(how), Some(basis)) = (how, &self.basis)
            && starts_warm(wanted, x.rows(), x.cols(), warm)
            && basis.cols == x.cols()
        {
            let (factors, error) = with_buffer(basis.rank * basis.cols, |v| {
                let halves: &[bf16] = cast_slice(basis.halves.data());
                elementwise::widen_bf16(&halves[..v.len()], v);
                let start = MatRef::row_major(v, basis.rank, basis.cols).t();
                let (factors, info) = qb_warm(x, start, how, &params(wanted, seed))?;
                Ok((factors, info.relative_residual))
            })?;
            if how == Warm::Refresh {
                self.remember(&factors, error, x, wanted, warm, memory);
                return Ok((factors, error));
            }
            if error <= STALE * basis.error && factors.rank() <= basis.rank {
                return Ok((factors, error));
            }
        }
        let (factors, error) = find(x, wanted, seed)?;
        self.remember(&factors, error, x, wanted, warm, memory);
        Ok((factors, error))
    }

    fn remember(
        &mut self,
        factors: &LowRank,
        error: f64,
        x: MatRef<'_>,
        wanted: PlannedFactors,
        warm: WarmStart,
        memory: &Memory,
    ) {
        if !starts_warm(wanted, x.rows(), x.cols(), warm) || factors.rank() == 0 {
            return;
        }
        let mut basis = Basis { error, ..Basis::room(factors.rank(), factors.cols(), memory) };
        let halves: &mut [bf16] = cast_slice_mut(basis.halves.slice_mut());
        elementwise::round_to_bf16(factors.v().data(), &mut halves[..factors.v().data().len()]);
        self.basis = Some(basis);
    }

    /// The bytes that [`Remembered::decompose`] would leave, without numbers.
    pub(super) fn hollow(
        &mut self,
        wanted: PlannedFactors,
        rows: usize,
        cols: usize,
        warm: WarmStart,
        memory: &Memory,
    ) {
        if starts_warm(wanted, rows, cols, warm) {
            self.basis = Some(Basis::room(wanted.most, cols, memory));
        }
    }
}

/// Whether the basis of such an activation is worth remembering.
fn starts_warm(wanted: PlannedFactors, rows: usize, cols: usize, warm: WarmStart) -> bool {
    warm != WarmStart::None && matches!(wanted.method, Compress::Rqb | Compress::Gauss) && rows > cols
}
