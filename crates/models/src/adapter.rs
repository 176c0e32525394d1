//! PEFT adapters: `adapter_config.json` and `adapter_model.safetensors`, as the Python package writes and reads them.
//!
//! lora_A, lora_B, DoRA's magnitudes and modules trained as a whole are stored, f32. Reading is strict: a key too many or
//! too few, a shape of another model, or a setting that would change the result (a rank pattern, say) is refused by name.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use loract_autograd::{Memory, Tensor};
use serde_json::{Value, json};

use crate::attach::{
    FactorA, LoraConfig, Magnitude, Scaling, attach_with, names, peft_magnitude, peft_names, peft_tensor,
};
use crate::error::Error;
use crate::files::{Content, ToWrite};
use crate::model::Model;
use crate::trained;
use crate::weights::Weights;
use crate::weights::safetensors::from_bytes;
use crate::weights::store::{Numbers, StoredAs, ToStore};

/// File name of the numbers.
pub const WEIGHTS_FILE: &str = "adapter_model.safetensors";
/// File name of the settings.
pub const CONFIG_FILE: &str = "adapter_config.json";

/// Both files of an adapter: settings, numbers.
pub fn files<'a, M: Model>(model: &'a M, config: &LoraConfig, base: &str) -> [ToWrite<'a>; 2] {
    let modules = (!config.modules_to_save.is_empty()).then_some(&config.modules_to_save);
    // Without it PEFT would look for pairs of theirs.
    let mut excluded = idle_layers(model);
    excluded.retain(|layer| config.targets.iter().any(|target| names(target, layer)));
    let excluded = (!excluded.is_empty()).then_some(excluded);
    let settings = json!({
        "peft_type": "LORA",
        "task_type": M::TASK,
        "base_model_name_or_path": base,
        "r": config.rank,
        "lora_alpha": config.alpha,
        "lora_dropout": config.dropout,
        "target_modules": config.targets,
        "exclude_modules": excluded,
        "bias": "none",
        "fan_in_fan_out": false,
        "inference_mode": true,
        "init_lora_weights": true,
        "use_rslora": config.scaling == Scaling::RankStabilised,
        "use_dora": config.magnitude == Magnitude::Trained,
        "modules_to_save": modules,
    });
    let factor = |value: &'a Tensor| stored(vec![value.rows(), value.cols()], value);
    let pairs = model.linears().into_iter().filter_map(|(layer, linear)| {
        let lora = linear.lora.as_ref()?;
        let factors = peft_names(&layer).into_iter().zip(lora.factors().map(factor));
        let magnitude = lora.magnitude.as_ref().map(|m| stored(vec![m.value().cols()], m.value()));
        Some(factors.chain(magnitude.map(|m| (peft_magnitude(&layer), m))).collect::<Vec<_>>())
    });
    let whole = model.tensors().into_iter().filter(|(_, tensor)| tensor.trained().is_some());
    let whole = whole.map(|(name, tensor)| (peft_tensor(&name), ToStore::of_model(tensor, StoredAs::F32)));
    let numbers = pairs.flatten().chain(whole).collect();
    [
        ToWrite { name: CONFIG_FILE.into(), content: Content::Bytes(format!("{settings:#}\n").into_bytes()) },
        ToWrite { name: WEIGHTS_FILE.into(), content: Content::Tensors(numbers) },
    ]
}

fn stored(shape: Vec<usize>, value: &Tensor) -> ToStore<'_> {
    ToStore { shape, numbers: Numbers::Tensor(value), stored: StoredAs::F32 }
}

/// Refuses an adapter of which PEFT left out a layer that `is_target` of ours; that none of our layers is meant is usual.
fn refuse_excluded<M: Model>(model: &M, folder: &Path, is_target: impl Fn(&String) -> bool) -> Result<(), Error> {
    let (path, config) = read_json(folder)?;
    let excluded = config["exclude_modules"].as_array().into_iter().flatten().filter_map(Value::as_str);
    // PEFT takes whole names and ends of names here. A single text is a regular expression: a layer of ours that it leaves
    // out is one whose pair is missing.
    let layers: Vec<String> = model.linears().into_iter().map(|(layer, _)| layer).filter(is_target).collect();
    for end in excluded {
        if let Some(layer) = layers.iter().find(|layer| names(end, layer)) {
            let what = format!(
                "exclude_modules holds \"{end}\", which target_modules names too ({layer}); not supported: name in target_modules what has a pair, no more"
            );
            return Err(Error::Adapter { path, what });
        }
    }
    Ok(())
}

