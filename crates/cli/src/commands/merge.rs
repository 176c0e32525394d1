//! `loract merge`: a model and its adapter become one model, which is read again and compared before it is called done.

use std::path::Path;

use anyhow::{Context, Result};
use loract_autograd::{DType, Memory};
use loract_models::weights::store::StoredAs;
use loract_models::{Companions, Decoder, Model, ModelSource, VisionSource, Weights, adapter};
use loract_train::{Error, Named, open_classifier, parse_name, write_whole, write_whole_by};

use super::compared::{Difference, some_images, some_tokens};
use super::folder::Folder;
use crate::args::{MergeArgs, read_bytes, use_threads};
use crate::hub;
use crate::output::{self, bytes};

/// A type of stored numbers by its word.
#[derive(Debug, Clone, Copy)]
struct Stored(StoredAs);

impl Named for Stored {
    const NAMES: &'static [(&'static str, Self)] =
        &[("f32", Stored(StoredAs::F32)), ("bf16", Stored(StoredAs::Bf16)), ("f16", Stored(StoredAs::F16))];
}

/// Merges, compares, and says what came out.
pub fn run(args: &MergeArgs) -> Result<()> {
    use_threads(args.threads)?;
    let given = args.dtype.as_deref().map(parse_name::<Stored>).transpose();
    let given = given.map_err(|what| Error::Setting { key: "dtype", what })?;
    let most_bytes = read_bytes("shard-size", &args.shard_size)?;
    refuse_full(args)?;
    let memory = Memory::new();
    let model = hub::local(&args.model)?;
    let how = How { args, given: given.map(|Stored(stored)| stored), most_bytes };
    match VisionSource::is_at(&model) {
        true => classifier(&memory, &model, &how),
        false => decoder(&memory, &model, &how),
    }
}

/// What is asked for.
struct How<'a> {
    args: &'a MergeArgs,
    given: Option<StoredAs>,
    most_bytes: usize,
}

fn decoder(memory: &Memory, model: &Path, how: &How<'_>) -> Result<()> {
    let source = ModelSource::open(model)?;
    let stored = how.given.unwrap_or_else(|| as_stored(&source.weights, "model.embed_tokens.weight"));
    let companions = Companions::of(&source)?;
    let mut decoder = Decoder::load(memory, source.config, source.weights)?;
    adapter::load(memory, &mut decoder, &how.args.adapter)?;
    let batch = some_tokens(decoder.config());
    let before = decoder.logits(memory, &batch)?;
    let written = write(&decoder, &companions, stored, how)?;
    drop(decoder);

    let merged = ModelSource::open(&how.args.out)?;
    let merged = Decoder::load(memory, merged.config, merged.weights)?;
    let after = merged.logits(memory, &batch)?;
    tell(how, stored, written, &Difference::between(&before, &after))
}

fn classifier(memory: &Memory, model: &Path, how: &How<'_>) -> Result<()> {
    let source = VisionSource::open(model)?.as_adapted(Some(&how.args.adapter))?;
    let first = source.weights.remaining().into_iter().next().unwrap_or_default();
    let stored = how.given.unwrap_or_else(|| as_stored(&source.weights, &first));
    let companions = Companions::of_images(&source)?;
    let (classifier, _) = open_classifier(memory, source, Some(&how.args.adapter))?;
    let batch = some_images(classifier.config())?;
    let before = classifier.logits(memory, &batch)?;
    let written = write(&classifier, &companions, stored, how)?;
    drop(classifier);

    let (merged, _) = open_classifier(memory, VisionSource::open(&how.args.out)?, None)?;
    let after = merged.logits(memory, &batch)?;
    tell(how, stored, written, &Difference::between(&before, &after).of_images())
}

/// Writes the model; how many bytes of weights.
fn write<M: Model>(model: &M, companions: &Companions, stored: StoredAs, how: &How<'_>) -> Result<usize> {
    let folder = Folder::make(Some(&how.args.out))?.context("a folder")?;
    let mut files = model.to_files(stored, how.most_bytes);
    let written = files.iter().map(loract_models::ToWrite::size_bytes).sum();
    // The configuration last: a folder without it is no model yet.
    files.extend(companions.files(model, stored).into_iter().rev());
    for file in &files {
        write_whole_by(&folder.path(&file.name), |path| file.write(path))?;
    }
    Ok(written)
}

/// Says what came out, and writes the card.
fn tell(how: &How<'_>, stored: StoredAs, written: usize, difference: &Difference) -> Result<()> {
    let out = how.args.out.display();
    output::line(&format!("merged into {out}: {} as {}", bytes(written), stored.torch_name()))?;
    output::line(&format!("its logits against those of model and adapter, {difference}"))?;
    if !difference.relative.is_finite() {
        let stored = stored.torch_name();
        let what = format!("{out} has numbers beyond the range of {stored}; remove it and take --dtype bf16 or f32");
        return Err(Error::Setting { key: "dtype", what }.into());
    }
    write_whole(&how.args.out.join("README.md"), card(how.args, stored, difference).as_bytes())?;
    Ok(())
}

/// The model card, as the Hugging Face hub shows it.
fn card(args: &MergeArgs, stored: StoredAs, difference: &Difference) -> String {
    let (model, adapter) = (args.model.display().to_string(), args.adapter.display());
    let name = args.out.file_name().map_or_else(|| "Model".into(), |name| name.to_string_lossy());
    format!(
        "---\nbase_model: {}\nlibrary_name: transformers\ntags:\n- loract\n---\n\n# {name}\n\n`{model}` with the adapter `{adapter}` \
         added to its weights, stored as {}, by loract {}.\n\nIts logits against those of model and adapter, {difference}.\n",
        serde_json::json!(model),
        stored.torch_name(),
        env!("CARGO_PKG_VERSION"),
    )
}

/// A folder with something in it is not written to.
fn refuse_full(args: &MergeArgs) -> Result<(), Error> {
    Folder::check(Some(&args.out))?;
    let full = args.out.read_dir().is_ok_and(|mut entries| entries.next().is_some());
    if full {
        let what = format!("{} is not empty; give a folder that is, or a name that is free", args.out.display());
        return Err(Error::Setting { key: "out", what });
    }
    Ok(())
}

/// The type that the model's own numbers have, as those of the tensor `name` tell, if it is one.
fn as_stored(weights: &Weights, name: &str) -> StoredAs {
    match weights.get(name).map(|stored| stored.dtype) {
        Some(DType::F32) => StoredAs::F32,
        Some(DType::F16) => StoredAs::F16,
        _ => StoredAs::Bf16,
    }
}
