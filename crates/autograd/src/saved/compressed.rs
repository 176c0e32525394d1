//! X ≈ U·V + R̃: low-rank factors, what they leave over in a coarser type, or one of the two.
//!
//! All compressed forms are this one: bf16 and block quantisation have no factors, plain low rank has no rest. Bytes come
//! from the expressions that allocate: [`Planned::bytes`].

use std::ops::Range;

use bytemuck::{cast_slice, cast_slice_mut};
use half::bf16;
use loract_linalg::{Accum, MatMut, MatRef, Par, Rng, matmul};
use rayon::prelude::*;

use super::factors::{Factors, Wide};
use super::policy::Planned;
use super::{Quant, Remembered, RowMap, Site, WarmStart};
use crate::kernels::elementwise;
use crate::kernels::quantise::{self, Sums};
use crate::ledger::{Category, Claim};
use crate::tensor::{Memory, Tensor};

/// Rows that are rebuilt together for a product.
const TILE: usize = 256;

/// What is kept besides factors; the bytes lie in a tensor of the pool.
#[derive(Debug)]
enum Rest {
    Bf16(Tensor),
    Codes { quant: Quant, codes: Tensor, scales: Tensor },
}

/// A tensor kept in a compressed form.
#[derive(Debug)]
pub(crate) struct Compressed {
    rows: usize,
    cols: usize,
    factors: Option<Factors>,
    rest: Option<Rest>,
    /// k; 0 without factors.
    rank: usize,
    /// Whether there is a rest; also in a hollow one, which has the sizes only.
    has_rest: bool,
    relative_error: f32,
    _claim: Claim,
}

impl Compressed {
    /// The sizes of what [`Compressed::new`] would make.
    pub(crate) fn hollow(
        rows: usize,
        cols: usize,
        site: Site,
        planned: &Planned,
        past: (&mut Remembered, WarmStart),
        memory: &Memory,
    ) -> Self {
        if let Some(wanted) = planned.factors() {
            past.0.hollow(wanted, rows, cols, past.1, memory);
        }
        let claim = memory.ledger().claim(Category::Saved(site, planned.kind()), planned.bytes(rows, cols));
        let has_rest = planned.quant().is_some() || planned == &Planned::Bf16;
        let rank = planned.factors().map_or(0, |f| f.most);
        Self { rows, cols, factors: None, rest: None, rank, has_rest, relative_error: 0.0, _claim: claim }
    }

    /// Compresses `x` for `site` as planned, starting from what is remembered of the place. `stream` names the samples and
    /// the rounding.
    ///
    /// # Errors
    /// The linalg error that names the element which is not finite.
    pub(crate) fn new(
        x: &Tensor,
        site: Site,
        planned: &Planned,
        past: (&mut Remembered, WarmStart),
        mut stream: Rng,
        memory: &Memory,
    ) -> Result<Self, loract_linalg::Error> {
        let (rows, cols) = (x.rows(), x.cols());
        let category = Category::Saved(site, planned.kind());
        let (factors, residual) = match planned.factors() {
            None => (None, None),
            Some(wanted) => {
                let (found, residual) = past.0.decompose(x.view(), wanted, past.1, stream.next_u64(), memory)?;
                (Some(Factors::stored(found, wanted.stored)), Some(residual))
            }
        };
        let bytes = factors.as_ref().map_or(0, Factors::size_bytes);
        let claim = memory.ledger().claim(category, bytes);
        let (rest, sums) = match planned.quant() {
            Some(quant) => {
                let (rest, sums) = quantised(x, factors.as_ref(), quant, stream, category, memory)?;
                (Some(rest), Some(sums))
            }
            None if planned == &Planned::Bf16 => {
                if !elementwise::all_finite(x.data()) {
                    return Err(first_not_finite(x.data(), rows, cols));
                }
                let mut kept = memory.stale(1, (rows * cols).div_ceil(2), category);
                let halves: &mut [bf16] = cast_slice_mut(kept.slice_mut());
                elementwise::round_to_bf16(x.data(), halves);
                (Some(Rest::Bf16(kept)), None)
            }
            None => (None, None),
        };
        let relative_error = match (sums, residual) {
            // What the factors leave over, of which the codes lose a part.
            (Some(sums), Some(residual)) if sums.energy > 0.0 => residual * (sums.error / sums.energy).sqrt(),
            (Some(sums), None) if sums.energy > 0.0 => (sums.error / sums.energy).sqrt(),
            (None, Some(residual)) => residual,
            _ => 0.0,
        };
        let rank = factors.as_ref().map_or(0, Factors::rank);
        let (has_rest, relative_error) = (rest.is_some(), relative_error as f32);
        Ok(Self { rows, cols, factors, rest, rank, has_rest, relative_error, _claim: claim })
    }