/// The settings file and what is in it.
fn read_json(folder: &Path) -> Result<(PathBuf, Value), Error> {
    let path = folder.join(CONFIG_FILE);
    let text = fs::read_to_string(&path).map_err(|reason| Error::Read { path: path.clone(), reason })?;
    let config = serde_json::from_str(&text).map_err(|reason| Error::Json { path: path.clone(), reason })?;
    Ok((path, config))
}

/// Reads the settings of the adapter in `folder`.
///
/// # Errors
/// [`Error::Read`], [`Error::Json`], [`Error::Adapter`] if a setting is missing or not supported.
pub fn read_config(folder: &Path) -> Result<LoraConfig, Error> {
    let (path, config) = read_json(folder)?;
    let wrong = |what: String| Error::Adapter { path: path.clone(), what };
    if config["peft_type"] != "LORA" {
        return Err(wrong(format!("peft_type is {}, expected \"LORA\"", config["peft_type"])));
    }
    for (key, neutral) in [
        ("fan_in_fan_out", json!(false)),
        ("bias", json!("none")),
        ("rank_pattern", json!({})),
        ("alpha_pattern", json!({})),
        ("layers_to_transform", json!([])),
        ("layer_replication", json!([])),
        ("target_parameters", json!([])),
        ("lora_bias", json!(false)),
    ] {
        let value = &config[key];
        if !value.is_null() && *value != neutral {
            return Err(wrong(format!("{key} is {value}, which is not supported; only {neutral} is")));
        }
    }
    let rank = config["r"].as_u64().filter(|&r| r > 0 && r <= u64::from(u32::MAX));
    let rank = rank.ok_or_else(|| wrong(format!("r is {}, expected a positive number", config["r"])))? as usize;
    let alpha = config["lora_alpha"].as_f64();
    let alpha = alpha.ok_or_else(|| wrong(format!("lora_alpha is {}, expected a number", config["lora_alpha"])))?;
    let scaling = if config["use_rslora"] == true { Scaling::RankStabilised } else { Scaling::Plain };
    let names = |key: &str| {
        let list = config[key].as_array()?;
        let mut names: Vec<_> = list.iter().map(|name| name.as_str().map(str::to_owned)).collect::<Option<_>>()?;
        names.sort();
        names.dedup();
        Some(names)
    };
    let targets = names("target_modules").filter(|targets| !targets.is_empty()).ok_or_else(|| {
        wrong(format!("target_modules is {}, expected a list of layer names", config["target_modules"]))
    })?;
    let modules = &config["modules_to_save"];
    let modules_to_save = if modules.is_null() { Some(Vec::new()) } else { names("modules_to_save") };
    let modules_to_save = modules_to_save
        .ok_or_else(|| wrong(format!("modules_to_save is {modules}, expected a list of module names")))?;
    Ok(LoraConfig {
        rank,
        alpha: alpha as f32,
        scaling,
        a: FactorA::Trained,
        magnitude: if config["use_dora"] == true { Magnitude::Trained } else { Magnitude::AsIs },
        dropout: config["lora_dropout"].as_f64().unwrap_or(0.0) as f32,
        targets,
        modules_to_save,
    })
}

/// Targets that name layers of `model` by their modules: one that names layers as files do, which were those of modules in
/// Transformers 4, becomes their modules; one that names a module that is trained as a whole, or one that takes no part, is left out
/// (PEFT's `all-linear` names them too).
fn module_targets<M: Model>(model: &M, config: &LoraConfig) -> Vec<String> {
    let layers: Vec<String> = model.linears().into_iter().map(|(layer, _)| layer).collect();
    let others: Vec<String> = config.modules_to_save.iter().cloned().chain(idle_layers(model)).collect();
    let mut targets: Vec<String> = Vec::new();
    for target in &config.targets {
        let older: Vec<String> =
            layers.iter().filter(|layer| names(target, &model.published(layer))).cloned().collect();
        if layers.iter().any(|layer| names(target, layer)) {
            targets.push(target.clone());
        } else if !older.is_empty() {
            targets.extend(older);
        } else if !others.iter().any(|module| names(target, module)) {
            // Refused where it is looked for.
            targets.push(target.clone());
        }
    }
    targets.sort();
    targets.dedup();
    targets
}

/// Modules with weights that take no part in `model`: PEFT may take them for layers.
fn idle_layers<M: Model>(model: &M) -> Vec<String> {
    let carried = model.carried().into_iter();
    carried.filter_map(|(name, _)| name.strip_suffix(".weight").map(str::to_owned)).collect()
}

