//! Live activation bytes over a step, in a fixed room: however many allocations a step makes, [`MOST`] samples at most.
//!
//! A sample stands for a stretch of changes (an allocation or a release each) and holds its fullest moment. When the samples
//! run out, neighbours are joined and stretches become twice as long, so the peak of the step is always among them.

use std::collections::BTreeMap;

use crate::ledger::{Category, Phase};

/// Even, so that neighbours can be joined.
const MOST: usize = 160;

/// The fullest moment of a stretch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// Phase of the step.
    pub phase: Phase,
    /// Activation bytes ([`Category::is_activation`]).
    pub activation_bytes: usize,
    /// Those bytes by category; empty categories left out.
    pub by_category: Vec<(Category, usize)>,
}

impl Moment {
    fn of(phase: Phase, activation_bytes: usize, live: &BTreeMap<Category, usize>) -> Self {
        let kept = live.iter().filter(|(category, bytes)| category.is_activation() && **bytes > 0);
        Self { phase, activation_bytes, by_category: kept.map(|(category, bytes)| (*category, *bytes)).collect() }
    }
}

/// The moments of a step, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeline {
    stretch: usize,
    changes: usize,
    moments: Vec<Moment>,
}

impl Default for Timeline {
    fn default() -> Self {
        Self { stretch: 1, changes: 0, moments: Vec::new() }
    }
}

impl Timeline {
    /// Changes that a moment stands for; the last one may stand for fewer.
    pub fn stretch(&self) -> usize {
        self.stretch
    }

    /// The fullest moment of each stretch.
    pub fn moments(&self) -> &[Moment] {
        &self.moments
    }

    /// Notes what is live after a change.
    pub(crate) fn note(&mut self, phase: Phase, activation_bytes: usize, live: &BTreeMap<Category, usize>) {
        if self.changes / self.stretch == MOST {
            self.join_neighbours();
        }
        match self.moments.get_mut(self.changes / self.stretch) {
            None => self.moments.push(Moment::of(phase, activation_bytes, live)),
            Some(moment) if activation_bytes > moment.activation_bytes => {
                *moment = Moment::of(phase, activation_bytes, live);
            }
            Some(_) => {}
        }
        self.changes += 1;
    }

    fn join_neighbours(&mut self) {
        let mut moments = std::mem::take(&mut self.moments).into_iter();
        while let Some(first) = moments.next() {
            let fuller = moments.next().filter(|second| second.activation_bytes > first.activation_bytes);
            self.moments.push(fuller.unwrap_or(first));
        }
        self.stretch *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against the list of all changes.
    #[test]
    fn a_moment_is_the_fullest_of_its_stretch_and_their_number_stays() {
        for changes in [1, MOST, MOST + 1, 5 * MOST + 3, 40 * MOST] {
            let bytes: Vec<usize> = (0..changes).map(|i| 1 + i * 7919 % 1009).collect();
            let mut timeline = Timeline::default();
            for &bytes in &bytes {
                timeline.note(Phase::Forward, bytes, &[(Category::Transient, bytes), (Category::Gradients, 9)].into());
            }
            assert!(timeline.moments().len() <= MOST && timeline.moments().len() >= changes.min(MOST / 2));
            let fullest: Vec<_> = bytes.chunks(timeline.stretch()).filter_map(|s| s.iter().max().copied()).collect();
            let found: Vec<_> = timeline.moments().iter().map(|moment| moment.activation_bytes).collect();
            assert_eq!(found, fullest, "{changes} changes");
            for moment in timeline.moments() {
                assert_eq!(moment.by_category, [(Category::Transient, moment.activation_bytes)]);
            }
        }
    }
}
