//! `loract eval`: of text here, of images in `images.rs`.

mod images;

use anyhow::Result;
use loract_autograd::Memory;
use loract_models::{Decoder, ModelSource, VisionSource, adapter};
use loract_train::data::{Dataset, Reader, Split};
use loract_train::{Error, evaluate};

use crate::args::{EvalArgs, data_file, tell_date, use_threads};
use crate::{hub, output};

/// Tokens that run at once.
const BATCH_TOKENS: usize = 2048;

/// Evaluates a data file.
pub fn run(args: &EvalArgs) -> Result<()> {
    use_threads(args.threads)?;
    let model = hub::local(&args.model)?;
    if VisionSource::is_at(&model) {
        return images::run(args, &model);
    }
    let given = [
        ("image-size", args.images.image_size.is_some()),
        ("skip-broken", args.images.skip_broken),
        ("confusion", args.confusion.is_some()),
        ("logits", args.logits.is_some()),
    ];
    refuse(&given, "belongs to image models, and this one is for text; leave it out")?;
    let memory = Memory::new();
    let source = ModelSource::open(&model)?;
    let settings = args.rows.clone().resolve()?;
    let reader = Reader::new(&source, args.seq_len, &settings)?;
    let data = Dataset::read(&data_file(&args.data, &[Split::Test, Split::Valid])?, &reader)?;
    tell_date(&reader, &settings);
    let mut decoder = Decoder::load(&memory, source.config, source.weights)?;
    if let Some(folder) = &args.adapter {
        adapter::load(&memory, &mut decoder, folder)?;
    }
    let found = evaluate(&decoder, &memory, &data, BATCH_TOKENS)?;
    if args.json {
        output::line(&serde_json::to_string(&found)?)?;
        return Ok(());
    }
    output::line(&format!("loss            {:.6}", found.loss))?;
    output::line(&format!("perplexity      {:.4}", found.perplexity))?;
    output::line(&format!("tokens          {}", found.tokens))?;
    output::line(&format!("rows            {}", found.rows))?;
    output::line(&format!("token accuracy  {:.4}", found.token_accuracy))?;
    output::line(&format!("exact match     {:.4}", found.exact_match))?;
    if let Some(accuracy) = found.accuracy {
        output::line(&format!("accuracy        {accuracy:.4}"))?;
    }
    Ok(())
}

/// Refuses the first of the flags that is given.
fn refuse(flags: &[(&'static str, bool)], what: &str) -> Result<(), Error> {
    match flags.iter().find(|(_, given)| *given) {
        Some(&(key, _)) => Err(Error::Setting { key, what: what.to_owned() }),
        None => Ok(()),
    }
}
