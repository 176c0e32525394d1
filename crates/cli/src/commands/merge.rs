//! `loract merge`: a model and its adapter become one model, which is read again and compared before it is called done.

use anyhow::{Context, Result};
use loract_autograd::{DType, Memory, Rng, Tensor};
use loract_models::weights::store::StoredAs;
use loract_models::{Companions, Decoder, ModelSource, Row, TokenBatch, Weights, adapter};
use loract_train::{Error, Named, parse_name, write_whole_by};

use super::folder::Folder;
use crate::args::{MergeArgs, read_bytes, use_threads};
use crate::hub;
use crate::output::{self, bytes};

/// Tokens that the comparison runs.
const COMPARED: usize = 64;

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
    let batch = some_tokens(decoder.config().vocab_size, decoder.config().context);
    let before = decoder.logits(&memory, &batch)?;

    let folder = Folder::make(Some(&args.out))?.context("a folder")?;
    let mut files = decoder.to_files(stored, most_bytes);
    let written: usize = files.iter().map(loract_models::ToWrite::size_bytes).sum();
    // The configuration last: a folder without it is no model yet.
    files.extend(companions.files(decoder.config(), stored).into_iter().rev());
    for file in &files {
        write_whole_by(&folder.path(&file.name), |path| file.write(path))?;
    }
    drop(files);
    drop(decoder);

    let merged = ModelSource::open(&args.out)?;
    let merged = Decoder::load(&memory, merged.config, merged.weights)?;
    let after = merged.logits(&memory, &batch)?;
    let Difference { relative, same_token } = compare(&before, &after);
    output::line(&format!("merged into {}: {} as {}", args.out.display(), bytes(written), stored.torch_name()))?;
    output::line(&format!(
        "its logits against those of model and adapter, {} random tokens: relative error {relative:.1e}, the same likeliest \
         token at {same_token}",
        before.rows()
    ))?;
    if !relative.is_finite() {
        let (out, stored) = (args.out.display(), stored.torch_name());
        let what = format!("{out} has numbers beyond the range of {stored}; remove it and take --dtype bf16 or f32");
        return Err(Error::Setting { key: "dtype", what }.into());
    }
    Ok(())
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

fn some_tokens(vocabulary: usize, context: usize) -> TokenBatch {
    let mut rng = Rng::new(&[0x3e9e]);
    let ids =
        (0..COMPARED.min(context)).map(|_| (rng.uniform() * vocabulary as f32) as u32 % vocabulary as u32).collect();
    TokenBatch::new(&[Row::all(ids)])
}

/// How two matrices of logits differ.
struct Difference {
    /// ‖b − a‖/‖a‖.
    relative: f64,
    /// Rows whose largest number is at the same place.
    same_token: usize,
}

fn compare(a: &Tensor, b: &Tensor) -> Difference {
    let (cols, a, b) = (a.cols(), a.to_vec(), b.to_vec());
    let square = |x: f64| x * x;
    let off: f64 = a.iter().zip(&b).map(|(&a, &b)| square(f64::from(b) - f64::from(a))).sum();
    let whole: f64 = a.iter().map(|&a| square(f64::from(a))).sum();
    let largest = |row: &[f32]| (0..row.len()).max_by(|&i, &j| row[i].total_cmp(&row[j]));
    let rows = a.chunks_exact(cols).zip(b.chunks_exact(cols));
    let same_token = rows.filter(|(a, b)| largest(a) == largest(b)).count();
    Difference { relative: (off / whole).sqrt(), same_token }
}
