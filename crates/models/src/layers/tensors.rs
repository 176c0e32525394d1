//! The tensors of layers under their names.

use loract_autograd::Values;
use loract_autograd::ops::{Linear, Norm};

use super::parts::{Named, Part, PartMut, Shaped};
use crate::tensor_ref::{TensorMut, TensorRef};

/// The tensors of a part of a layer whose names begin with `prefix`; `own_heads` tells that norms of heads have a row for each.
pub(crate) fn list<'a>(part: Part<'a>, prefix: &str, own_heads: bool, all: &mut Vec<(String, TensorRef<'a>)>) {
    let (name, weight, bias) = match part {
        Part::Norm(Named { name, part: Norm { width, weight, bias, .. } }) => {
            let heads = |values: &'a Values| match own_heads && name.starts_with("self_attn.") {
                true => TensorRef::Heads(values, *width),
                false => TensorRef::Vector(values),
            };
            (name, weight.as_ref().map(heads), bias.as_ref().map(heads))
        }
        Part::Linear(Named { name, part }) | Part::Unpaired(Named { name, part }) => {
            (name, Some(TensorRef::Matrix(&part.weight)), part.bias.as_ref().map(TensorRef::Vector))
        }
        Part::Projection(Shaped { name, shape, part }) => {
            let weight = TensorRef::ShapedMatrix(&part.weight, shape);
            (name, Some(weight), part.bias.as_ref().map(TensorRef::Vector))
        }
        Part::Table(Shaped { name, shape, part }) => {
            return all.push((format!("{prefix}{name}"), TensorRef::ShapedMatrix(part, shape)));
        }
        Part::Row(Shaped { name, shape, part }) => {
            return all.push((format!("{prefix}{name}"), TensorRef::ShapedVector(part, shape)));
        }
    };
    let name = format!("{prefix}{name}");
    all.extend(weight.map(|weight| (weight_of(&name), weight)));
    all.extend(bias.map(|bias| (bias_of(&name), bias)));
}

/// As [`list`], to change.
pub(crate) fn list_mut<'a>(part: PartMut<'a>, prefix: &str, own_heads: bool, all: &mut Vec<(String, TensorMut<'a>)>) {
    let (name, weight, bias) = match part {
        PartMut::Norm(Named { name, part: Norm { width, weight, bias, .. } }) => {
            let own = own_heads && name.starts_with("self_attn.");
            let heads = |values: &'a mut Values| match own {
                true => TensorMut::Heads(values, *width),
                false => TensorMut::Vector(values),
            };
            (name, weight.as_mut().map(heads), bias.as_mut().map(heads))
        }
        PartMut::Linear(Named { name, part }) | PartMut::Unpaired(Named { name, part }) => {
            let Linear { weight, bias, .. } = part;
            (name, Some(TensorMut::Matrix(weight)), bias.as_mut().map(TensorMut::Vector))
        }
        PartMut::Projection(Shaped { name, shape, part: Linear { weight, bias, .. } }) => {
            (name, Some(TensorMut::ShapedMatrix(weight, shape)), bias.as_mut().map(TensorMut::Vector))
        }
        PartMut::Table(Shaped { name, shape, part }) => {
            return all.push((format!("{prefix}{name}"), TensorMut::ShapedMatrix(part, shape)));
        }
        PartMut::Row(Shaped { name, shape, part }) => {
            return all.push((format!("{prefix}{name}"), TensorMut::ShapedVector(part, shape)));
        }
    };
    let name = format!("{prefix}{name}");
    all.extend(weight.map(|weight| (weight_of(&name), weight)));
    all.extend(bias.map(|bias| (bias_of(&name), bias)));
}

pub(crate) fn weight_of(module: &str) -> String {
    format!("{module}.weight")
}
pub(crate) fn bias_of(module: &str) -> String {
    format!("{module}.bias")
}
