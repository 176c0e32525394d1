//! The ledger: every tensor byte, by category, live and at its peak.
//!
//! A [`Claim`] is an entry that ends itself when dropped; tensors and saved states hold one. So the ledger cannot forget
//! a release, and what it does not know was not allocated through [`crate::Memory`].

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::saved::{SavedKind, Site};
use crate::timeline::Timeline;

/// What bytes are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Category {
    /// Weights that are not trained, in their stored form.
    FrozenWeights,
    /// Trainable parameters.
    Trainable,
    /// Gradients of trainable parameters.
    Gradients,
    /// Optimiser state.
    Optimiser,
    /// Bases of the last decompositions, from which the next start.
    WarmBases,
    /// Kept for backward, at a site, in a form.
    Saved(Site, SavedKind),
    /// Anything else an op needs while it runs, and values on their way to the next op.
    Transient,
}

impl Category {
    /// Whether the bytes belong to a step rather than to the model or the optimiser.
    pub fn is_activation(self) -> bool {
        matches!(self, Category::Saved(..) | Category::Transient)
    }
}

impl fmt::Display for Category {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Category::FrozenWeights => f.write_str("frozen_weights"),
            Category::Trainable => f.write_str("trainable"),
            Category::Gradients => f.write_str("gradients"),
            Category::Optimiser => f.write_str("optimiser"),
            Category::WarmBases => f.write_str("warm_bases"),
            Category::Saved(site, kind) => write!(f, "saved.{site}.{kind}"),
            Category::Transient => f.write_str("transient"),
        }
    }
}

/// Which part of a step is running.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Phase {
    /// Outside a step.
    #[default]
    Idle,
    /// The forward pass.
    Forward,
    /// The backward pass, outside recomputed segments.
    Backward,
    /// A segment runs forward again inside backward.
    Recompute,
    /// The optimiser's update.
    Optimise,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::Idle => "idle",
            Phase::Forward => "forward",
            Phase::Backward => "backward",
            Phase::Recompute => "recompute",
            Phase::Optimise => "optimise",
        })
    }
}

/// The largest sum of activation bytes since [`Ledger::reset_peak`], and where it stood.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Peak {
    /// Activation bytes ([`Category::is_activation`]).
    pub activation_bytes: usize,
    /// Phase of the step.
    pub phase: Phase,
    /// Op that allocated last.
    pub op: &'static str,
    /// Bytes by category at that moment; empty categories left out.
    pub by_category: BTreeMap<Category, usize>,
    /// Bytes that a thread kept for itself in one kernel, the most since then; they are in no category.
    pub thread_scratch: usize,
}

#[derive(Debug, Default)]
struct Book {
    live: BTreeMap<Category, usize>,
    activations: usize,
    phase: Phase,
    op: &'static str,
    peak: Peak,
    /// While a step is followed.
    timeline: Option<Timeline>,
}

impl Book {
    fn add(&mut self, category: Category, bytes: usize) {
        *self.live.entry(category).or_default() += bytes;
        if category.is_activation() {
            self.activations += bytes;
            if self.activations > self.peak.activation_bytes {
                self.peak.activation_bytes = self.activations;
                self.peak.phase = self.phase;
                self.peak.op = self.op;
                // The map is small (a few dozen entries) but cloning it at every rise would dominate tiny models.
                self.peak.by_category.clone_from(&self.live);
            }
        }
    }

    fn remove(&mut self, category: Category, bytes: usize) {
        if let Some(live) = self.live.get_mut(&category) {
            *live -= bytes;
        }
        if category.is_activation() {
            self.activations -= bytes;
        }
    }

    /// Bytes came, went, or moved to another category.
    fn changed(&mut self, category: Category) {
        if let Some(timeline) = self.timeline.as_mut().filter(|_| category.is_activation()) {
            timeline.note(self.phase, self.activations, &self.live);
        }
    }
}

/// A shared handle to the book of bytes.
#[derive(Debug, Clone, Default)]
pub struct Ledger(Arc<Mutex<Book>>);

impl Ledger {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters `bytes` under `category` until the claim is dropped.
    pub fn claim(&self, category: Category, bytes: usize) -> Claim {
        let mut book = self.book();
        book.add(category, bytes);
        book.changed(category);
        drop(book);
        Claim { ledger: self.clone(), category, bytes }
    }

    /// Live bytes by category; empty categories left out.
    pub fn live(&self) -> BTreeMap<Category, usize> {
        self.book().live.iter().filter(|(_, b)| **b > 0).map(|(c, b)| (*c, *b)).collect()
    }

