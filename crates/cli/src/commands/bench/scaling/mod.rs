//! `loract bench scaling`: time and memory of a training step against the length of a row, and against the number of
//! layers, on random weights of a model's shape.
//!
//! At each point the presets take turns. Answers are checked: forward is exact in every preset and nothing is learnt, so
//! all losses at a point are the same number.

mod report;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use loract_autograd::{Memory, Policy};
use loract_models::{Decoder, DecoderConfig, read_config};
use loract_train::{Activations, Error, Schedule, ScheduleKind, Trainer, Tuning};

use super::args::ScalingArgs;
use super::{load, random_rows};
use crate::args::{TrainArgs, use_threads};
use crate::commands::folder::Folder;
use crate::{hub, output};

const SEQ_LENS: [usize; 4] = [512, 1024, 2048, 4096];
const PRESETS: [&str; 3] = ["exact", "loract", "checkpoint"];

/// What varies along a series of points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Along {
    /// Tokens of a row, T.
    Tokens,
    /// Layers of the model.
    Layers,
}

/// One preset at one point.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    /// Median of the rounds.
    pub seconds: f64,
    pub saved_bytes: usize,
    pub peak_activation_bytes: usize,
}

/// A length and a number of layers, and what each preset took there.
#[derive(Debug)]
pub struct Point {
    pub along: Along,
    pub tokens: usize,
    pub layers: usize,
    pub load: Option<f64>,
    /// In the order of [`Findings::presets`].
    pub measured: Vec<Measured>,
}

/// Everything measured.
#[derive(Debug)]
pub struct Findings {
    pub model: String,
    pub rows: usize,
    pub threads: usize,
    pub rounds: usize,
    pub lora_rank: usize,
    pub presets: Vec<String>,
    pub points: Vec<Point>,
}

/// Measures and tells.
pub fn run(args: &ScalingArgs) -> Result<()> {
    Folder::check(args.out.as_deref())?;
    let shape = read_config(&hub::local(&args.model)?)?;
    let seq_lens = positive("seq-lens", args.seq_lens.as_deref().unwrap_or(&SEQ_LENS))?;
    let all = [shape.layers];
    let layers = positive("layers", args.layers.as_deref().unwrap_or(&all))?;
    let [rounds, rows] = [("rounds", args.rounds.unwrap_or(1)), ("batch-size", args.batch_size.unwrap_or(1))]
        .map(|(key, value)| positive(key, &[value]).map(|_| value));
    let (rounds, rows) = (rounds?, rows?);
    let names: Vec<String> = args.presets.clone().unwrap_or_else(|| PRESETS.map(str::to_owned).to_vec());
    let wrong = |what| Error::Setting { key: "presets", what };
    let policies = names.iter().map(|name| name.parse::<Activations>().map(Activations::policy).map_err(wrong));
    let policies: Vec<Policy> = policies.collect::<Result<_, _>>()?;
    let threads = use_threads(args.threads)?;
    let out = Folder::make(args.out.as_deref())?;
    // The defaults of `train`; nothing is read or written there.
    let nowhere = || Some(PathBuf::new());
    let defaults = TrainArgs { model: nowhere(), data: nowhere(), out: nowhere(), ..TrainArgs::default() };
    let defaults = defaults.resolve(threads)?;
    let (model, lora_rank) = (args.model.display().to_string(), defaults.lora_rank);
    let mut findings = Findings { model, rows, threads, rounds, lora_rank, presets: names, points: Vec::new() };
    for (along, tokens, layers) in places(seq_lens, layers) {
        output::message(&format!("{rows} x {tokens} tokens, {layers} layers"));
        let config = DecoderConfig { layers, context: shape.context.max(tokens), ..shape.clone() };
        let measured = measure(config, &defaults.tuning(), (rows, tokens), &policies, rounds)?;
        findings.points.push(Point { along, tokens, layers, load: load(), measured });
        if let Some(folder) = &out {
            // As they come: the last points take the longest, and not everybody waits for them.
            folder.write("scaling.json", &format!("{:#}\n", report::to_json(&findings)))?;
        }
    }
    if let Some(folder) = &out {
        for (name, svg) in report::charts(&findings)? {
            folder.write(&name, &svg)?;
        }
        folder.tell("scaling.json and charts are");
    }
    match args.json {
        true => output::line(&report::to_json(&findings).to_string())?,
        false => output::line(report::table(&findings).trim_end())?,
    }
    Ok(())
}

/// `values`, if all are 1 or more.
fn positive<'a>(key: &'static str, values: &'a [usize]) -> Result<&'a [usize], Error> {
    match values.iter().all(|&value| value > 0) && !values.is_empty() {
        true => Ok(values),
        false => Err(Error::Setting { key, what: "0; the least is 1".into() }),
    }
}

/// Every length at the first number of layers, then every number of layers at the first length.
fn places(seq_lens: &[usize], layers: &[usize]) -> Vec<(Along, usize, usize)> {
    let along_tokens = seq_lens.iter().map(|&tokens| (Along::Tokens, tokens, layers[0]));
    let along_layers = layers.iter().filter(|_| layers.len() > 1).map(|&layers| (Along::Layers, seq_lens[0], layers));
    along_tokens.chain(along_layers).collect()
}

fn measure(
    config: DecoderConfig,
    tuning: &Tuning,
    (rows, tokens): (usize, usize),
    policies: &[Policy],
    rounds: usize,
) -> Result<Vec<Measured>> {
    let memory = Memory::new();
    let batch = vec![random_rows(rows, tokens, config.vocab_size)];
    let mut decoder =
        Decoder::random_frozen(&memory, config, 0).context("this model cannot be made of random weights")?;
    tuning.begin(&memory, &mut decoder, None, 0)?;
    let schedule = Schedule { kind: ScheduleKind::Constant, lr: 0.0, warmup: 0, steps: 1 };
    let mut trainer = Trainer::new(decoder, &memory, Policy::exact(), schedule, 0.0, 0.0, 0);
    let mut seconds = vec![Vec::new(); policies.len()];
    let mut found = Vec::new();
    let mut loss = None;
    // The first round warms up caches and reused memory.
    for round in 0..=rounds {
        found.clear();
        for (policy, seconds) in policies.iter().zip(&mut seconds) {
            trainer.set_policy(policy.clone());
            let begun = Instant::now();
            let report = trainer.step(&batch)?;
            if round > 0 {
                seconds.push(begun.elapsed().as_secs_f64());
            }
            let before = *loss.get_or_insert(report.loss);
            ensure!(report.loss == before, "loss {}, expected {before} as in the first preset", report.loss);
            found.push((report.saved_bytes, report.peak_activation_bytes));
        }
    }
    let with_time = |((saved_bytes, peak_activation_bytes), mut seconds): ((usize, usize), Vec<f64>)| {
        seconds.sort_by(f64::total_cmp);
        Measured { seconds: seconds[seconds.len() / 2], saved_bytes, peak_activation_bytes }
    };
    Ok(found.into_iter().zip(seconds).map(with_time).collect())
}
