//! `loract plan`: what a step of each preset would take, side by side, and what fits into a limit.

use anyhow::Result;
use loract_autograd::{Memory, Policy, Precision};
use loract_models::{Classifier, ImageBatch, ModelSource, VisionSource};
use loract_train::{Activations, Baseline, Plan, Planner, RunConfig, plan_images};
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
    let typed = config.model.clone();
    config.model = hub::local(&typed)?;
    let before = Baseline::before_weights();
    let mut ground = match VisionSource::is_at(&config.model) {
        true => Ground::of_images(&mut config)?,
        false => Ground::of_text(&config)?,
    };
    let baseline = before.and_then(|before| before.bytes(ground.memory())).unwrap_or(0);
    let process = |ground: &Ground, plan: &Plan, batch| {
        plan.process_bytes(baseline + ground.beside_tensors(&config, batch), threads)
    };
    let context = ground.context();
    let mut rows = Vec::new();
    for contestant in contestants(&config, own) {
        let policy = &contestant.policy;
        let plan = ground.plan(policy, config.batch_size, None)?;
        let fits = match config.memory_limit {
            None => None,
            Some(limit) => {
                let mut fit = |batch, tokens| {
                    let plan = ground.plan(policy, batch, tokens)?;
                    Ok(process(&ground, &plan, batch) <= limit)
                };
                let batch = largest(1, MOST_ROWS, |batch| fit(batch, None))?;
                let longest = match context {
                    None => None,
                    Some(context) => {
                        let longest = largest(2, context, |tokens| fit(config.batch_size, Some(tokens)))?;
                        Some(if longest < 2 { 0 } else { longest })
                    }
                };
                Some(Fits { batch, longest })
            }
        };
        let process = process(&ground, &plan, config.batch_size);
        rows.push(Planned { name: contestant.name, plan, process, fits });
    }
    if args.json {
        output::line(&as_json(&ground, &config, threads, &rows).to_string())?;
        return Ok(());
    }
    tell(&ground, &config, threads, &rows)
}

/// A model, and what its steps are over.
struct Ground {
    name: String,
    kind: Kind,
}

enum Kind {
    /// Rows of so many tokens.
    Text { planner: Box<Planner>, tokens: usize },
    /// Images of the model's size.
    Images { planner: Box<Planner<Classifier>> },
}

/// A row of the table.
struct Planned {
    name: String,
    plan: Plan,
    process: usize,
    fits: Option<Fits>,
}

/// What fits into the limit.
#[derive(Clone, Copy)]
struct Fits {
    /// Rows, or images.
    batch: usize,
    /// Tokens of a row; 0 if none fits.
    longest: Option<usize>,
}

impl Ground {
    fn of_text(config: &RunConfig) -> Result<Self> {
        config.check_for_text()?;
        let source = ModelSource::open(&config.model)?;
        config.check_ranks(&source.config)?;
        let name = source.name.clone();
        let planner = Box::new(Planner::new(source, &config.tuning(), config.adapter.as_deref())?);
        let tokens = config.seq_len.unwrap_or_else(|| TOKENS.min(planner.context()));
        Ok(Self { name, kind: Kind::Text { planner, tokens } })
    }

    fn of_images(config: &mut RunConfig) -> Result<Self> {
        let planner = Box::new(plan_images(config)?);
        Ok(Self { name: config.model.display().to_string(), kind: Kind::Images { planner } })
    }

    fn memory(&self) -> &Memory {
        match &self.kind {
            Kind::Text { planner, .. } => planner.memory(),
            Kind::Images { planner } => planner.memory(),
        }
    }

    /// Bytes that such a step holds in no tensor.
    fn beside_tensors(&self, config: &RunConfig, batch: usize) -> usize {
        match &self.kind {
            Kind::Text { .. } => 0,
            Kind::Images { planner } => config.pixel_bytes(planner.model().config().pixels(), batch),
        }
    }

    /// The longest row that the model takes, of text.
    fn context(&self) -> Option<usize> {
        match &self.kind {
            Kind::Text { planner, .. } => Some(planner.context()),
            Kind::Images { .. } => None,
        }
    }

