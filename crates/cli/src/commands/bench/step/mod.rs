//! `loract bench step`: settings in turn on one model and one micro-batch; what their time goes into; and how far each
//! is from the limit, the matrix products of `exact` alone.
//!
//! Answers are checked: forward is exact in every setting and nothing is learnt, so all losses of a precision are the same number.

mod products;
mod report;

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use loract_autograd::{Memory, Policy, Precision, Profile, WarmStart};
use loract_models::{Batch, Classifier, Decoder, Model, ModelSource, TokenBatch, VisionSource, read_config};
use loract_train::data::{Dataset, Reader};
use loract_train::{Activations, Error, RunConfig, Schedule, ScheduleKind, Trainer, Tuning, classifier_before_data};

use super::args::StepArgs;
use super::{load, random_images, random_rows};
use crate::args::{TrainArgs, settle_data, use_threads};
use crate::{hub, output};
use products::Products;

/// Tokens a row where --seq-len names none.
const TOKENS: usize = 512;

/// One setting, and what was measured of it.
pub struct Contestant {
    pub name: String,
    policy: Policy,
    /// A round each.
    pub rounds: Vec<Round>,
    pub saved_bytes: usize,
    pub peak_activation_bytes: usize,
}

/// One timed step.
pub struct Round {
    pub seconds: f64,
    pub profile: Profile,
}

/// Everything measured.
pub struct Findings {
    pub model: String,
    pub rows: usize,
    pub tokens: usize,
    pub lora_rank: usize,
    pub threads: usize,
    pub load: Option<f64>,
    /// `exact` first.
    pub contestants: Vec<Contestant>,
    /// The matrix products alone.
    pub products: Products,
    /// Their seconds, a round each.
    pub limit: Vec<f64>,
}

/// Measures and tells.
pub fn run(args: StepArgs) -> Result<()> {
    let rounds = args.rounds.unwrap_or(3);
    if rounds == 0 {
        return Err(Error::Setting { key: "rounds", what: "0; the least is 1".into() }.into());
    }
    let mut train = args.train.with_file()?;
    let random = train.data.is_none();
    // Nothing is read or written there.
    train.data.get_or_insert_with(Default::default);
    train.out.get_or_insert_with(Default::default);
    let presets = contestants(args.presets.as_deref(), &train)?;
    let threads = use_threads(train.threads)?;
    let mut config = train.resolve(threads)?;
    refuse_what_is_not_measured(&config)?;
    let typed = config.model.clone();
    config.model = hub::local(&typed)?;
    settle_data(&typed, &mut config)?;
    let policy = Policy { precision: Precision::F32, ..config.policy() };
    let mut contestants = vec![Contestant::new("exact", Policy::exact())];
    match presets {
        None if policy == Policy::exact() => {}
        None => contestants.push(Contestant::new("as given", policy)),
        Some(presets) => contestants.extend(presets),
    }
    let precision = config.mixed_precision.precision();
    if precision != Precision::F32 {
        contestants = contestants.into_iter().flat_map(|contestant| contestant.with(precision)).collect();
    }
    let findings = match VisionSource::is_at(&config.model) {
        true => measure(open_classifier(&config, random)?, contestants, &config, threads, rounds)?,
        false => measure(open(&config, random)?, contestants, &config, threads, rounds)?,
    };
    match args.json {
        true => output::line(&report::to_json(&findings).to_string())?,
        false => output::line(&report::table(&findings))?,
    }
    Ok(())
}

/// A model that is trained on one micro-batch, and its name.
struct Opened<M: Model> {
    trainer: Trainer<M>,
    batches: Vec<M::Batch>,
    model: String,
    lora_rank: usize,
}

