//! A stretch of a model that keeps its input only, and runs forward again in backward, on a tape of its own. With
//! [`Recompute::Factored`] it starts from the factors of its input, which are multiplied out only for an op that needs
//! elements.

use std::collections::VecDeque;

use super::{Backprop, Backward, Factors, Mode, StepKey, Tape, Var, VarId};
use crate::error::Error;
use crate::ledger::Phase;
use crate::routing::Decision;
use crate::saved::{Policy, Recompute, SavedRef, Site};
use crate::tensor::Tensor;

/// A stretch of a model that can run again: from its input to its output.
pub type Segment<'m> = Box<dyn Fn(&mut Tape<'m>, Var) -> Result<Var, Error> + 'm>;

impl<'m> Tape<'m> {
    /// Runs `segment` from `x`. If the policy recomputes at `site`, only `x` is kept (in the form planned for the site;
    /// for [`Site::AttnQkv`] in that of the projections' input) and backward runs the segment again from it.
    ///
    /// # Errors
    /// Those of the segment's ops and of saving `x`.
    pub fn segment(&mut self, site: Site, x: Var, segment: Segment<'m>) -> Result<Var, Error> {
        if self.mode != Mode::Record || !self.policy.recomputes(site) {
            return segment(self, x);
        }
        let (input, layer) = (x.grad_id(), self.layer);
        // Saved before it runs: compressed, its dense numbers need not outlive the segment's first use of them.
        self.memory.ledger().set_op("segment");
        let kept_at = if site == Site::AttnQkv { Site::AttnIn } else { site };
        let saved = self.save(&[kept_at], x.tensor())?;
        self.mode = Mode::Dry;
        let output = segment(self, x);
        self.mode = Mode::Record;
        let decisions = std::mem::take(&mut self.decisions);
        let output = output?;
        if !output.needs_grad() {
            return Ok(output);
        }
        let factored = self.policy.recompute == Recompute::Factored;
        let node = SegmentNode { saved, input, segment, layer, key: self.key, site, factored, decisions };
        Ok(self.record("segment", output.into_tensor(), node))
    }
}

struct SegmentNode<'m> {
    saved: SavedRef,
    input: Option<VarId>,
    segment: Segment<'m>,
    layer: Option<usize>,
    key: StepKey,
    site: Site,
    /// Whether the input stays factored until an op needs elements.
    factored: bool,
    /// What its first run decided, such as the experts of each row: an approximate input could decide otherwise.
    decisions: VecDeque<Decision>,
}

impl Backward for SegmentNode<'_> {
    fn backward(self: Box<Self>, dy: Tensor, pass: &mut Backprop<'_>) -> Result<(), Error> {
        let ledger = pass.memory.ledger().clone();
        let before = ledger.set_phase(Phase::Recompute);
        let SegmentNode { saved, input, segment, layer, key, site, factored, decisions } = *self;
        let mut tape = Tape::with_mode(&pass.memory, Policy::inside_segment(pass.precision), key, Mode::Record);
        tape.set_layer(layer);
        tape.rerun = Some(site);
        tape.decisions = decisions;
        ledger.set_op("segment");
        let factors = if factored { saved.factors(&pass.memory) } else { None };
        let x = match factors {
            Some((u, v)) => Var::factored(Factors { u, v, saved }, input.is_some(), &pass.memory),
            None => tape.input(saved.to_dense(&pass.memory), input.is_some()),
        };
        let leaf = x.id();
        let output = segment(&mut tape, x)?.id();
        let mut inputs = tape.backward(output, dy, pass.params)?;
        ledger.set_phase(before);
        if let Some(gradient) = inputs.take(leaf) {
            pass.accumulate(input, gradient);
        }
        if inputs.0.is_empty() {
            Ok(())
        } else {
            Err(Error::NoGradient { op: "segment", what: "a value from outside it, other than its input" })
        }
    }
}