/// The numbers of an adapter under the names of modules, without pairs of layers that take no part in `model`.
fn in_modules<M: Model>(model: &M, weights: Weights) -> Result<Weights, Error> {
    let mut modules = BTreeMap::new();
    for (layer, _) in model.linears() {
        let published = model.published(&layer);
        if published != layer {
            modules.extend(peft_names(&published).into_iter().zip(peft_names(&layer)));
            modules.insert(peft_magnitude(&published), peft_magnitude(&layer));
        }
    }
    for (name, _) in model.tensors() {
        modules.insert(peft_tensor(&model.published(&name)), peft_tensor(&name));
    }
    let idle = idle_layers(model);
    let idle: BTreeSet<String> =
        idle.iter().flat_map(|layer| peft_names(layer).into_iter().chain([peft_magnitude(layer)])).collect();
    weights.renamed(|name, stored| match (idle.contains(&name), modules.get(&name)) {
        (true, _) => Vec::new(),
        (false, Some(module)) => vec![(module.clone(), stored)],
        (false, None) => vec![(name, stored)],
    })
}

/// Attaches the adapter in `folder` to `model`, which after an error is not to be used; returns its settings.
///
/// # Errors
/// Those of [`read_config`]; [`Error::Weights`] with every key that is missing, of another shape, or unknown, which is
/// what an adapter of another model gives.
pub fn load<M: Model>(memory: &Memory, model: &mut M, folder: &Path) -> Result<LoraConfig, Error> {
    let mut config = read_config(folder)?;
    // PEFT takes every module whose name ends so, whether or not a part of it begins there.
    let modules: Vec<String> = config.modules_to_save.iter().map(|end| format!("*{end}")).collect();
    config.modules_to_save = model.resolve_modules(&modules).map_err(|error| match error {
        Error::NoSuchModule { module, known } => Error::NoSuchModule { module: module.replacen('*', "", 1), known },
        other => other,
    })?;
    model.train_modules(memory, &config.modules_to_save)?;
    config.targets = module_targets(model, &config);
    let is_target = |layer: &String| config.targets.iter().any(|target| names(target, layer));
    refuse_excluded(model, folder, is_target)?;
    let path = folder.join(WEIGHTS_FILE);
    let bytes = fs::read(&path).map_err(|reason| Error::Read { path: path.clone(), reason })?;
    let mut weights = in_modules(model, from_bytes(&path, bytes)?)?;
    let mut found: BTreeMap<String, Vec<f32>> = BTreeMap::new();
    let (mut missing, mut wrong) = (Vec::new(), Vec::new());
    let mut note = |name: String, taken: Result<Vec<f32>, Error>| match taken {
        Ok(numbers) => {
            found.insert(name, numbers);
            Ok(())
        }
        Err(Error::WrongShape { stored, expected, .. }) => {
            wrong.push(format!("{name}: stored {stored}, expected {expected}"));
            Ok(())
        }
        Err(Error::MissingTensor { .. }) => {
            missing.push(name);
            Ok(())
        }
        Err(other) => Err(other),
    };
    let memory_apart = Memory::new();
    for (layer, linear) in model.linears().into_iter().filter(|(layer, _)| is_target(layer)) {
        let (inputs, outputs) = (linear.weight.cols(), linear.weight.rows());
        for (name, (rows, cols)) in peft_names(&layer).into_iter().zip([(config.rank, inputs), (outputs, config.rank)])
        {
            let taken = weights.take_matrix(&memory_apart, &name, rows, cols).map(|frozen| frozen.to_f32());
            note(name, taken)?;
        }
        if config.magnitude == Magnitude::Trained {
            let name = peft_magnitude(&layer);
            let taken = weights.take_vector(&name, &[outputs]);
            note(name, taken)?;
        }
    }
    for (name, tensor) in model.tensors().into_iter().filter(|(_, tensor)| tensor.trained().is_some()) {
        let name = peft_tensor(&name);
        let taken = weights.take_numbers(&name, tensor);
        note(name, taken)?;
    }
    let unknown = weights.remaining();
    if !missing.is_empty() || !wrong.is_empty() || !unknown.is_empty() {
        return Err(Error::Weights { path, missing, wrong, unknown });
    }
    let mut of = |name: &str| {
        found.remove(name).ok_or_else(|| Error::MissingTensor { path: path.clone(), tensor: name.to_owned() })
    };
    trained::fill(model, |name, _| of(&peft_tensor(name)))?;
    attach_with(model, memory, &config, |_, name, _, _| of(name))
}
