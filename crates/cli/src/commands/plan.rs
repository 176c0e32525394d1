//! `loract plan`: what a step of each preset would take, side by side, and what fits into a limit.

use anyhow::Result;
use loract_autograd::Policy;
use loract_models::ModelSource;
use loract_train::{Activations, Baseline, Plan, Planner, RunConfig};
use serde_json::{Value, json};

use crate::args::{PlanArgs, use_threads};
use crate::hub;
use crate::output::{self, bytes};

/// One way to keep activations.
struct Contestant {
    name: String,
    policy: Policy,
}

/// Tokens a row where --seq-len names none.
const TOKENS: usize = 512;

/// Rows a batch that are looked for at most.
const MOST_ROWS: usize = 1024;

/// Plans, and prints a table or an object.
pub fn run(args: PlanArgs) -> Result<()> {
    let mut train = args.train.with_file()?;
    let own = train.activations.is_some() || train.names_forms();
    // Nothing is read or written there.
    train.data.get_or_insert_with(Default::default);
    train.out.get_or_insert_with(Default::default);
    let threads = use_threads(train.threads)?;
    let mut config = train.resolve(threads)?;
    config.model = hub::local(&config.model)?;
    let limit = config.memory_limit;
    let before = Baseline::before_weights();
    let source = ModelSource::open(&config.model)?;
    config.check_ranks(&source.config)?;
    let name = source.name.clone();
    let mut planner = Planner::new(source, &config.tuning(), config.adapter.as_deref())?;
    let baseline = before.and_then(|before| before.bytes(planner.memory())).unwrap_or(0);
    let tokens = config.seq_len.unwrap_or_else(|| TOKENS.min(planner.context()));
    let estimate = |plan: &Plan| plan.process_bytes(baseline, threads);

    let mut rows = Vec::new();
    for contestant in contestants(&config, own) {
        let policy = &contestant.policy;
        let plan = planner.plan_rows(policy, config.batch_size, tokens)?;
        let fits = match limit {
            None => None,
            Some(limit) => {
                let context = planner.context();
                let mut fit = |batch, tokens| Ok(estimate(&planner.plan_rows(policy, batch, tokens)?) <= limit);
                let batch = largest(1, MOST_ROWS, |batch| fit(batch, tokens))?;
                let longest = largest(2, context, |tokens| fit(config.batch_size, tokens))?;
                Some((batch, if longest < 2 { 0 } else { longest }))
            }
        };
        rows.push((contestant.name, plan, fits));
    }
    if args.json {
        let presets: Vec<Value> =
            rows.iter().map(|(name, plan, fits)| as_json(name, plan, estimate(plan), *fits)).collect();
        output::line(&serde_json::to_string(&json!({
            "model": name, "batch_size": config.batch_size, "seq_len": tokens, "lora_rank": config.lora_rank,
            "threads": threads, "memory_limit_bytes": limit, "presets": presets,
        }))?)?;
        return Ok(());
    }
    output::line(&format!(
        "{name}: a step of {} rows of {tokens} tokens, LoRA r={}, {threads} threads",
        config.batch_size, config.lora_rank
    ))?;
    let fit_heads = limit.map_or_else(String::new, |_| format!("{:>14}{:>14}", "most rows", "longest row"));
    output::line(&format!(
        "{:<17}{:>10}{:>18}{:>12}{:>14}{fit_heads}",
        "activations", "saved", "peak activations", "trained", "process peak"
    ))?;
    for (name, plan, fits) in &rows {
        let fits = fits.map_or_else(String::new, |(batch, tokens)| format!("{batch:>14}{tokens:>14}"));
        let [saved, peak, trained, process] =
            [plan.memory.saved_bytes, plan.memory.peak.activation_bytes, plan.trained_bytes(), estimate(plan)]
                .map(bytes);
        output::line(&format!("{name:<17}{saved:>10}{peak:>18}{trained:>12}{process:>14}{fits}"))?;
    }
    if let Some(limit) = limit {
        output::message(&format!(
            "most rows: of {tokens} tokens; longest row: {} rows of it, up to the model's context of {}; within {}",
            config.batch_size,
            planner.context(),
            bytes(limit)
        ));
    }
    output::message("saved and peak activations are the ledger's own; process peak is an estimate on top of them");
    Ok(())
}

fn as_json(name: &str, plan: &Plan, process: usize, fits: Option<(usize, usize)>) -> Value {
    let mut object = json!({
        "activations": name,
        "trained_bytes": plan.trained_bytes(),
        "process_peak_bytes": process,
        "memory": plan.memory.to_json(),
    });
    if let Some((batch, tokens)) = fits {
        object["most_rows"] = batch.into();
        object["longest_row"] = tokens.into();
    }
    object
}

fn contestants(config: &RunConfig, own: bool) -> Vec<Contestant> {
    let mut all: Vec<_> = Activations::ALL
        .into_iter()
        .map(|(name, preset)| Contestant { name: name.to_owned(), policy: preset.policy() })
        .collect();
    if own && all.iter().all(|c| c.policy != config.policy()) {
        all.push(Contestant { name: "as given".into(), policy: config.policy() });
    }
    all
}

/// The largest x in from..=upto that fits, assuming that all below it do; `from` − 1 if none does.
fn largest(from: usize, upto: usize, mut fits: impl FnMut(usize) -> Result<bool>) -> Result<usize> {
    let (mut below, mut above) = (from, upto + 1);
    while below < above {
        let middle = below + (above - below) / 2;
        if fits(middle)? { below = middle + 1 } else { above = middle }
    }
    Ok(below.saturating_sub(1))
}
