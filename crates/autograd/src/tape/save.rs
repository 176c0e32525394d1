//! Saving: which form a tensor gets, who else needs the same one, and when it is compressed.

use std::sync::{Arc, OnceLock};

use super::{SiteError, Tape};
use crate::error::Error;
use crate::profile::{self, Part};
use crate::saved::{
    Background, Compression, Deferred, Done, Form, Place, Planned, Remembered, Saved, SavedRef, Site, WeakRef, Workers,
};
use crate::tensor::Tensor;

impl<'m> Tape<'m> {
    /// Compresses on `workers`; [`Tape::settle`] ends that.
    pub fn compress_on(&mut self, workers: &'m Workers) {
        self.background = Some(Background::new(workers));
    }

    /// Waits for what is still being compressed; after forward, before anyone asks for errors or counts bytes.
    ///
    /// # Errors
    /// [`Error::NonFinite`] if a tensor to be compressed held NaN or infinity.
    pub fn settle(&mut self) -> Result<(), Error> {
        let Some(background) = &mut self.background else { return Ok(()) };
        let done = background.settle();
        done.into_iter().try_for_each(|done| self.note(done))
    }

    /// Keeps `tensor`, which is needed at all of `sites`, in the form that the policy plans for them.
    ///
    /// A tensor that is kept already (the same numbers, for another op) is shared, unless it is kept in a coarser form
    /// than `sites` allow.
    ///
    /// # Errors
    /// [`Error::NonFinite`] if it is to be compressed and holds NaN or infinity.
    pub(crate) fn save(&mut self, sites: &[Site], tensor: &Tensor) -> Result<SavedRef, Error> {
        let id = tensor.buffer_id();
        let planned = self.policy.plan(sites, tensor.rows(), tensor.cols());
        if let Some(kept) = self.known.get(&id).and_then(WeakRef::upgrade)
            && kept.serves(&planned)
        {
            return Ok(kept);
        }
        let site = sites[0];
        // An expert that nobody chose has no rows to look at.
        if let Some(observer) = self.observer.as_mut().filter(|_| tensor.rows() > 0) {
            observer(self.memory.ledger().op(), site, self.layer, tensor);
        }
        // Counted whatever its form: an expert with few rows may be kept exactly in one step and not in another.
        let ordinal = self.kept.entry((self.layer, site)).or_default();
        let place = Place { layer: self.layer, site, ordinal: *ordinal };
        *ordinal += 1;
        let saved = match planned {
            Planned::Exact => Saved::exact(tensor, site),
            _ => Saved::Compressed(self.compress(place, tensor, planned)?),
        };
        let saved = SavedRef::new(saved);
        self.known.insert(id, saved.downgrade());
        Ok(saved)
    }

    fn compress(&mut self, place: Place, tensor: &Tensor, planned: Planned) -> Result<Deferred, Error> {
        let site = place.site;
        let _span = profile::span(Part::Compress(site));
        let job = Compression {
            tensor: tensor.clone(),
            place,
            planned,
            warm: self.policy.warm_start,
            remembered: self.history.as_mut().map_or_else(Remembered::default, |history| history.take(place)),
            // Sites are few.
            stream: self.stream(site as u64 | (place.ordinal as u64) << 8),
            memory: self.memory.clone(),
        };
        let slot = match &mut self.background {
            Some(background) => background.hand_over(job),
            None => {
                let (kept, done) = job.run();
                self.note(done)?;
                Arc::new(OnceLock::from(kept))
            }
        };
        let (rows, cols) = (tensor.rows(), tensor.cols());
        Ok(Deferred { site, shape: (rows, cols), kind: planned.kind(), fineness: planned.fineness(cols), slot })
    }

    /// Takes what a compression reports.
    fn note(&mut self, done: Done) -> Result<(), Error> {
        let Place { site, layer, .. } = done.place;
        match done.relative_error {
            Ok(Some(relative)) => self.errors.push(SiteError { site, layer, relative }),
            Ok(None) => {}
            Err(loract_linalg::Error::NonFinite { row, col, value, .. }) => {
                return Err(Error::NonFinite { site, layer, row, col, value });
            }
            Err(loract_linalg::Error::ZeroRank { rows, cols }) => {
                return Err(Error::Shape { op: "save", what: "rank 0 for a tensor", left: rows, right: cols });
            }
        }
        if let Some(history) = &mut self.history {
            history.put(done.place, done.remembered);
        }
        Ok(())
    }

    /// Lets later saves of `output` share `saved`, from which it can be had.
    pub(crate) fn share(&mut self, output: &Tensor, saved: &SavedRef) {
        self.known.insert(output.buffer_id(), saved.downgrade());
    }

    /// Whether a tensor of `site` is to be computed again from others.
    pub(crate) fn is_computed_again(&self, site: Site) -> bool {
        self.policy.form(site) == Form::Again
    }

    /// Keeps a small tensor that is always exact (row statistics, x·A).
    pub(crate) fn save_exact(&mut self, site: Site, tensor: &Tensor) -> SavedRef {
        SavedRef::new(Saved::exact(tensor, site))
    }
}
