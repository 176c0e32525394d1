//! `loract inspect gradients`: the gradients of one micro-batch in a setting against the exact ones, by layer and
//! projection; or of every preset and rank side by side, with what each takes.

use std::path::PathBuf;

use anyhow::Result;
use loract_autograd::{Form, Memory, Policy, Recompute, Rng};
use loract_models::{Batch, Classifier, Decoder, Model, ModelSource, TokenBatch, VisionSource};
use loract_train::audit::{Audit, Reference, propagating_error};
use loract_train::data::{Dataset, Reader};
use loract_train::{
    Activations, Error, FineTuneType, FirstImages, Planner, RunConfig, Schedule, ScheduleKind, Trainer, first_images,
};
use serde_json::{Value, json};

use super::args::GradientsArgs;
use super::heat;
use crate::args::{settle_data, use_threads};
use crate::commands::folder::Folder;
use crate::hub;
use crate::output::{self, bytes};

/// Deviation of B where no adapter is given: at B = 0 every gradient of A would be 0.
const B_DEVIATION: f32 = 0.01;

/// Audits.
pub fn run(args: GradientsArgs) -> Result<()> {
    let mut train = args.train.with_file()?;
    // Nothing is written there.
    train.out.get_or_insert_with(Default::default);
    Folder::check(args.report.as_deref())?;
    let threads = use_threads(train.threads)?;
    let mut config = train.resolve(threads)?;
    let typed = config.model.clone();
    config.model = hub::local(&typed)?;
    settle_data(&typed, &mut config)?;
    let how = How { frontier: args.frontier, report: args.report, json: args.json };
    match VisionSource::is_at(&config.model) {
        true => audit(open_images(&mut config)?, &config, &how),
        false => audit(open_text(&config)?, &config, &how),
    }
}

/// What is asked for.
struct How {
    frontier: bool,
    report: Option<PathBuf>,
    json: bool,
}

/// A model with what is trained of it, and one micro-batch.
struct Opened<M: Model> {
    trainer: Trainer<M>,
    /// Of the same: `exact` may not fit, so that it is planned and not run.
    planner: Planner<M>,
    batch: M::Batch,
}

fn audit<M: Model>(opened: Opened<M>, config: &RunConfig, args: &How) -> Result<()> {
    let Opened { mut trainer, mut planner, batch } = opened;
    let folder = Folder::make(args.report.as_deref())?;
    output::message(&format!("one micro-batch of {} rows, {} tokens", config.batch_size, batch.rows()));
    let batches = [batch];
    let reference = Reference::new(&trainer, &batches)?;
    let exact_saved = planner.plan(&Policy::exact(), &batches)?.memory.saved_bytes;
    let contestants = if args.frontier { frontier()? } else { vec![("as given".to_owned(), config.policy())] };
    let mut found = Vec::new();
    if !args.json {
        output::line(&format!(
            "{:<30}{:>9}{:>9}{:>9}{:>11}{:>10}{:>8}{:>10}{:>9}",
            "activations", "cosine", "error", "norm", "site error", "saved", "share", "peak", "seconds"
        ))?;
    }
    for (name, policy) in contestants {
        let policy = Policy { precision: config.policy().precision, ..policy };
        let begun = std::time::Instant::now();
        trainer.set_policy(policy);
        let gradient = trainer.gradient(&batches)?;
        let audit = reference.audit(&trainer, &gradient);
        let seconds = begun.elapsed().as_secs_f64();
        if !args.json {
            output::line(&line(&name, &audit, exact_saved, seconds))?;
        }
        found.push((name, audit));
    }
    if let (false, Some((_, audit))) = (args.frontier || args.json, found.first()) {
        output::line(&heat::table(audit))?;
    }
    let lines: Vec<Value> = found.iter().map(|(name, audit)| as_json(name, audit, exact_saved)).collect();
    if args.json {
        for line in &lines {
            output::line(&line.to_string())?;
        }
    }
    if let Some(folder) = &folder {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        folder.write("gradients.jsonl", &text)?;
        for (name, audit) in &found {
            let file = format!("cosine-{}.svg", name.replace([' ', ':', '/', '+'], "-"));
            folder.write(&file, &heat::to_svg(&format!("gradient cosine, {name}"), audit)?)?;
        }
        folder.tell("gradients.jsonl and heat maps are");
    }
    Ok(())
}

