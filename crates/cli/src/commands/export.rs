//! `loract export`: a model with its adapter, or the adapter alone, as a GGUF file, which is read again and compared before it is
//! called done. One that does not agree is removed.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use loract_autograd::{Memory, Tensor};
use loract_models::llama_cpp::{About, adapter_file, load_adapter, model_file};
use loract_models::weights::gguf::Gguf;
use loract_models::weights::gguf::write::{GgufFile, GgufType};
use loract_models::{Decoder, DecoderConfig, ModelSource, Tokenizer, adapter};
use loract_train::{Error, Named, parse_name, write_whole_by};

use super::compared::{Difference, some_tokens};
use super::kind::refuse_images;
use crate::args::{ExportArgs, use_threads};
use crate::hub;
use crate::output::{self, bytes};

/// A type of stored numbers by its word.
#[derive(Debug, Clone, Copy)]
struct Stored(GgufType);

impl Named for Stored {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("f16", Stored(GgufType::F16)),
        ("bf16", Stored(GgufType::Bf16)),
        ("f32", Stored(GgufType::F32)),
        ("q8_0", Stored(GgufType::Q8_0)),
        ("q4_0", Stored(GgufType::Q4_0)),
    ];
}

/// Writes, compares, and says what came out.
pub fn run(args: &ExportArgs) -> Result<()> {
    use_threads(args.threads)?;
    let stored = stored(args)?;
    check_out(&args.out)?;
    let memory = Memory::new();
    let model_path = hub::local(&args.model)?;
    refuse_images(
        &model_path,
        "GGUF files of llama.cpp hold language models; `loract merge` makes a folder for Transformers",
    )?;
    let source = ModelSource::open(&model_path)?;
    match args.adapter.as_deref().filter(|_| args.adapter_only) {
        Some(adapter) => adapter_alone(&memory, args, source, adapter, stored),
        None => model(&memory, args, source, stored),
    }
}

fn model(memory: &Memory, args: &ExportArgs, source: ModelSource, stored: GgufType) -> Result<()> {
    let about = About::of(&source)?;
    let is_folder = source.weights.path().is_dir();
    let tokenizer = source.tokenizer.filter(|_| is_folder);
    let mut decoder = Decoder::load(memory, source.config, source.weights)?;
    if let Some(adapter) = &args.adapter {
        adapter::load(memory, &mut decoder, adapter)?;
    }
    let batch = some_tokens(decoder.config());
    let before = decoder.logits(memory, &batch)?;
    write(&model_file(&decoder, &about, stored), args)?;
    drop(decoder);
    about.notes().iter().for_each(|note| output::message(&format!("note: {note}")));

    compared(args, stored, &before, || {
        let gguf = Gguf::open(&args.out)?;
        if let Some(tokenizer) = &tokenizer {
            same_tokens(tokenizer, &gguf)?;
        }
        let again = Decoder::load(memory, DecoderConfig::from_gguf(&gguf)?, gguf.weights()?)?;
        Ok(again.logits(memory, &batch)?)
    })
}

fn adapter_alone(
    memory: &Memory,
    args: &ExportArgs,
    source: ModelSource,
    folder: &Path,
    stored: GgufType,
) -> Result<()> {
    let path = source.weights.path().to_path_buf();
    let mut decoder = Decoder::load(memory, source.config, source.weights)?;
    let config = adapter::load(memory, &mut decoder, folder)?;
    let file = adapter_file(&decoder, &config, folder, stored)?;
    let batch = some_tokens(decoder.config());
    let before = decoder.logits(memory, &batch)?;
    write(&file, args)?;
    drop(file);
    drop(decoder);

    compared(args, stored, &before, || {
        let base = ModelSource::open(&path)?;
        let mut again = Decoder::load(memory, base.config, base.weights)?;
        load_adapter(memory, &mut again, &args.out)?;
        Ok(again.logits(memory, &batch)?)
    })
}