/// All contestants in turn.
fn measure<M: Model>(
    opened: Opened<M>,
    mut contestants: Vec<Contestant>,
    config: &RunConfig,
    threads: usize,
    rounds: usize,
) -> Result<Findings> {
    let Opened { mut trainer, batches, model, lora_rank } = opened;
    let tokens: usize = batches.iter().map(Batch::rows).sum();
    output::message(&format!("{model}: {} rows, {tokens} tokens, {rounds} rounds after a warm-up", config.batch_size));
    // Equal for all of a precision.
    let mut losses = BTreeMap::new();
    let mut products: Option<Products> = None;
    let mut limit = Vec::new();
    for round in 0..=rounds {
        for contestant in &mut contestants {
            trainer.set_policy(contestant.policy.clone());
            let begun = Instant::now();
            let (report, profile) = Profile::of(|| trainer.step(&batches));
            let (report, seconds) = (report?, begun.elapsed().as_secs_f64());
            let before = *losses.entry(contestant.policy.precision).or_insert(report.loss);
            ensure!(report.loss == before, "{}: loss {}, expected {before} as before", contestant.name, report.loss);
            // The first round warms up caches and reused memory.
            if round > 0 {
                contestant.rounds.push(Round { seconds, profile });
            } else if products.is_none() {
                products = Some(Products::new(&profile));
            }
            contestant.saved_bytes = report.saved_bytes;
            contestant.peak_activation_bytes = report.peak_activation_bytes;
        }
        if let Some(products) = products.as_mut().filter(|_| round > 0) {
            limit.push(products.seconds());
            output::message(&format!("round {round} of {rounds} is done"));
        }
    }
    Ok(Findings {
        model,
        rows: config.batch_size,
        tokens,
        lora_rank,
        threads,
        load: load(),
        contestants,
        products: products.context("no round ran")?,
        limit,
    })
}

/// Turns forget what compression remembers of earlier steps, use no threads beside the pool, and take one micro-batch.
fn refuse_what_is_not_measured(config: &RunConfig) -> Result<(), Error> {
    let asked = [
        ("warm-start", config.warm_start != WarmStart::None),
        ("compress-workers", config.compress_workers > 0),
        ("grad-accum", config.grad_accum > 1),
    ];
    match asked.into_iter().find(|(_, asked)| *asked) {
        Some((key, _)) => Err(Error::Setting { key, what: "not measured here; compare runs of `loract train`".into() }),
        None => Ok(()),
    }
}

impl Contestant {
    fn new(name: &str, policy: Policy) -> Self {
        Self { name: name.to_owned(), policy, rounds: Vec::new(), saved_bytes: 0, peak_activation_bytes: 0 }
    }

    /// This, and the same in another precision.
    fn with(self, precision: Precision) -> [Self; 2] {
        let other = Self::new(&format!("{} bf16", self.name), Policy { precision, ..self.policy.clone() });
        [self, other]
    }

    /// The round whose time is the median.
    pub fn median(&self) -> &Round {
        let mut by_time: Vec<&Round> = self.rounds.iter().collect();
        by_time.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
        by_time[by_time.len() / 2]
    }
}

/// The presets named, which then stand for themselves.
fn contestants(names: Option<&[String]>, train: &TrainArgs) -> Result<Option<Vec<Contestant>>, Error> {
    let Some(names) = names else { return Ok(None) };
    if train.activations.is_some() || train.names_forms() {
        let what = "names settings of its own: leave out --activations and the flags of forms".to_owned();
        return Err(Error::Setting { key: "presets", what });
    }
    let wrong = |what| Error::Setting { key: "presets", what };
    let of = |name: &String| Ok(Contestant::new(name, name.parse::<Activations>().map_err(wrong)?.policy()));
    names.iter().filter(|name| *name != "exact").map(of).collect::<Result<_, _>>().map(Some)
}