    /// Live bytes of one category.
    pub fn live_in(&self, category: Category) -> usize {
        self.book().live.get(&category).copied().unwrap_or(0)
    }

    /// Live bytes kept for backward, all sites and forms.
    pub fn saved_bytes(&self) -> usize {
        self.book().live.iter().filter(|(c, _)| matches!(c, Category::Saved(..))).map(|(_, b)| b).sum()
    }

    /// Live activation bytes.
    pub fn activation_bytes(&self) -> usize {
        self.book().activations
    }

    /// The peak since the last reset.
    pub fn peak(&self) -> Peak {
        let mut peak = self.book().peak.clone();
        peak.by_category.retain(|_, bytes| *bytes > 0);
        peak
    }

    /// Begins a new peak at what is live now.
    pub fn reset_peak(&self) {
        let mut book = self.book();
        let (activation_bytes, by_category) = (book.activations, book.live.clone());
        book.peak = Peak { activation_bytes, phase: book.phase, op: book.op, by_category, thread_scratch: 0 };
    }

    /// Tells of a kernel that keeps so many bytes a thread.
    pub(crate) fn uses_scratch(&self, bytes: usize) {
        let mut book = self.book();
        book.peak.thread_scratch = book.peak.thread_scratch.max(bytes);
    }

    /// From now on notes what is live, until [`Ledger::end_timeline`]; what was noted before is forgotten.
    pub fn begin_timeline(&self) {
        self.book().timeline = Some(Timeline::default());
    }

    /// What was live since [`Ledger::begin_timeline`]; nothing if it was not called.
    pub fn end_timeline(&self) -> Timeline {
        self.book().timeline.take().unwrap_or_default()
    }

    /// Notes the phase; returns the one before.
    pub fn set_phase(&self, phase: Phase) -> Phase {
        std::mem::replace(&mut self.book().phase, phase)
    }

    /// Notes the op that runs.
    pub fn set_op(&self, op: &'static str) {
        self.book().op = op;
    }

    /// The op that runs.
    pub(crate) fn op(&self) -> &'static str {
        self.book().op
    }
}

/// An entry of the ledger; dropping it ends it.
#[derive(Debug)]
pub struct Claim {
    ledger: Ledger,
    category: Category,
    bytes: usize,
}

impl Claim {
    /// Bytes entered.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Moves the bytes to another category.
    pub(crate) fn set_category(&mut self, category: Category) {
        if category != self.category {
            let mut book = self.ledger.book();
            book.remove(self.category, self.bytes);
            book.add(category, self.bytes);
            book.changed(category);
            self.category = category;
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut book = self.ledger.book();
        book.remove(self.category, self.bytes);
        book.changed(self.category);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeline_is_of_activations_between_its_ends() {
        let ledger = Ledger::default();
        let before = ledger.claim(Category::Transient, 10);
        ledger.begin_timeline();
        ledger.set_phase(Phase::Forward);
        let saved = Category::Saved(Site::AttnIn, SavedKind::Exact);
        let kept = ledger.claim(saved, 100);
        drop(ledger.claim(Category::Gradients, 1000));
        ledger.set_phase(Phase::Backward);
        drop((kept, before));
        let timeline = ledger.end_timeline();
        let found: Vec<_> =
            timeline.moments().iter().map(|m| (m.phase, m.activation_bytes, m.by_category.len())).collect();
        assert_eq!(found, [(Phase::Forward, 110, 2), (Phase::Backward, 10, 1), (Phase::Backward, 0, 0)]);
        drop(ledger.claim(Category::Transient, 5));
        assert!(ledger.end_timeline().moments().is_empty());
    }

    #[test]
    fn claims_end_and_peaks_stay() {
        let ledger = Ledger::default();
        ledger.set_phase(Phase::Forward);
        let kept = ledger.claim(Category::Transient, 100);
        let mut passing = ledger.claim(Category::Transient, 50);
        passing.set_category(Category::Saved(Site::AttnIn, SavedKind::Exact));
        assert_eq!((ledger.saved_bytes(), ledger.activation_bytes()), (50, 150));
        ledger.set_phase(Phase::Backward);
        drop(passing);
        let weights = ledger.claim(Category::FrozenWeights, 1000);
        assert_eq!(ledger.activation_bytes(), 100);
        let peak = ledger.peak();
        assert_eq!((peak.activation_bytes, peak.phase), (150, Phase::Forward));
        ledger.reset_peak();
        assert_eq!(ledger.peak().activation_bytes, 100);
        drop((kept, weights));
        assert!(ledger.live().is_empty());
    }
}