/// With the first rows of the data.
fn open_text(config: &RunConfig) -> Result<Opened<Decoder>> {
    config.check_for_text()?;
    let memory = Memory::new();
    let source = ModelSource::open(&config.model)?;
    config.check_ranks(&source.config)?;
    let reader = Reader::new(&source, config.seq_len, &config.rows)?;
    let data = Dataset::read(&config.data, &reader)?;
    let rows = data.examples().iter().take(config.batch_size);
    let batch = TokenBatch::new(rows.map(|example| &example.row));
    let mut decoder = Decoder::load(&memory, source.config, source.weights)?;
    config.tuning().begin(&memory, &mut decoder, config.adapter.as_deref(), config.seed)?;
    let planner = Planner::new(ModelSource::open(&config.model)?, &config.tuning(), config.adapter.as_deref())?;
    Ok(Opened { trainer: trainer(decoder, &memory, config), planner, batch })
}

/// With the first pictures of the data.
fn open_images(config: &mut RunConfig) -> Result<Opened<Classifier>> {
    let memory = Memory::new();
    let FirstImages { model, planner, batch, notes } = first_images(config, &memory)?;
    notes.iter().for_each(|note| output::message(note));
    Ok(Opened { trainer: trainer(model, &memory, config), planner, batch })
}

/// Of a model whose new pairs have a B, if it has new pairs.
fn trainer<M: Model>(mut model: M, memory: &Memory, config: &RunConfig) -> Trainer<M> {
    if config.adapter.is_none() && config.fine_tune_type == FineTuneType::Lora {
        let mut rng = Rng::new(&[config.seed, 0xc05]);
        for param in model.params_mut().into_iter().filter(|p| p.name().contains("lora_B")) {
            let size = param.value().rows() * param.value().cols();
            let numbers: Vec<f32> = (0..size).map(|_| B_DEVIATION * rng.normal()).collect();
            param.value_mut().write(&numbers);
        }
        output::message("no --adapter: new pairs, B small and random (at B = 0 every gradient of A would be 0)");
    }
    let schedule = Schedule { kind: ScheduleKind::Constant, lr: 0.0, warmup: 0, steps: 1 };
    Trainer::new(model, memory, Policy::exact(), schedule, 0.0, 0.0, config.seed)
}

/// Every preset; those of the paper at three ranks, with residuals, and against plain quantisation at their sites.
fn frontier() -> Result<Vec<(String, Policy)>, Error> {
    let mut all = Vec::new();
    for (name, preset) in Activations::ALL {
        if [Activations::Exact, Activations::Checkpoint, Activations::Loract].contains(&preset) {
            all.push((name.to_owned(), preset.policy()));
            continue;
        }
        for text in
            ["rqb:1/4", "rqb:1/8", "rqb:1/16", "rqb:1/16+q2", "rqb:1/16+q3", "rqb:1/16+q4", "rqb:1/16+q8", "q4", "q8"]
        {
            let form: Form = text.parse().map_err(|what| Error::Setting { key: "sites", what })?;
            if preset.recompute() != Recompute::Factored || matches!(form, Form::LowRank(_)) {
                all.push((format!("{name} {text}"), preset.policy().map_forms(|_| form)));
            }
        }
    }
    Ok(all)
}

fn line(name: &str, audit: &Audit, exact_saved: usize, seconds: f64) -> String {
    let whole = audit.whole;
    let site = propagating_error(&audit.sites).map_or_else(|| "-".to_owned(), |error| format!("{error:.3}"));
    let saved = audit.memory.saved_bytes;
    format!(
        "{name:<30}{:>9.4}{:>9.4}{:>9.3}{site:>11}{:>10}{:>7.1}%{:>10}{seconds:>9.2}",
        whole.cosine,
        whole.relative_error,
        whole.norm_ratio,
        bytes(saved),
        100.0 * saved as f64 / exact_saved as f64,
        bytes(audit.memory.peak.activation_bytes),
    )
}

fn as_json(name: &str, audit: &Audit, exact_saved: usize) -> Value {
    let mut line = audit.to_json();
    line["activations"] = json!(name);
    line["exact_saved_bytes"] = json!(exact_saved);
    line
}
