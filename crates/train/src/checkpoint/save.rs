//! Writing a checkpoint, and removing those that are no longer kept.

use std::fs;
use std::path::PathBuf;

use loract_models::Model;

use super::folder::{self, NewFolder};
use super::{BEST, FORMAT, Inputs, RECORD, Record, found_in, numbers, path, settings, unwritable};
use crate::config::RunConfig;
use crate::data::Order;
use crate::error::Error;
use crate::run::Tally;
use crate::run_dir::RunDir;
use crate::trainer::Trainer;
use crate::tuning::Product;

/// What is saved.
pub(crate) struct Contents<'a, M> {
    pub(crate) config: &'a RunConfig,
    pub(crate) inputs: &'a Inputs,
    pub(crate) trainer: &'a Trainer<M>,
    pub(crate) product: &'a Product,
    pub(crate) order: &'a Order,
    pub(crate) out: &'a RunDir,
    pub(crate) tally: Tally,
    /// Where the best trained parameters so far are.
    pub(crate) best: Option<PathBuf>,
}

impl<M: Model> Contents<'_, M> {
    /// Writes `OUT/checkpoint-N`; then removes those beyond the last `keep_checkpoints`, and later ones, which are there
    /// only if they were found damaged.
    pub(crate) fn save(self) -> Result<PathBuf, Error> {
        let step = self.trainer.steps_done();
        let out = self.out.folder();
        let records = self.trainer.history().records();
        let mut folder = NewFolder::begin(path(out, step))?;
        for file in self.product.files(self.trainer.model()) {
            folder.write_by(&file.name, |path| file.write(path))?;
        }
        folder.write_by(numbers::FILE, |path| numbers::write(self.trainer, &records, path))?;
        for (name, lines) in self.out.logs() {
            folder.write_by(name, |path| fs::copy(lines, path).map(|_| ()))?;
        }
        if let Some(best) = self.best {
            folder.write_by(BEST, |path| fs::copy(best, path).map(|_| ()))?;
        }
        let record = Record {
            format: FORMAT,
            loract: env!("CARGO_PKG_VERSION").into(),
            step,
            rows_taken: self.order.taken(),
            settings: settings(self.config)?,
            inputs: self.inputs.clone(),
            tally: self.tally,
            remembered: numbers::remembered(&records),
        };
        let text = serde_json::to_string(&record).map_err(|e| unwritable(path(out, step).join(RECORD), e))?;
        folder.write(RECORD, text.as_bytes())?;
        folder.finish()?;
        let steps = found_in(out);
        let old = steps.iter().filter(|s| **s < step).rev().skip(self.config.keep_checkpoints.saturating_sub(1));
        for step in old.chain(steps.iter().filter(|s| **s > step)) {
            folder::remove(&path(out, *step))?;
        }
        Ok(path(out, step))
    }
}