/// Model with what is trained of it, and one micro-batch. A learning rate of 0 leaves them as they are.
fn open(config: &RunConfig, random: bool) -> Result<Opened<Decoder>> {
    config.check_for_text()?;
    let memory = Memory::new();
    let shape = read_config(&config.model)?;
    config.check_ranks(&shape)?;
    let (context, vocabulary) = (shape.context, shape.vocab_size);
    let opened = match ModelSource::open(&config.model) {
        Err(loract_models::Error::NoWeights { folder }) => {
            output::message(&format!("{}: no weights there, random ones are taken", folder.display()));
            None
        }
        other => Some(other?),
    };
    let batch = match (random, &opened) {
        (true, _) => random_rows(config.batch_size, config.seq_len.unwrap_or(TOKENS.min(context)), vocabulary),
        (false, None) => anyhow::bail!("--data needs the model itself; leave it out for random tokens"),
        (false, Some(source)) => {
            let data = Dataset::read(&config.data, &Reader::new(source, config.seq_len, &config.rows)?)?;
            TokenBatch::new(data.examples().iter().take(config.batch_size).map(|example| &example.row))
        }
    };
    let name = opened.as_ref().map_or_else(|| config.model.display().to_string(), |source| source.name.clone());
    let mut decoder = match opened {
        Some(source) => Decoder::load(&memory, source.config, source.weights)?,
        None => Decoder::random_frozen(&memory, shape, config.seed)
            .context("this model cannot be made of random weights")?,
    };
    let tuning = config.tuning().begin(&memory, &mut decoder, config.adapter.as_deref(), config.seed)?;
    let lora_rank = rank_of(&tuning, config);
    Ok(Opened { trainer: trainer(decoder, &memory, config), batches: vec![batch], model: name, lora_rank })
}

/// As [`open`], of an image model: random images, and its head trained beside the pairs.
fn open_classifier(config: &RunConfig, random: bool) -> Result<Opened<Classifier>> {
    let given = [
        ("flip", config.images.flip),
        ("random-crop", config.images.random_crop),
        ("skip-broken", config.images.skip_broken),
    ];
    if let Some((key, _)) = given.into_iter().find(|(_, given)| *given) {
        let what = "belongs to pictures, and images are random here; leave it out".to_owned();
        return Err(Error::Setting { key, what }.into());
    }
    anyhow::ensure!(random, "--data is not taken with an image model here; leave it out for random images");
    let memory = Memory::new();
    let mut config = config.clone();
    let mut model = match classifier_before_data(&mut config, &memory) {
        Err(Error::Model(loract_models::Error::NoWeights { folder })) => {
            output::message(&format!("{}: no weights there, random ones are taken", folder.display()));
            random_classifier(&mut config, &memory)?
        }
        other => other?,
    };
    let batch = random_images(model.config(), config.batch_size)?;
    let tuning = config.tuning().begin(&memory, &mut model, config.adapter.as_deref(), config.seed)?;
    let (name, lora_rank) = (config.model.display().to_string(), rank_of(&tuning, &config));
    Ok(Opened { trainer: trainer(model, &memory, &config), batches: vec![batch], model: name, lora_rank })
}

/// Of the shapes of an image model.
fn random_classifier(config: &mut RunConfig, memory: &Memory) -> Result<Classifier> {
    let mut shape = VisionSource::read_config(&config.model)?;
    if let Some(size) = config.images.image_size {
        let path = config.model.clone();
        shape = shape.with_image_size(size).map_err(|reason| loract_models::Error::Config { path, reason })?;
    }
    config.check_for_images()?;
    config.check_image_ranks(&shape)?;
    Classifier::random_frozen(memory, shape, config.seed).context("this model cannot be made of random weights")
}

/// LoRA's r, which is the adapter's where there is one.
fn rank_of(tuning: &Tuning, config: &RunConfig) -> usize {
    match tuning {
        Tuning::Lora(lora) => lora.rank,
        Tuning::Full | Tuning::Head => config.lora_rank,
    }
}

fn trainer<M: Model>(model: M, memory: &Memory, config: &RunConfig) -> Trainer<M> {
    let schedule = Schedule { kind: ScheduleKind::Constant, lr: 0.0, warmup: 0, steps: 1 };
    Trainer::new(model, memory, Policy::exact(), schedule, 0.0, 0.0, config.seed)
}
