//! Looking for broken pictures when a set is opened, and what is said of them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

#[cfg(feature = "parquet")]
use loract_models::vision::PictureFormat;

use super::{ImageSet, LeftOut, Source};
use crate::error::Error;

impl ImageSet {
    /// What of it is not taken, in words for users: broken pictures, and other files.
    pub fn notes(&self) -> Vec<String> {
        let path = self.path.display();
        let mut notes = Vec::new();
        if let Some(first) = self.left_out.first() {
            let (count, name, reason) = (self.left_out.len(), &first.name, &first.reason);
            notes.push(format!("warning: {count} broken pictures of {path} are left out, the first {name}: {reason}"));
        }
        if self.other_files() > 0 {
            notes.push(format!(
                "{} files of {path} are no pictures by their names and were passed over",
                self.other_files()
            ));
        }
        notes
    }

    /// That every file begins as a picture: pages of errors saved under the name of a picture, and empty files, are found now.
    pub(super) fn look_at_formats(&self) -> Result<(), Error> {
        for place in 0..self.source.len() {
            let format = match &self.source {
                Source::Files(files) => files.format(place)?,
                #[cfg(feature = "parquet")]
                Source::Parquet(rows) => PictureFormat::of(rows.bytes(place)?),
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
    /// Places of the pictures that cannot be read or decoded and why, ascending, found by all threads that there are.
    fn broken(&self) -> Result<Vec<(usize, String)>, Error> {
        if let Source::Tensors(_) = self {
            return Ok(Vec::new());
        }
        let (next, count) = (AtomicUsize::new(0), self.len());
        let look = || -> Result<Vec<(usize, String)>, Error> {
            let mut broken = Vec::new();
            loop {
                let place = next.fetch_add(1, Ordering::Relaxed);
                if place >= count {
                    return Ok(broken);
                }
                match self.picture(place) {
                    Ok(Ok(_)) => {}
                    Ok(Err(reason)) => broken.push((place, reason.to_string())),
                    Err(Error::Read { reason, .. }) => broken.push((place, reason.to_string())),
                    Err(Error::Line { what, .. }) => broken.push((place, what)),
                    Err(other) => return Err(other),
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