    /// ‖X − X̃‖/‖X‖ as estimated while compressing; rounding of bf16 is left out.
    pub(crate) fn relative_error(&self) -> f32 {
        self.relative_error
    }

    /// U (m×k) and V (k×n) in f32, if they are all that is kept, at the start of tensors with room for `spare` more columns
    /// of U and rows of V.
    pub(crate) fn factors(&self, spare: usize, memory: &Memory) -> Option<(Tensor, Tensor)> {
        if self.has_rest || self.rank == 0 {
            return None;
        }
        let rank = self.rank + spare;
        let [mut u, mut v] =
            [(self.rows, rank), (rank, self.cols)].map(|(rows, cols)| memory.stale(rows, cols, Category::Transient));
        if let Some(factors) = &self.factors {
            let (in_u, in_v) = (self.rows * self.rank, self.rank * self.cols);
            factors.write(&mut u.slice_mut()[..in_u], &mut v.slice_mut()[..in_v]);
        }
        Some((u, v))
    }

    /// dᵀ·X̃, p×n for d m×p: factors are never multiplied out (2kp(m+n) operations), the rest is widened a tile at a time.
    /// With `rows`, of those rows of X̃ alone, a row of d for each.
    pub(crate) fn left_mul(&self, d: &Tensor, rows: Option<&RowMap>, out: &mut Tensor, accum: Accum, memory: &Memory) {
        let mut accum = accum;
        if self.factors.is_some() || self.rank > 0 {
            // Zeros for the rows left out cost less than rows of U put together.
            let spread = rows.map(|rows| rows.transposed(d, memory));
            if let Some(factors) = &self.factors {
                factors.left_mul(spread.as_ref().unwrap_or(d).view(), out.view_mut(), accum);
            }
            accum = Accum::Add;
        }
        if self.has_rest {
            let rest = TileSource { compressed: self, v: None };
            let fill = |range: Range<usize>, out: &mut [f32]| match rows {
                Some(rows) => rows.fill(range, self.cols, out, |range, out| rest.fill(range, out)),
                None => rest.fill(range, out),
            };
            left_mul_tiles(d.rows(), self.cols, fill, d, out, accum, memory);
        }
    }

    /// Rows, rebuilt by whichever thread needs them.
    pub(crate) fn tiles(&self) -> TileSource<'_> {
        let v = self.factors.as_ref().map(Factors::wide_v);
        TileSource { compressed: self, v }
    }
}

/// dᵀ·X for d m×p, with rows of X filled in a tile at a time.
pub(crate) fn left_mul_tiles(
    rows: usize,
    cols: usize,
    fill: impl Fn(Range<usize>, &mut [f32]) + Sync,
    d: &Tensor,
    out: &mut Tensor,
    accum: Accum,
    memory: &Memory,
) {
    let chunk = elementwise::rows_per_task(cols).max(16);
    let make = |range: Range<usize>, numbers: &mut [f32]| {
        numbers.par_chunks_mut(chunk * cols).enumerate().for_each(|(at, numbers)| {
            let first = range.start + at * chunk;
            fill(first..first + numbers.len() / cols, numbers);
        });
    };
    left_mul_made(rows, cols, make, d, out, accum, memory);
}

/// The same with tiles of many rows, each made by `make`.
pub(crate) fn left_mul_made(
    rows: usize,
    cols: usize,
    mut make: impl FnMut(Range<usize>, &mut [f32]),
    d: &Tensor,
    out: &mut Tensor,
    mut accum: Accum,
    memory: &Memory,
) {
    let mut tile = memory.stale(TILE.min(rows), cols, Category::Transient);
    if memory.is_hollow() {
        return;
    }
    if rows == 0 && accum == Accum::Replace {
        // An expert that nobody chose.
        out.slice_mut().fill(0.0);
    }
    for start in (0..rows).step_by(TILE) {
        let range = start..(start + TILE).min(rows);
        let numbers = &mut tile.slice_mut()[..range.len() * cols];
        make(range.clone(), numbers);
        let x = MatRef::row_major(numbers, range.len(), cols);
        matmul(out.view_mut(), accum, d.view().row_range(range).t(), x, 1.0, Par::Rayon);
        accum = Accum::Add;
    }
}

