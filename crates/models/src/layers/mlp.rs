//! The MLP of a layer.

use loract_autograd::ops::{self, Activation, Linear};
use loract_autograd::{Error, Site, Tape, Var};

use super::parts::{Named, Part, PartMut};

/// F wide inside.
#[derive(Debug)]
pub(crate) struct Mlp {
    pub(crate) activation: Activation,
    pub(crate) inner: Inner,
    /// C×F.
    pub(crate) down: Named<Linear>,
}

/// What comes before the projection down.
#[derive(Debug)]
pub(crate) enum Inner {
    /// act(gate(y))·up(y): gate and up, F×C each.
    Gated(Box<[Named<Linear>; 2]>),
    /// The same with gate above up, 2F×C.
    Fused(Named<Linear>),
    /// act(up(y)).
    Plain(Named<Linear>),
}

impl Mlp {
    /// From y (m×C), m×C. `ends_segment` tells that nothing of its output is needed in backward.
    pub(crate) fn forward<'m>(&'m self, tape: &mut Tape<'m>, y: Var, ends_segment: bool) -> Result<Var, Error> {
        let h = match &self.inner {
            Inner::Gated(both) => {
                let [gate, up] = &**both;
                let gate = ops::linear(tape, &y, &gate.part, Site::MlpIn)?;
                let up = ops::linear(tape, &y, &up.part, Site::MlpIn)?;
                drop(y);
                ops::gated(tape, self.activation, gate, up)?
            }
            Inner::Fused(both) => {
                let both = ops::linear(tape, &y, &both.part, Site::MlpIn)?;
                drop(y);
                let half = both.cols() / 2;
                let gate = ops::slice(tape, &both, 0..half)?;
                let up = ops::slice(tape, &both, half..2 * half)?;
                drop(both);
                ops::gated(tape, self.activation, gate, up)?
            }
            Inner::Plain(up) => {
                let x = ops::linear(tape, &y, &up.part, Site::MlpIn)?;
                drop(y);
                ops::activate(tape, self.activation, x)?
            }
        };
        if ends_segment {
            tape.closes(&[Site::CkptMlp, Site::CkptLayer]);
        }
        ops::linear(tape, &h, &self.down.part, Site::MlpOut)
    }

    pub(crate) fn parts<'a>(&'a self, all: &mut Vec<Part<'a>>) {
        match &self.inner {
            Inner::Gated(both) => all.extend(both.iter().map(Part::Linear)),
            Inner::Fused(one) | Inner::Plain(one) => all.push(Part::Linear(one)),
        }
        all.push(Part::Linear(&self.down));
    }

    pub(crate) fn parts_mut<'a>(&'a mut self, all: &mut Vec<PartMut<'a>>) {
        match &mut self.inner {
            Inner::Gated(both) => all.extend(both.iter_mut().map(PartMut::Linear)),
            Inner::Fused(one) | Inner::Plain(one) => all.push(PartMut::Linear(one)),
        }
        all.push(PartMut::Linear(&mut self.down));
    }
}