    /// A step over one micro-batch of `batch` rows, of other than the usual tokens if given, or of `batch` images.
    fn plan(&mut self, policy: &Policy, batch: usize, other: Option<usize>) -> Result<Plan> {
        Ok(match &mut self.kind {
            Kind::Text { planner, tokens } => planner.plan_rows(policy, batch, other.unwrap_or(*tokens))?,
            Kind::Images { planner } => {
                let batch = ImageBatch::planned(planner.model().config(), batch);
                planner.plan(policy, &[batch])?
            }
        })
    }
}

fn tell(ground: &Ground, config: &RunConfig, threads: usize, rows: &[Planned]) -> Result<()> {
    let (batch, of) = (
        config.batch_size,
        match &ground.kind {
            Kind::Text { tokens, .. } => format!("rows of {tokens} tokens"),
            Kind::Images { planner } => format!("images of {} rows", planner.model().config().tokens()),
        },
    );
    let name = &ground.name;
    output::line(&format!("{name}: a step of {batch} {of}, LoRA r={}, {threads} threads", config.lora_rank))?;
    let heads = match (config.memory_limit, &ground.kind) {
        (None, _) => String::new(),
        (Some(_), Kind::Text { .. }) => format!("{:>14}{:>14}", "most rows", "longest row"),
        (Some(_), Kind::Images { .. }) => format!("{:>14}", "most images"),
    };
    output::line(&format!(
        "{:<17}{:>10}{:>18}{:>12}{:>14}{heads}",
        "activations", "saved", "peak activations", "trained", "process peak"
    ))?;
    for Planned { name, plan, process, fits } in rows {
        let fits = fits.map_or_else(String::new, |Fits { batch, longest }| {
            let longest = longest.map_or_else(String::new, |longest| format!("{longest:>14}"));
            format!("{batch:>14}{longest}")
        });
        let [saved, peak, trained, process] =
            [plan.memory.saved_bytes, plan.memory.peak.activation_bytes, plan.trained_bytes(), *process].map(bytes);
        output::line(&format!("{name:<17}{saved:>10}{peak:>18}{trained:>12}{process:>14}{fits}"))?;
    }
    if let (Some(limit), Kind::Text { planner, tokens }) = (config.memory_limit, &ground.kind) {
        output::message(&format!(
            "most rows: of {tokens} tokens; longest row: {batch} rows of it, up to the model's context of {}; within {}",
            planner.context(),
            bytes(limit)
        ));
    }
    output::message("saved and peak activations are the ledger's own; process peak is an estimate on top of them");
    Ok(())
}

fn as_json(ground: &Ground, config: &RunConfig, threads: usize, rows: &[Planned]) -> Value {
    let (key, size, most) = match &ground.kind {
        Kind::Text { tokens, .. } => ("seq_len", *tokens, "most_rows"),
        Kind::Images { planner } => ("image_rows", planner.model().config().tokens(), "most_images"),
    };
    let presets: Vec<Value> = rows.iter().map(|row| row.as_json(most)).collect();
    let mut object = json!({ "model": ground.name, "batch_size": config.batch_size });
    object[key] = size.into();
    object["lora_rank"] = config.lora_rank.into();
    object["threads"] = threads.into();
    object["memory_limit_bytes"] = json!(config.memory_limit);
    object["presets"] = presets.into();
    object
}

impl Planned {
    fn as_json(&self, most: &str) -> Value {
        let mut object = json!({
            "activations": self.name,
            "trained_bytes": self.plan.trained_bytes(),
            "process_peak_bytes": self.process,
            "memory": self.plan.memory.to_json(),
        });
        if let Some(Fits { batch, longest }) = self.fits {
            object[most] = batch.into();
            if let Some(longest) = longest {
                object["longest_row"] = longest.into();
            }
        }
        object
    }
}

fn contestants(config: &RunConfig, own: bool) -> Vec<Contestant> {
    let mut all: Vec<_> = Activations::ALL
        .into_iter()
        .map(|(name, preset)| Contestant { name: name.to_owned(), policy: preset.policy() })
        .collect();
    // The precision of products is nothing that is kept.
    let given = Policy { precision: Precision::F32, ..config.policy() };
    if own && all.iter().all(|c| c.policy != given) {
        all.push(Contestant { name: "as given".into(), policy: given });
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
