//! The numbers of a trainer that its adapter does not hold, as one safetensors file: AdamW's moments by parameter, and the
//! bases that decompositions start from.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use loract_autograd::{BasisRecord, Category, History, PlaceRecord, Site};
use loract_models::Model;
use loract_models::weights::store::{self, Numbers, StoredAs, ToStore};
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::trainer::Trainer;

/// File name.
pub(super) const FILE: &str = "optimizer.safetensors";

/// What is remembered of a place, without its basis.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Remembered {
    layer: Option<usize>,
    site: String,
    ordinal: usize,
    rank: Option<usize>,
    basis: Option<Basis>,
}

/// Sizes and error of a basis.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Basis {
    rank: usize,
    cols: usize,
    error: f64,
}

impl Remembered {
    fn tensor(&self) -> String {
        let layer = self.layer.map_or_else(|| "none".to_owned(), |layer| layer.to_string());
        format!("basis.{layer}.{}.{}", self.site, self.ordinal)
    }
}

/// The two names of a parameter's moments; PyTorch's.
fn moment_names(param: &str) -> [String; 2] {
    ["exp_avg", "exp_avg_sq"].map(|moment| format!("{moment}.{param}"))
}

/// What is remembered, to be described beside the numbers.
pub(super) fn remembered(records: &[PlaceRecord]) -> Vec<Remembered> {
    let describe = |r: &PlaceRecord| Remembered {
        layer: r.layer,
        site: r.site.name().to_owned(),
        ordinal: r.ordinal,
        rank: r.rank,
        basis: r.basis.as_ref().map(|b| Basis { rank: b.rank, cols: b.cols, error: b.error }),
    };
    records.iter().map(describe).collect()
}

/// Writes the file.
pub(super) fn write<M: Model>(trainer: &Trainer<M>, records: &[PlaceRecord], path: &Path) -> io::Result<()> {
    let mut stored: Vec<(String, ToStore<'_>)> = Vec::new();
    for param in trainer.model().params() {
        let Some(moments) = trainer.optimiser().moments(param.id()) else { continue };
        for (name, tensor) in moment_names(param.name()).into_iter().zip(moments) {
            let (shape, numbers) = (vec![tensor.rows(), tensor.cols()], Numbers::Tensor(tensor));
            stored.push((name, ToStore { shape, numbers, stored: StoredAs::F32 }));
        }
    }
    for (described, record) in remembered(records).iter().zip(records) {
        if let Some(basis) = &record.basis {
            let (shape, numbers) = (vec![basis.rank, basis.cols], Numbers::Halves(&basis.halves));
            stored.push((described.tensor(), ToStore { shape, numbers, stored: StoredAs::Bf16 }));
        }
    }
    store::write(path, &stored)
}

/// Gives `trainer`, which has done no step, the numbers at `path` as after `step` steps.
///
/// # Errors
/// [`Error::Read`]; [`Error::Checkpoint`] if a tensor is missing, unknown or of another shape.
pub(super) fn restore<M: Model>(
    trainer: &mut Trainer<M>,
    step: u64,
    remembered: &[Remembered],
    path: &Path,
) -> Result<(), Error> {
    let damaged = |what: String| Error::Checkpoint { path: path.to_path_buf(), what };
    let bytes = fs::read(path).map_err(|reason| Error::Read { path: path.to_path_buf(), reason })?;
    let file = SafeTensors::deserialize(&bytes).map_err(|reason| damaged(reason.to_string()))?;
    let mut left: BTreeMap<String, _> = file.tensors().into_iter().collect();
    let mut take = |name: &str, dtype: Dtype, shape: [usize; 2]| {
        let found = left.remove(name).ok_or_else(|| damaged(format!("no tensor {name}")))?;
        if found.dtype() != dtype || found.shape() != shape {
            let (stored, kind) = (found.shape(), found.dtype());
            return Err(damaged(format!("{name}: stored {kind} {stored:?}, expected {dtype} {shape:?}")));
        }
        Ok(found.data())
    };
    let mut moments = Vec::new();
    for param in trainer.model().params() {
        let (rows, cols) = (param.value().rows(), param.value().cols());
        let mut of = |name: &str| {
            let data = take(name, Dtype::F32, [rows, cols])?;
            let numbers = data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
            Ok::<_, Error>(trainer.memory().tensor(rows, cols, numbers, Category::Optimiser))
        };
        let [first, second] = moment_names(param.name());
        moments.push((param.id(), [of(&first)?, of(&second)?]));
    }
    let mut records = Vec::new();
    for place in remembered {
        let basis = match place.basis {
            None => None,
            Some(Basis { rank, cols, error }) => {
                let data = take(&place.tensor(), Dtype::BF16, [rank, cols])?;
                let halves = data.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]])).collect();
                Some(BasisRecord { rank, cols, error, halves })
            }
        };
        let site: Site = place.site.parse().map_err(damaged)?;
        records.push(PlaceRecord { layer: place.layer, site, ordinal: place.ordinal, rank: place.rank, basis });
    }
    if let Some(name) = left.keys().next() {
        return Err(damaged(format!("unknown tensor {name}")));
    }
    let history = History::from_records(records, trainer.memory()).map_err(|e| damaged(e.to_string()))?;
    trainer.resume(step, moments, history);
    Ok(())
}
