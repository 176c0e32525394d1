//! PEFT adapters: `adapter_config.json` and `adapter_model.safetensors`, as the Python package writes and reads them.
//!
//! Only lora_A, lora_B and DoRA's magnitudes are stored, f32. Reading is strict: a key too many or too few, a shape of
//! another model, or a setting that would change the result (extra modules, say) is refused by name.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use loract_autograd::{Memory, Tensor};
use safetensors::tensor::TensorView;
use serde_json::{Value, json};

use crate::attach::{FactorA, LoraConfig, Magnitude, Scaling, names, peft_magnitude, peft_names};
use crate::decoder::Decoder;
use crate::error::Error;
use crate::weights::safetensors as files;

/// File name of the numbers.
pub const WEIGHTS_FILE: &str = "adapter_model.safetensors";
/// File name of the settings.
pub const CONFIG_FILE: &str = "adapter_config.json";

/// The bytes of both files of an adapter: settings, numbers.
///
/// # Errors
/// [`Error::Write`] if the numbers cannot be serialised.
pub fn to_bytes(decoder: &Decoder, config: &LoraConfig, base: &str) -> Result<[(&'static str, Vec<u8>); 2], Error> {
    let settings = json!({
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": config.rank,
        "lora_alpha": config.alpha,
        "lora_dropout": config.dropout,
        "target_modules": config.targets,
        "bias": "none",
        "fan_in_fan_out": false,
        "inference_mode": true,
        "init_lora_weights": true,
        "use_rslora": config.scaling == Scaling::RankStabilised,
        "use_dora": config.magnitude == Magnitude::Trained,
        "modules_to_save": null,
    });
    let stored: Vec<(String, Vec<usize>, Vec<u8>)> = decoder
        .linears()
        .filter_map(|(layer, linear)| {
            let lora = linear.lora.as_ref()?;
            let shaped = |value: &Tensor| (vec![value.rows(), value.cols()], value.to_vec());
            let factors = peft_names(&layer).into_iter().zip(lora.factors().map(shaped));
            let magnitude = lora.magnitude.as_ref().map(|m| (vec![m.value().cols()], m.value().to_vec()));
            Some(factors.chain(magnitude.map(|m| (peft_magnitude(&layer), m))).collect::<Vec<_>>())
        })
        .flatten()
        .map(|(name, (shape, numbers))| (name, shape, numbers.iter().flat_map(|x| x.to_le_bytes()).collect()))
        .collect();
    let failed = |reason: safetensors::SafeTensorError| Error::Write {
        path: PathBuf::from(WEIGHTS_FILE),
        reason: std::io::Error::other(reason.to_string()),
    };
    let mut views = Vec::with_capacity(stored.len());
    for (name, shape, bytes) in &stored {
        views.push((name, TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes).map_err(failed)?));
    }
    let metadata = Some([("format".to_owned(), "pt".to_owned())].into());
    let numbers = safetensors::serialize(views, metadata).map_err(failed)?;
    Ok([(CONFIG_FILE, format!("{settings:#}\n").into_bytes()), (WEIGHTS_FILE, numbers)])
}

/// Reads the settings of the adapter in `folder`.
///
/// # Errors
/// [`Error::Read`], [`Error::Json`], [`Error::Adapter`] if a setting is missing or not supported.
pub fn read_config(folder: &Path) -> Result<LoraConfig, Error> {
    let path = folder.join(CONFIG_FILE);
    let text = fs::read_to_string(&path).map_err(|reason| Error::Read { path: path.clone(), reason })?;
    let config: Value = serde_json::from_str(&text).map_err(|reason| Error::Json { path: path.clone(), reason })?;
    let wrong = |what: String| Error::Adapter { path: path.clone(), what };
    if config["peft_type"] != "LORA" {
        return Err(wrong(format!("peft_type is {}, expected \"LORA\"", config["peft_type"])));
    }
    for (key, neutral) in [
        ("fan_in_fan_out", json!(false)),
        ("bias", json!("none")),
        ("modules_to_save", json!([])),
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
    let targets = config["target_modules"]
        .as_array()
        .map(|list| list.iter().filter_map(|t| t.as_str().map(str::to_owned)).collect::<Vec<_>>());
    let mut targets = targets.filter(|t| !t.is_empty()).ok_or_else(|| {
        wrong(format!("target_modules is {}, expected a list of layer names", config["target_modules"]))
    })?;
    targets.sort();
    targets.dedup();
    Ok(LoraConfig {
        rank,
        alpha: alpha as f32,
        scaling,
        a: FactorA::Trained,
        magnitude: if config["use_dora"] == true { Magnitude::Trained } else { Magnitude::AsIs },
        dropout: config["lora_dropout"].as_f64().unwrap_or(0.0) as f32,
        targets,
    })
}

/// Attaches the adapter in `folder` to `decoder`; returns its settings.
///
/// # Errors
/// Those of [`read_config`]; [`Error::Weights`] with every key that is missing, of another shape, or unknown, which is
/// what an adapter of another model gives.
pub fn load(memory: &Memory, decoder: &mut Decoder, folder: &Path) -> Result<LoraConfig, Error> {
    let config = read_config(folder)?;
    let path = folder.join(WEIGHTS_FILE);
    let bytes = fs::read(&path).map_err(|reason| Error::Read { path: path.clone(), reason })?;
    let mut weights = files::from_bytes(&path, bytes)?;
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
    for (layer, linear) in decoder.linears().filter(|(layer, _)| config.targets.iter().any(|t| names(t, layer))) {
        let (inputs, outputs) = (linear.weight.cols(), linear.weight.rows());
        for (name, (rows, cols)) in peft_names(&layer).into_iter().zip([(config.rank, inputs), (outputs, config.rank)])
        {
            let taken = weights.take_matrix(&memory_apart, &name, rows, cols).map(|frozen| frozen.to_f32());
            note(name, taken)?;
        }
        if config.magnitude == Magnitude::Trained {
            let name = peft_magnitude(&layer);
            let taken = weights.take_vector(&name, outputs);
            note(name, taken)?;
        }
    }
    let unknown = weights.remaining();
    if !missing.is_empty() || !wrong.is_empty() || !unknown.is_empty() {
        return Err(Error::Weights { path, missing, wrong, unknown });
    }
    decoder.attach_with(memory, &config, |_, name, _, _| {
        found.remove(name).ok_or_else(|| Error::MissingTensor { path: path.clone(), tensor: name.to_owned() })
    })
}