/// Rows of a [`Compressed`], with V widened once for all of them.
pub(crate) struct TileSource<'a> {
    compressed: &'a Compressed,
    v: Option<Wide<'a>>,
}

impl TileSource<'_> {
    /// Rows `rows` of X̃ (of the rest alone where V was not prepared) into `out`, rows.len()·n long.
    pub(crate) fn fill(&self, rows: Range<usize>, out: &mut [f32]) {
        let cols = self.compressed.cols;
        if let (Some(v), Some(factors)) = (&self.v, &self.compressed.factors) {
            factors.tile(v.view(), rows.clone(), MatMut::row_major(out, rows.len(), cols), Accum::Replace, 1.0);
        }
        let add = self.v.is_some();
        match &self.compressed.rest {
            None => {}
            Some(Rest::Bf16(kept)) => {
                let halves: &[bf16] = cast_slice(kept.data());
                elementwise::widen_bf16(&halves[rows.start * cols..rows.end * cols], out);
            }
            Some(Rest::Codes { quant, codes, scales }) => {
                let (codes, scales): (&[u8], &[bf16]) = (cast_slice(codes.data()), cast_slice(scales.data()));
                let (code_bytes, scale_count) = (quant.code_bytes(cols), quant.scales(cols));
                for (row, out) in rows.zip(out.chunks_exact_mut(cols)) {
                    let codes = &codes[row * code_bytes..(row + 1) * code_bytes];
                    let scales = &scales[row * scale_count..(row + 1) * scale_count];
                    quantise::widen_row(*quant, codes, scales, out, add);
                }
            }
        }
    }
}

/// The codes of x, or of what the factors leave over; and how much the codes lose.
fn quantised(
    x: &Tensor,
    factors: Option<&Factors>,
    quant: Quant,
    stream: Rng,
    category: Category,
    memory: &Memory,
) -> Result<(Rest, Sums), loract_linalg::Error> {
    let (rows, cols) = (x.rows(), x.cols());
    let (code_bytes, scale_count) = (rows * quant.code_bytes(cols), rows * quant.scales(cols));
    let mut codes = memory.stale(1, code_bytes.div_ceil(4), category);
    let mut scales = memory.stale(1, scale_count.div_ceil(2), category);
    let v = factors.map(Factors::wide_v);
    let numbers = x.data();
    let found = {
        let codes: &mut [u8] = cast_slice_mut(codes.slice_mut());
        let scales: &mut [bf16] = cast_slice_mut(scales.slice_mut());
        let source = LeftOver { numbers, cols, factors: factors.zip(v.as_ref()) };
        quantise::quantise(quant, cols, &source, stream, &mut codes[..code_bytes], &mut scales[..scale_count])
    };
    match found {
        Some(sums) => Ok((Rest::Codes { quant, codes, scales }, sums)),
        None => Err(first_not_finite(numbers, rows, cols)),
    }
}

/// x, or x − U·V.
struct LeftOver<'a> {
    numbers: &'a [f32],
    cols: usize,
    factors: Option<(&'a Factors, &'a Wide<'a>)>,
}

impl quantise::Rows for LeftOver<'_> {
    fn get<'s>(&'s self, rows: Range<usize>, scratch: &'s mut [f32]) -> &'s [f32] {
        let x = &self.numbers[rows.start * self.cols..rows.end * self.cols];
        let Some((factors, v)) = self.factors else { return x };
        let scratch = &mut scratch[..x.len()];
        scratch.copy_from_slice(x);
        factors.tile(v.view(), rows.clone(), MatMut::row_major(scratch, rows.len(), self.cols), Accum::Add, -1.0);
        scratch
    }
}

/// The first number that cannot be kept; where only the factors overflowed, the largest.
fn first_not_finite(numbers: &[f32], rows: usize, cols: usize) -> loract_linalg::Error {
    let broken = numbers.iter().position(|x| x.is_nan() || x.abs() > quantise::LARGEST);
    let largest = || (0..numbers.len()).max_by(|&a, &b| numbers[a].abs().total_cmp(&numbers[b].abs()));
    let at = broken.or_else(largest).unwrap_or(0);
    let value = numbers.get(at).copied().unwrap_or(f32::NAN);
    loract_linalg::Error::NonFinite { rows, cols, row: at / cols.max(1), col: at % cols.max(1), value }
}
