//! A mixture of experts in place of an MLP: a router gives each token to a few of them, and their outputs are weighed and added.

use loract_autograd::ops::{self, Activation, ExpertInput, Linear, Shares};
use loract_autograd::{Error, Site, Tape, Var};

use super::parts::{Named, Part, PartMut};

/// E experts, each F wide inside.
#[derive(Debug)]
pub(crate) struct Experts {
    /// E×C; has no LoRA pair.
    pub(crate) router: Named<Linear>,
    pub(crate) experts: Vec<Expert>,
    /// How many a token takes.
    pub(crate) chosen: usize,
    pub(crate) shares: Shares,
    pub(crate) activation: Activation,
}

/// down(act(gate(y))·up(y)).
#[derive(Debug)]
pub(crate) struct Expert {
    /// F×C.
    pub(crate) gate: Named<Linear>,
    /// F×C.
    pub(crate) up: Named<Linear>,
    /// C×F.
    pub(crate) down: Named<Linear>,
}

impl Experts {
    /// From y (m×C), m×C. `ends_segment` tells that nothing of its output is needed in backward.
    pub(crate) fn forward<'m>(&'m self, tape: &mut Tape<'m>, y: Var, ends_segment: bool) -> Result<Var, Error> {
        let logits = ops::linear(tape, &y, &self.router.part, Site::MlpIn)?;
        let routed = ops::route(tape, &logits, self.chosen, self.shares)?;
        drop(logits);
        let sites: &[Site] = if self.need_input() { &[Site::MlpIn] } else { &[] };
        ops::experts(tape, &y, &routed, sites, |tape, number, ExpertInput { x, weights }| {
            let Expert { gate, up, down } = &self.experts[number];
            let gate = ops::linear(tape, &x, &gate.part, Site::MlpIn)?;
            let up = ops::linear(tape, &x, &up.part, Site::MlpIn)?;
            drop(x);
            // Weighed before the projection down, its output is weighed, and nothing of it need be kept.
            let up = ops::weigh_rows(tape, up, &weights, Site::ActFn)?;
            let h = ops::gated(tape, self.activation, gate, up)?;
            if ends_segment {
                tape.closes(&[Site::CkptMlp, Site::CkptLayer]);
            }
            ops::linear(tape, &h, &down.part, Site::MlpOut)
        })
    }

    /// Whether backward needs the input of the experts: for an A, or a whole matrix, that is trained.
    fn need_input(&self) -> bool {
        let needs = |linear: &Linear| {
            let lora = linear.lora.as_ref();
            lora.is_some_and(|lora| lora.a.trained().is_some() || lora.magnitude.is_some())
                || linear.weight.trained().is_some()
        };
        self.experts.iter().any(|expert| needs(&expert.gate.part) || needs(&expert.up.part))
    }

    pub(crate) fn parts<'a>(&'a self, all: &mut Vec<Part<'a>>) {
        all.push(Part::Unpaired(&self.router));
        all.extend(self.experts.iter().flat_map(|Expert { gate, up, down }| [gate, up, down]).map(Part::Linear));
    }

    pub(crate) fn parts_mut<'a>(&'a mut self, all: &mut Vec<PartMut<'a>>) {
        all.push(PartMut::Unpaired(&mut self.router));
        let experts = self.experts.iter_mut();
        all.extend(experts.flat_map(|Expert { gate, up, down }| [gate, up, down]).map(PartMut::Linear));
    }
}
