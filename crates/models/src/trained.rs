//! Weights that are trained as a whole: all of a model's, or those of some modules.

use std::collections::BTreeMap;

use loract_autograd::Memory;

use crate::attach::{last_parts, names};
use crate::error::Error;
use crate::model::Model;
use crate::tensor_ref::TensorRef;
use crate::weights::Weights;

/// See [`Model::train_modules`].
pub(crate) fn train_modules<M: Model>(model: &mut M, memory: &Memory, modules: &[String]) -> Result<(), Error> {
    resolve_modules(model, modules)?;
    model.before_training(memory, modules)?;
    let of_modules = |name: &str| module_of(name).is_some_and(|module| modules.iter().any(|m| m == module));
    for (name, tensor) in model.tensors_mut().into_iter().filter(|(name, _)| of_modules(name)) {
        tensor.train(memory, name);
    }
    Ok(())
}

/// See [`Model::resolve_modules`].
pub(crate) fn resolve_modules<M: Model>(model: &M, targets: &[String]) -> Result<Vec<String>, Error> {
    let mut modules: Vec<String> =
        model.tensors().iter().filter_map(|(name, _)| module_of(name).map(str::to_owned)).collect();
    modules.dedup();
    // One that is tied has no tensors of its own.
    if !modules.iter().any(|module| module == model.head()) {
        modules.push(model.head().to_owned());
    }
    let mut found = Vec::new();
    for target in targets {
        let before = found.len();
        found.extend(modules.iter().filter(|module| names(target, module)).cloned());
        if found.len() == before {
            return Err(Error::NoSuchModule { module: target.clone(), known: last_parts(&modules).join(", ") });
        }
    }
    found.sort();
    found.dedup();
    Ok(found)
}

/// See [`Model::take_trained`].
pub(crate) fn take<M: Model>(model: &mut M, weights: &mut Weights) -> Result<(), Error> {
    let named =
        |(name, tensor): (String, TensorRef<'_>)| tensor.trained().map(|_| (name.clone(), model.published(&name)));
    let published: BTreeMap<String, String> = model.tensors().into_iter().filter_map(named).collect();
    fill(model, |name, tensor| weights.take_numbers(published.get(name).map_or(name, String::as_str), tensor))
}

/// Every trained base tensor takes the numbers that `numbers` gives for its name.
pub(crate) fn fill<M: Model>(
    model: &mut M,
    mut numbers: impl FnMut(&str, TensorRef<'_>) -> Result<Vec<f32>, Error>,
) -> Result<(), Error> {
    for (name, tensor) in model.tensors_mut() {
        if tensor.as_ref().trained().is_some() {
            let given = numbers(&name, tensor.as_ref())?;
            tensor.fill(&given);
        }
    }
    Ok(())
}

/// The module that a tensor belongs to.
fn module_of(tensor: &str) -> Option<&str> {
    tensor.strip_suffix(".weight").or_else(|| tensor.strip_suffix(".bias"))
}
