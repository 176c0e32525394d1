//! A LoRA adapter, as llama.cpp's `--lora` takes it.
//!
//! It says α and the pairs and nothing else: `blk.N.attn_q.weight.lora_a` (r×in) and `.lora_b` (out×r, its rows in the order of
//! the weight's). llama.cpp scales by α/r, so α of a rank-stabilised adapter is written as α·√r.

use std::path::Path;

use loract_autograd::Memory;

use super::about::QUANTISATION;
use super::architecture::Architecture;
use super::model::row_order;
use crate::adapter::CONFIG_FILE;
use crate::attach::{FactorA, LoraConfig, Magnitude, Scaling, attach_with, peft_names};
use crate::decoder::Decoder;
use crate::error::Error;
use crate::weights::RowOrder;
use crate::weights::gguf::write::{Entries, Entry, GgufFile, GgufTensor, GgufType};
use crate::weights::gguf::{Gguf, GgufError};
use crate::weights::store::Numbers;

const ALPHA: &str = "adapter.lora.alpha";
const OTHERWISE: &str =
    "which llama.cpp's adapters cannot say; export the merged model instead, without --adapter-only";

/// The pairs of `decoder`, which have the settings `config` read from the adapter in `folder`, in one file.
///
/// # Errors
/// [`Error::Adapter`] if the adapter has what such a file cannot say.
pub fn adapter_file<'a>(
    decoder: &'a Decoder,
    config: &LoraConfig,
    folder: &Path,
    stored: GgufType,
) -> Result<GgufFile<'a>, Error> {
    let refused = |what| Error::Adapter { path: folder.join(CONFIG_FILE), what };
    sayable(config).map_err(refused)?;
    let architecture = Architecture::of_model(decoder.config()).map_err(|reason| refused(reason.to_string()))?;
    let mut entries = Entries::default();
    entries.set("general.architecture", Entry::Text(architecture.name.to_owned()));
    entries.set("general.type", Entry::Text("adapter".to_owned()));
    entries.set("adapter.type", Entry::Text("lora".to_owned()));
    entries.set(ALPHA, Entry::F32(config.scale() * config.rank as f32));
    entries.set("general.quantization_version", Entry::U32(QUANTISATION));
    let mut tensors = Vec::new();
    for (layer, linear) in decoder.linears() {
        let Some(lora) = &linear.lora else { continue };
        let weight = weight_name(architecture, &layer);
        let weight = weight.ok_or_else(|| refused(format!("it has pairs of experts ({layer}), {OTHERWISE}")))?;
        let orders = [RowOrder::AsIs, row_order(architecture, &weight, decoder.config())];
        for ((end, factor), order) in ["lora_a", "lora_b"].into_iter().zip(lora.factors()).zip(orders) {
            let shape = vec![factor.rows(), factor.cols()];
            tensors.push(GgufTensor {
                name: format!("{weight}.{end}"),
                stored: stored.of_shape(&shape),
                shape,
                numbers: vec![Numbers::Tensor(factor)],
                order,
                plus: 0.0,
            });
        }
    }
    Ok(GgufFile { entries, tensors })
}

/// llama.cpp's name of the weight of a linear layer; `None` if it is of an expert, whose matrices are one tensor.
fn weight_name(architecture: &Architecture, layer: &str) -> Option<String> {
    let weight = format!("{layer}.weight");
    match architecture.llama_cpp(&weight) {
        Some((_, Some(_))) => None,
        Some((name, None)) => Some(name),
        None => Some(weight),
    }
}

/// An error says which setting is not.
fn sayable(config: &LoraConfig) -> Result<(), String> {
    if config.magnitude == Magnitude::Trained {
        return Err(format!("use_dora is true, {OTHERWISE}"));
    }
    if !config.modules_to_save.is_empty() {
        return Err(format!("modules_to_save is {}, {OTHERWISE}", config.modules_to_save.join(", ")));
    }
    // It takes an α of 0 for "no scale", which is 1.
    if config.alpha == 0.0 {
        return Err(format!("lora_alpha is 0, {OTHERWISE}"));
    }
    Ok(())
}

/// Attaches the adapter in a file that [`adapter_file`] made to `decoder`.
///
/// # Errors
/// [`Error::Config`] if the family is not written as GGUF; [`Error::Gguf`] if it is damaged or no adapter; [`Error::Weights`] with every tensor that is not of this model;
/// [`Error::MissingTensor`] if a pair has one factor only; [`Error::WrongShape`].
pub fn load_adapter(memory: &Memory, decoder: &mut Decoder, path: &Path) -> Result<LoraConfig, Error> {
    let architecture = Architecture::of_model(decoder.config());
    let architecture = architecture.map_err(|reason| Error::Config { path: path.to_path_buf(), reason })?;
    let gguf = Gguf::open(path)?;
    let damaged = |reason| Error::Gguf { path: path.to_path_buf(), reason };
    let missing = || damaged(GgufError::MissingKey { key: ALPHA.to_owned() });
    let alpha = gguf.metadata().float(ALPHA).map_err(damaged)?.ok_or_else(missing)?;
    let factor_a = |layer: &String| gguf.shape(&format!("{}.lora_a", weight_name(architecture, layer)?));
    let paired = |layer: &String| factor_a(layer).is_some();
    let targets: Vec<String> = decoder.linears().map(|(layer, _)| layer).filter(paired).collect();
    let first = targets.first().and_then(factor_a);
    let config = LoraConfig {
        rank: first.and_then(|shape| shape.first().copied()).unwrap_or(0),
        alpha: alpha as f32,
        scaling: Scaling::Plain,
        a: FactorA::Trained,
        magnitude: Magnitude::AsIs,
        dropout: 0.0,
        targets,
        modules_to_save: Vec::new(),
    };
    let mut weights = gguf.weights()?;
    let shape_of = decoder.config().clone();
    let layers: Vec<String> = decoder.linears().map(|(layer, _)| layer).collect();
    let config = attach_with(decoder, memory, &config, |tag, name, rows, cols| {
        let layer = &layers[tag as usize];
        let weight = weight_name(architecture, layer).unwrap_or_else(|| layer.clone());
        let (end, order) = match *name == peft_names(layer)[0] {
            true => ("lora_a", RowOrder::AsIs),
            false => ("lora_b", row_order(architecture, &weight, &shape_of)),
        };
        let taken = weights.take_matrix(&Memory::new(), &format!("{weight}.{end}"), rows, cols)?;
        Ok(order.to_hugging_face(rows, taken.to_f32()))
    })?;
    let unknown = weights.remaining();
    match unknown.is_empty() {
        true => Ok(config),
        false => Err(Error::Weights { path: path.to_path_buf(), missing: Vec::new(), wrong: Vec::new(), unknown }),
    }
}