fn stored(args: &ExportArgs) -> Result<GgufType, Error> {
    let wrong = |what: String| Error::Setting { key: "dtype", what };
    let stored = args.dtype.as_deref().map(parse_name::<Stored>).transpose().map_err(wrong)?;
    match (args.adapter_only, stored) {
        (true, Some(Stored(GgufType::Q8_0 | GgufType::Q4_0))) => {
            Err(wrong("an adapter alone is small and is not stored in blocks; take f32, f16 or bf16".to_owned()))
        }
        (_, Some(Stored(stored))) => Ok(stored),
        (true, None) => Ok(GgufType::F32),
        (false, None) => Ok(GgufType::F16),
    }
}

/// Nothing is written over, and what is written can be read again.
fn check_out(out: &Path) -> Result<(), Error> {
    let wrong = |what: String| Err(Error::Setting { key: "out", what });
    if out.extension().is_none_or(|extension| !extension.eq_ignore_ascii_case("gguf")) {
        return wrong(format!("the name {} does not end in .gguf; give one that does", out.display()));
    }
    if out.exists() {
        return wrong(format!("{} is there already; give a name that is free", out.display()));
    }
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty());
    match folder.filter(|folder| !folder.is_dir()) {
        Some(folder) => wrong(format!("{} is no folder; make it first, or give another name", folder.display())),
        None => Ok(()),
    }
}

fn write(file: &GgufFile<'_>, args: &ExportArgs) -> Result<(), Error> {
    write_whole_by(&args.out, |path| file.write(path))?;
    Ok(())
}

/// Compares `before` with what the file gives, and says what came out; a file that does not agree is removed.
fn compared(
    args: &ExportArgs,
    stored: GgufType,
    before: &Tensor,
    read_again: impl FnOnce() -> Result<Tensor>,
) -> Result<()> {
    let removed = || fs::remove_file(&args.out).with_context(|| format!("cannot remove {}", args.out.display()));
    let after = match read_again() {
        Ok(after) => after,
        Err(error) => {
            removed()?;
            return Err(error.context("what was written cannot be read as the same model; it was removed"));
        }
    };
    let difference = Difference::between(before, &after);
    let most = most_relative(stored);
    if difference.relative.is_nan() || difference.relative > most {
        removed()?;
        let what = format!(
            "stored as {} the logits are off by {:.1e}, expected {most} at most ({difference}); nothing was kept; take \
             bf16 (for numbers beyond f16) or f32",
            stored.dtype(),
            difference.relative
        );
        return Err(Error::Setting { key: "dtype", what }.into());
    }
    let size = fs::metadata(&args.out).with_context(|| args.out.display().to_string())?.len();
    let what = if args.adapter_only { "adapter" } else { "model" };
    output::line(&format!(
        "{what} exported to {}: {} as {}",
        args.out.display(),
        bytes(size as usize),
        stored.dtype()
    ))?;
    let of = if args.adapter.is_some() { "model and adapter" } else { "the model" };
    Ok(output::line(&format!("its logits against those of {of}, {difference}"))?)
}

/// The relative error of logits beyond which something other than rounding is at work.
fn most_relative(stored: GgufType) -> f64 {
    match stored {
        GgufType::F32 => 1e-4,
        GgufType::F16 => 0.02,
        GgufType::Bf16 | GgufType::Q8_0 => 0.2,
        GgufType::Q4_0 => 0.8,
    }
}

/// Letters, digits, spaces, lines and signs that tokenizers split in different ways.
const TEXT: &str = "The year 2024's 12,345 cats --\n\n  don't  say  Ünïcode 你好, <html>!\r\n\ttab";

/// Whether the tokenizer in the file is `tokenizer`.
fn same_tokens(tokenizer: &Tokenizer, gguf: &Gguf) -> Result<()> {
    let again = Tokenizer::from_gguf(gguf)?.context("the file has no tokenizer")?;
    anyhow::ensure!(again.encode(TEXT)? == tokenizer.encode(TEXT)?, "its tokenizer gives other tokens");
    Ok(())
}
