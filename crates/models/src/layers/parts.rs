//! The parts of a layer, with their names in the checkpoint: what is listed, trained, adapted and written.

use loract_autograd::ops::{Linear, Lora, Norm};
use loract_autograd::{Param, Values, Weight};

/// A part with its name within the layer.
#[derive(Debug)]
pub(crate) struct Named<T> {
    /// As `self_attn.q_proj`.
    pub(crate) name: String,
    pub(crate) part: T,
}

/// A part with its name, and the sizes it is stored with.
#[derive(Debug)]
pub(crate) struct Shaped<T> {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) part: T,
}

/// A part of a layer.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Part<'a> {
    Norm(&'a Named<Norm>),
    /// Can have a LoRA pair.
    Linear(&'a Named<Linear>),
    /// Has none.
    Unpaired(&'a Named<Linear>),
    /// Has none, and is stored in a shape of its own.
    Projection(&'a Shaped<Linear>),
    /// A matrix by itself, with its whole name.
    Table(&'a Shaped<Weight>),
    /// A row by itself, with its whole name.
    Row(&'a Shaped<Values>),
}

/// A part of a layer, to change.
#[derive(Debug)]
pub(crate) enum PartMut<'a> {
    Norm(&'a mut Named<Norm>),
    Linear(&'a mut Named<Linear>),
    Unpaired(&'a mut Named<Linear>),
    Projection(&'a mut Shaped<Linear>),
    Table(&'a mut Shaped<Weight>),
    Row(&'a mut Shaped<Values>),
}

impl<'a> Part<'a> {
    /// Itself, if it is a linear layer.
    pub(crate) fn linear(self) -> Option<(&'a str, &'a Linear)> {
        match self {
            Part::Linear(Named { name, part }) => Some((name, part)),
            _ => None,
        }
    }

    /// What of it is trained.
    pub(crate) fn params(self, all: &mut Vec<&'a Param>) {
        match self {
            Part::Norm(norm) => {
                all.extend([&norm.part.weight, &norm.part.bias].into_iter().flatten().filter_map(Values::trained));
            }
            Part::Linear(Named { part, .. })
            | Part::Unpaired(Named { part, .. })
            | Part::Projection(Shaped { part, .. }) => {
                all.extend(part.weight.trained());
                all.extend(part.bias.as_ref().and_then(Values::trained));
                all.extend(part.lora.iter().flat_map(Lora::params));
            }
            Part::Table(Shaped { part, .. }) => all.extend(part.trained()),
            Part::Row(Shaped { part, .. }) => all.extend(part.trained()),
        }
    }
}

impl<'a> PartMut<'a> {
    /// As [`Part::linear`].
    pub(crate) fn linear(self) -> Option<(&'a str, &'a mut Linear)> {
        match self {
            PartMut::Linear(Named { name, part }) => Some((name, part)),
            _ => None,
        }
    }

    /// As [`Part::params`].
    pub(crate) fn params(self, all: &mut Vec<&'a mut Param>) {
        match self {
            PartMut::Norm(Named { part: Norm { weight, bias, .. }, .. }) => {
                all.extend([weight, bias].into_iter().flatten().filter_map(Values::trained_mut));
            }
            PartMut::Linear(Named { part, .. })
            | PartMut::Unpaired(Named { part, .. })
            | PartMut::Projection(Shaped { part, .. }) => {
                let Linear { weight, bias, lora } = part;
                all.extend(weight.trained_mut());
                all.extend(bias.as_mut().and_then(Values::trained_mut));
                all.extend(lora.iter_mut().flat_map(Lora::params_mut));
            }
            PartMut::Table(Shaped { part, .. }) => all.extend(part.trained_mut()),
            PartMut::Row(Shaped { part, .. }) => all.extend(part.trained_mut()),
        }
    }
}
