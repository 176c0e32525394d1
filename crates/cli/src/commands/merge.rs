//! `loract merge`: a model and its adapter become one model, which is read again and compared before it is called done.

use anyhow::{Context, Result};
use loract_autograd::{DType, Memory};
use loract_models::weights::store::StoredAs;
use loract_models::{Companions, Decoder, Model, ModelSource, Weights, adapter};
use loract_train::{Error, Named, parse_name, write_whole, write_whole_by};

use super::compared::{Difference, some_tokens};
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
    let source = ModelSource::open(&hub::local(&args.model)?)?;
    let stored = given.map_or_else(|| as_stored(&source.weights), |Stored(stored)| stored);
    let companions = Companions::of(&source)?;
    let mut decoder = Decoder::load(&memory, source.config, source.weights)?;
    adapter::load(&memory, &mut decoder, &args.adapter)?;
    let batch = some_tokens(decoder.config());
    let before = decoder.logits(&memory, &batch)?;

    let folder = Folder::make(Some(&args.out))?.context("a folder")?;
    let mut files = decoder.to_files(stored, most_bytes);
    let written: usize = files.iter().map(loract_models::ToWrite::size_bytes).sum();
    // The configuration last: a folder without it is no model yet.
    files.extend(companions.files(&decoder, stored).into_iter().rev());
    for file in &files {
        write_whole_by(&folder.path(&file.name), |path| file.write(path))?;
    }
    drop(files);
    drop(decoder);

    let merged = ModelSource::open(&args.out)?;
    let merged = Decoder::load(&memory, merged.config, merged.weights)?;
    let after = merged.logits(&memory, &batch)?;
    let difference = Difference::between(&before, &after);
    output::line(&format!("merged into {}: {} as {}", args.out.display(), bytes(written), stored.torch_name()))?;
    output::line(&format!("its logits against those of model and adapter, {difference}"))?;
    if !difference.relative.is_finite() {
        let (out, stored) = (args.out.display(), stored.torch_name());
        let what = format!("{out} has numbers beyond the range of {stored}; remove it and take --dtype bf16 or f32");
        return Err(Error::Setting { key: "dtype", what }.into());
    }
    write_whole(&folder.path("README.md"), card(args, stored, &difference).as_bytes())?;
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

/// The type that the model's own numbers have, if it is one.
fn as_stored(weights: &Weights) -> StoredAs {
    match weights.get("model.embed_tokens.weight").map(|stored| stored.dtype) {
        Some(DType::F32) => StoredAs::F32,
        Some(DType::F16) => StoredAs::F16,
        _ => StoredAs::Bf16,
    }
}
