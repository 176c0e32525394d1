//! The account of a run so far; goes through checkpoints, so that a resumed run reports on the whole.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::evaluation::Evaluation;
use crate::trainer::StepReport;

/// The best evaluation so far.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Best {
    /// After this step.
    pub step: u64,
    /// Its loss.
    pub loss: f64,
}

/// The step that needed the most memory.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Largest {
    pub(super) step: u64,
    pub(super) peak_activation_bytes: usize,
    /// The ledger's account.
    pub(super) memory: Value,
    /// Live bytes over it; null in the checkpoints of earlier versions.
    #[serde(default)]
    pub(super) timeline: Value,
}

/// What the report is made of.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tally {
    pub(super) first_loss: Option<f64>,
    pub(super) tokens: usize,
    pub(super) step_seconds: Vec<f64>,
    /// Wall time of the parts before this one.
    pub(super) wall_seconds: f64,
    /// Steps after which it was resumed.
    pub(super) resumed_after: Vec<u64>,
    pub(super) largest: Option<Largest>,
    pub(super) evaluation: Option<Evaluation>,
    pub(super) best: Option<Best>,
    /// Evaluations since the best one.
    pub(super) without_better: u64,
    /// Whether the user was warned of coarse gradients.
    pub(super) warned: bool,
    /// Σ ln of the gradient norms so far.
    log_norms: f64,
    /// Whether the user was warned of a gradient that jumped.
    warned_of_jump: bool,
}

/// A gradient norm this many times the (geometric) mean of those before is a run that goes astray. Of 22 runs of SmolLM2
/// on prose and on sentiment two whose gradients exploded reached 12 and 17, the others stayed below 3.
const JUMP: f64 = 10.0;

/// Steps that make a mean.
const ENOUGH: usize = 5;

impl Tally {
    /// A step has ended.
    pub(super) fn step(&mut self, report: &StepReport) {
        self.first_loss.get_or_insert(report.loss);
        self.tokens = self.tokens.saturating_add(report.tokens);
        self.step_seconds.push(report.seconds);
        let peak_activation_bytes = report.peak_activation_bytes;
        if self.largest.as_ref().is_none_or(|largest| peak_activation_bytes > largest.peak_activation_bytes) {
            let (memory, timeline) = (report.memory.to_json(), report.memory.timeline_json());
            self.largest = Some(Largest { step: report.step, peak_activation_bytes, memory, timeline });
        }
    }

    /// How many times larger than usual the norm of a step's gradient is, the first time that it is [`JUMP`] times; called before
    /// [`Tally::step`].
    pub(super) fn jump(&mut self, norm: f64) -> Option<f64> {
        let steps = self.step_seconds.len();
        let times = norm / (self.log_norms / steps.max(1) as f64).exp();
        self.log_norms += norm.max(f64::MIN_POSITIVE).ln();
        let jumped = steps >= ENOUGH && times > JUMP && !self.warned_of_jump;
        self.warned_of_jump |= jumped;
        jumped.then_some(times)
    }

    /// An evaluation on the way has ended. Whether it is the best so far.
    pub(super) fn is_best(&mut self, step: u64, loss: f64) -> bool {
        let better = self.best.is_none_or(|best| loss < best.loss);
        if better {
            self.best = Some(Best { step, loss });
            self.without_better = 0;
        } else {
            self.without_better = self.without_better.saturating_add(1);
        }
        better
    }

    /// Whether a best evaluation is remembered.
    pub(crate) fn has_best(&self) -> bool {
        self.best.is_some()
    }

    /// Median of the steps' wall times.
    pub(super) fn median_step_seconds(&self) -> f64 {
        let mut seconds = self.step_seconds.clone();
        seconds.sort_by(f64::total_cmp);
        seconds.get(seconds.len() / 2).copied().unwrap_or(f64::NAN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gradient_that_jumps_is_told_once() {
        let step = |tally: &mut Tally, norm| {
            let told = tally.jump(norm);
            tally.step_seconds.push(1.0);
            told
        };
        let mut tally = Tally::default();
        assert_eq!([0.1, 9.0, 0.5, 2.0, 1.0].map(|norm| step(&mut tally, norm)), [None; 5]);
        assert_eq!([8.0, 0.4].map(|norm| step(&mut tally, norm)), [None; 2]);
        assert!(step(&mut tally, 60.0).is_some_and(|times| times > JUMP));
        assert_eq!(step(&mut tally, 1e9), None);
    }

    #[test]
    fn the_first_of_equal_evaluations_is_the_best() {
        let mut tally = Tally::default();
        let found: Vec<_> = [3.0, 2.0, 2.0, 2.5, 1.0]
            .iter()
            .zip(1..)
            .map(|(l, step)| (tally.is_best(step, *l), tally.without_better))
            .collect();
        assert_eq!(found, [(true, 0), (true, 0), (false, 1), (false, 2), (true, 0)]);
        assert_eq!(tally.best, Some(Best { step: 5, loss: 1.0 }));
    }
}
