//! `loract eval`.

use anyhow::Result;
use loract_autograd::Memory;
use loract_models::{Decoder, ModelSource, adapter};
use loract_train::data::{Dataset, Reader, Split};
use loract_train::evaluate;

use crate::args::{EvalArgs, data_file, tell_date, use_threads};
use crate::{hub, output};

/// Tokens that run at once.
const BATCH_TOKENS: usize = 2048;

/// Evaluates a data file.
pub fn run(args: &EvalArgs) -> Result<()> {
    use_threads(args.threads)?;
    let memory = Memory::new();
    let source = ModelSource::open(&hub::local(&args.model)?)?;
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
