//! The ops of vision with their weights, run on a tape and, number by number, by definition.

use std::ops::Range;
use std::sync::Arc;

use loract_autograd::ops::{
    AttentionShape, Pool, Windows, gather_rows, place_patches, pool, scale_columns, window_attention,
};
use loract_autograd::{Param, Tape, Values, Var, Weight};

use crate::harness::{Result, sees, vector, weight};

/// An op of vision under test.
#[derive(Debug)]
pub enum Vision {
    PlacePatches { specials: Vec<Values>, positions: Option<Weight>, images: usize },
    Pool { sequences: Arc<[Range<usize>]>, pool: Pool },
    ScaleColumns { factors: Values },
    GatherRows { rows: Arc<[Option<u32>]>, fold: usize, cols: usize },
    WindowAttention(OwnedWindows),
}

/// Attention in windows with its table.
#[derive(Debug)]
pub struct OwnedWindows {
    pub shape: AttentionShape,
    pub sequences: Arc<[Range<usize>]>,
    pub table: Weight,
    pub index: Arc<[u32]>,
    pub regions: Option<Arc<[u16]>>,
}

impl OwnedWindows {
    pub fn windows(&self) -> Windows<'_> {
        Windows { table: &self.table, index: Arc::clone(&self.index), regions: self.regions.clone() }
    }

    /// Score by score: a key is seen if it is of the query's region, and not after it where the mask says so.
    fn oracle(&self, [q, k, v]: [&[f64]; 3], table: &[f64]) -> Vec<f64> {
        let AttentionShape { heads, kv_heads, head_dim: d, scale, softcap, mask } = self.shape;
        let seen = |i: usize, j: usize| {
            self.regions.as_ref().is_none_or(|regions| regions[i] == regions[j]) && sees(mask, i, j)
        };
        let mut o = Vec::new();
        for window in self.sequences.iter() {
            for (i, head) in window.clone().flat_map(|i| (0..heads).map(move |head| (i, head))) {
                let kv_head = head * kv_heads / heads;
                let query = head_of(q, (i, head), heads, d);
                let weight = |j: usize| {
                    let key = head_of(k, (j, kv_head), kv_heads, d);
                    let place = self.index[(i - window.start) * window.len() + j - window.start] as usize;
                    let product: f64 = query.iter().zip(key).map(|(q, k)| q * k).sum();
                    let score = f64::from(scale) * product + table[place * heads + head];
                    softcap.map(f64::from).map_or(score, |cap| cap * (score / cap).tanh()).exp()
                };
                let weights: Vec<_> = window.clone().filter(|&j| seen(i, j)).map(|j| (j, weight(j))).collect();
                let sum: f64 = weights.iter().map(|(_, weight)| weight).sum();
                let part = |at: usize| {
                    weights
                        .iter()
                        .map(|(j, weight)| weight / sum * head_of(v, (*j, kv_head), kv_heads, d)[at])
                        .sum::<f64>()
                };
                o.extend((0..d).map(part));
            }
        }
        o
    }
}

/// Some head's D numbers of a row.
fn head_of(x: &[f64], (row, head): (usize, usize), heads: usize, d: usize) -> &[f64] {
    &x[(row * heads + head) * d..][..d]
}

impl Vision {
    pub fn run<'m>(&'m self, tape: &mut Tape<'m>, next: &mut dyn FnMut() -> Var) -> Result<Var> {
        match self {
            Vision::PlacePatches { specials, positions, images } => {
                let specials: Vec<_> = specials.iter().collect();
                place_patches(tape, next(), &specials, positions.as_ref(), *images)
            }
            Vision::Pool { sequences, pool: kind } => pool(tape, &next(), sequences, *kind),
            Vision::ScaleColumns { factors } => scale_columns(tape, next(), factors),
            Vision::GatherRows { rows, fold, .. } => gather_rows(tape, &next(), rows, *fold),
            Vision::WindowAttention(of) => {
                window_attention(tape, [next(), next(), next()], of.shape, &of.sequences, of.windows())
            }
        }
    }

    pub fn params(&self) -> Vec<&Param> {
        match self {
            Vision::PlacePatches { specials, positions, .. } => {
                let positions = positions.as_ref().and_then(Weight::trained);
                specials.iter().filter_map(Values::trained).chain(positions).collect()
            }
            Vision::ScaleColumns { factors } => factors.trained().into_iter().collect(),
            Vision::WindowAttention(of) => of.table.trained().into_iter().collect(),
            Vision::Pool { .. } | Vision::GatherRows { .. } => Vec::new(),
        }
    }

    pub fn oracle(&self, next: &mut dyn FnMut() -> Vec<f64>) -> Vec<f64> {
        match self {
            Vision::PlacePatches { specials, positions, images } => {
                let patches = next();
                let specials: Vec<f64> = specials.iter().flat_map(|special| vector(special, next)).collect();
                let positions = positions.as_ref().map(|positions| weight(positions, next));
                let image = |patches: &[f64]| {
                    let mut rows = [&specials, patches].concat();
                    if let Some(positions) = &positions {
                        rows.iter_mut().zip(positions).for_each(|(x, p)| *x += p);
                    }
                    rows
                };
                patches.chunks_exact(patches.len() / images).flat_map(image).collect()
            }
            Vision::Pool { sequences, pool } => {
                let x = next();
                let cols = x.len() / sequences.last().map_or(1, |last| last.end);
                let mean = |rows: Range<usize>| {
                    let count = rows.len() as f64;
                    let x = &x;
                    (0..cols).map(move |col| rows.clone().map(|row| x[row * cols + col]).sum::<f64>() / count)
                };
                let one = |rows: &Range<usize>| -> Vec<f64> {
                    let first = rows.start..rows.start + 1;
                    match *pool {
                        Pool::First => mean(first).collect(),
                        Pool::Mean { skip } => mean(rows.start + skip..rows.end).collect(),
                        Pool::FirstAndMean { skip } => mean(first).chain(mean(rows.start + skip..rows.end)).collect(),
                    }
                };
                sequences.iter().flat_map(one).collect()
            }
            Vision::ScaleColumns { factors } => {
                let (x, factors) = (next(), vector(factors, next));
                x.iter().zip(factors.iter().cycle()).map(|(x, factor)| x * factor).collect()
            }
            Vision::GatherRows { rows, cols, .. } => {
                let x = next();
                let row = |row: &Option<u32>| match row {
                    Some(row) => x[*row as usize * cols..(*row as usize + 1) * cols].to_vec(),
                    None => vec![0.0; *cols],
                };
                rows.iter().flat_map(row).collect()
            }
            Vision::WindowAttention(of) => {
                let (q, k, v) = (next(), next(), next());
                of.oracle([&q, &k, &v], &weight(&of.table, next))
            }
        }
    }
}
