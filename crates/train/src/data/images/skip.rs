//! Looking for broken pictures when a set is opened.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use loract_models::vision::PictureError;
#[cfg(feature = "parquet")]
use loract_models::vision::PictureFormat;

use super::{ImageSet, LeftOut, Source};
use crate::error::Error;

impl ImageSet {
    /// That every file begins as a picture: pages of errors saved under the name of a picture, and empty files, are found now.
    pub(super) fn look_at_formats(&self) -> Result<(), Error> {
        for place in 0..self.source.len() {
            let format = match &self.source {
                Source::Files(files) => files.format(place)?,
                #[cfg(feature = "parquet")]
                Source::Parquet(rows) => PictureFormat::of(rows.bytes(place)),
                Source::Idx(_) | Source::Tensors(_) => return Ok(()),
            };
            if let Err(reason) = format {
                return Err(Error::Picture { name: self.source.name(place), reason });
            }
        }
        Ok(())
    }

    /// Leaves out what cannot be decoded.
    pub(super) fn skip_broken(&mut self) -> Result<(), Error> {
        let found = self.source.broken()?;
        let mut broken = found.into_iter().peekable();
        let mut whole = Vec::with_capacity(self.places.len());
        for place in 0..self.source.len() {
            match broken.next_if(|(at, _)| *at == place) {
                Some((_, reason)) => self.left_out.push(LeftOut { name: self.source.name(place), reason }),
                None => whole.push(place),
            }
        }
        self.labels = whole.iter().map(|&place| self.labels.get(place).copied().flatten()).collect();
        self.places = whole;
        Ok(())
    }

    /// What is said of those that were left out.
    pub(super) fn of_left_out(&self) -> String {
        match &self.left_out[..] {
            [] => String::new(),
            [first, ..] => format!(": {} are broken ({}: {})", self.left_out.len(), first.name, first.reason),
        }
    }
}

impl Source {
    /// Places of the pictures that cannot be decoded, ascending, found by all threads that there are.
    fn broken(&self) -> Result<Vec<(usize, PictureError)>, Error> {
        if let Source::Tensors(_) = self {
            return Ok(Vec::new());
        }
        let (next, count) = (AtomicUsize::new(0), self.len());
        let look = || -> Result<Vec<(usize, PictureError)>, Error> {
            let mut broken = Vec::new();
            loop {
                let place = next.fetch_add(1, Ordering::Relaxed);
                if place >= count {
                    return Ok(broken);
                }
                if let Err(reason) = self.picture(place)? {
                    broken.push((place, reason));
                }
            }
        };
        let threads = thread::available_parallelism().map_or(1, usize::from).min(count.max(1));
        let found = thread::scope(|scope| {
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(look)).collect();
            threads.into_iter().map(|thread| thread.join()).collect::<Vec<_>>()
        });
        let mut broken = Vec::new();
        for part in found {
            broken.extend(part.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        broken.sort_by_key(|(place, _)| *place);
        Ok(broken)
    }
}
