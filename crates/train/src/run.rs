//! A run from its settings to its folder: everything that can be wrong with the input is found before anything is
//! written.

use std::time::Instant;

use loract_autograd::{Memory, Workers};
use loract_models::{Decoder, LoraConfig, ModelSource, TokenBatch, adapter};
use serde_json::json;

use crate::audit::Audit;
use crate::config::RunConfig;
use crate::data::{Dataset, Order, Reader};
use crate::error::Error;
use crate::evaluate::{Evaluation, evaluate};
use crate::memory::{Baseline, process_peak_bytes, process_resident_bytes};
use crate::plan::{Plan, Planner};
use crate::run_dir::{RunDir, checkpoint_name};
use crate::schedule::Schedule;
use crate::trainer::{StepReport, Trainer};

/// Tokens of an evaluation's batch.
const EVAL_BATCH_TOKENS: usize = 2048;

/// Above it the user is warned. Measured on SmolLM2 (`docs/memory.md`): gradient cosines were .88 and more below it, .93 and
/// less above; the paper's form, which diverged on plain prose, lies at .4.
const DOUBTFUL_SITE_ERROR: f64 = 0.15;

/// Who watches a run.
pub trait Progress {
    /// Something to tell once, in a line.
    fn note(&mut self, text: &str);
    /// A step has ended.
    fn step(&mut self, report: &StepReport, steps: u64);
    /// A step's gradient was compared with the exact one.
    fn audited(&mut self, step: u64, audit: &Audit);
    /// An evaluation has ended.
    fn evaluated(&mut self, step: u64, evaluation: &Evaluation);
}

/// A run ready to begin.
#[derive(Debug)]
pub struct Run {
    config: RunConfig,
    memory: Memory,
    baseline: Option<Baseline>,
    decoder: Decoder,
    lora: LoraConfig,
    base_name: String,
    data: Dataset,
    eval_data: Option<Dataset>,
    steps: u64,
    planner: Planner,
    /// Of a step over the longest rows.
    plan: Plan,
}

/// How a run ended.
#[derive(Debug)]
pub struct RunSummary {
    /// Last step.
    pub last: StepReport,
    /// Median of the steps' wall times.
    pub median_step_seconds: f64,
    /// Last evaluation.
    pub evaluation: Option<Evaluation>,
}

impl Run {
    /// Opens model, adapter and data. Nothing is written.
    ///
    /// # Errors
    /// Whatever is wrong with the input.
    pub fn prepare(mut config: RunConfig) -> Result<Self, Error> {
        config.check()?;
        RunDir::check(&config.out, config.save_every > 0)?;
        let (memory, baseline) = (Memory::new(), Baseline::before_weights());
        let source = ModelSource::open(&config.model)?;
        config.check_ranks(&source.config)?;
        let reader = Reader::new(&source, config.seq_len, &config.rows)?;
        let data = Dataset::read(&config.data, &reader)?;
        let eval_data = config.eval_data.as_ref().map(|path| Dataset::read(path, &reader)).transpose()?;
        let mut decoder = Decoder::load(&memory, source.config, source.weights)?;
        let lora = match &config.adapter {
            None => {
                let lora = config.lora();
                decoder.attach_lora(&memory, &lora, config.seed)?;
                lora
            }
            Some(folder) => {
                let lora = adapter::load(&memory, &mut decoder, folder)?;
                // Dropout is of the run, not of the adapter.
                decoder.set_lora_dropout(config.lora_dropout as f32);
                LoraConfig { dropout: config.lora_dropout as f32, ..lora }
            }
        };
        config.lora_rank = lora.rank;
        config.lora_alpha = f64::from(lora.alpha);
        config.lora_targets.clone_from(&lora.targets);
        let order = Order::new(data.examples().len(), (!config.no_shuffle).then_some(config.seed));
        let steps = config.steps.unwrap_or_else(|| order.steps_an_epoch(config.filling(), &data, config.grad_accum));
        config.steps = Some(steps);
        // Mapped once more, not read once more.
        let mut planner = Planner::new(ModelSource::open(&config.model)?, &lora, None)?;
        let largest = TokenBatch::new(&data.longest_rows(config.filling()));
        let plan = planner.plan(&config.policy(), &[largest])?;
        let base_name = source.name;
        Ok(Self { config, memory, baseline, decoder, lora, base_name, data, eval_data, steps, planner, plan })
    }

    /// The settings, with what was still open filled in.
    pub fn config(&self) -> &RunConfig {
        &self.config
    }

    /// Facts worth a line each before the run begins.
    pub fn facts(&self) -> Vec<String> {
        let trained: usize = self.decoder.params().iter().map(|p| p.value().rows() * p.value().cols()).sum();
        let c = self.decoder.config();
        let mut facts = vec![
            format!(
                "model {} ({} layers, width {}, vocabulary {}), {trained} trained parameters",
                self.base_name, c.layers, c.hidden_size, c.vocab_size
            ),
            format!(
                "data {} ({} rows, {} tokens, {} of them trained)",
                self.data.path().display(),
                self.data.examples().len(),
                self.data.tokens(),
                self.data.trained_tokens()
            ),
        ];
        facts.push(format!(
            "plan: a step over the longest rows saves {:.0} MB, and its activations peak at {:.0} MB",
            self.plan.memory.saved_bytes as f64 / 1e6,
            self.plan.memory.peak.activation_bytes as f64 / 1e6
        ));
        for data in std::iter::once(&self.data).chain(&self.eval_data) {
            if data.cut_rows() > 0 {
                facts.push(format!(
                    "{} rows of {} were longer than --seq-len {} and were cut",
                    data.cut_rows(),
                    data.path().display(),
                    self.config.seq_len.unwrap_or(c.context)
                ));
            }
        }
        facts
    }

    /// Trains, evaluates, and writes the run's folder.
    ///
    /// # Errors
    /// Failures of the step, of writing, of evaluation; an earlier good output is then untouched.
    pub fn execute(self, progress: &mut dyn Progress) -> Result<RunSummary, Error> {
        let Run { config, memory, baseline, decoder, lora, base_name, data, eval_data, steps, mut planner, plan: _ } =
            self;
        let mut out = RunDir::create(&config.out)?;
        let resident_before = process_resident_bytes();
        let baseline = baseline.and_then(|b| b.bytes(&memory));
        let schedule = Schedule { kind: config.schedule, lr: config.lr, warmup: config.warmup, steps };
        let mut trainer = Trainer::new(
            decoder,
            &memory,
            config.policy(),
            schedule,
            config.weight_decay,
            config.max_grad_norm,
            config.seed,
        );
        if config.compress_workers > 0 {
            trainer.set_workers(Some(Workers::start(config.compress_workers).map_err(|reason| Error::Setting {
                key: "compress-workers",
                what: format!("{} threads could not be started: {reason}", config.compress_workers),
            })?));
        }
        let mut order = Order::new(data.examples().len(), (!config.no_shuffle).then_some(config.seed));
        let begun = Instant::now();
        let mut seconds = Vec::new();
        let mut tokens = 0usize;
        let mut first_loss = f64::NAN;
        let mut last: Option<StepReport> = None;
        let mut largest: Option<(StepReport, Vec<TokenBatch>)> = None;
        let mut evaluation = None;
        let mut warned = false;
        for step in 1..=steps {
            let batches: Vec<TokenBatch> = (0..config.grad_accum)
                .map(|_| {
                    let rows = order.micro_batch(config.filling(), &data);
                    TokenBatch::new(rows.into_iter().map(|row| &data.examples()[row].row))
                })
                .collect();
            let audited = config.audit_every > 0 && step % config.audit_every == 0;
            let (report, audit) = if audited {
                trainer.audited_step(&batches).map(|(report, audit)| (report, Some(audit)))?
            } else {
                (trainer.step(&batches)?, None)
            };
            out.log(&report)?;
            progress.step(&report, steps);
            if let Some(audit) = audit {
                let mut line = audit.to_json();
                line["step"] = json!(step);
                out.log_audit(&line)?;
                progress.audited(step, &audit);
            }
            if let Some(error) = report.site_error.filter(|error| *error > DOUBTFUL_SITE_ERROR && !warned) {
                warned = true;
                progress.note(&format!(
                    "warning: what is kept where errors propagate is off by {:.0} % (site_error): gradients this coarse have \
                     made runs diverge; add --residual-bits 4, raise --rank, or measure with `loract inspect gradients`",
                    100.0 * error
                ));
            }
            seconds.push(report.seconds);
            tokens += report.tokens;
            if step == 1 {
                first_loss = report.loss;
            }
            if largest.as_ref().is_none_or(|(l, _)| report.peak_activation_bytes > l.peak_activation_bytes) {
                largest = Some((report.clone(), batches));
            }
            last = Some(report);
            if let Some(data) = &eval_data
                && (step == steps || (config.eval_every > 0 && step % config.eval_every == 0))
            {
                let found = evaluate(trainer.decoder(), &memory, data, EVAL_BATCH_TOKENS).map_err(|e| match e {
                    Error::Evaluation { value, .. } => {
                        Error::NotFinite { what: "evaluation loss", value, step, lr: schedule.at(step - 1) }
                    }
                    other => other,
                })?;
                out.log(&json!({
                    "step": step, "eval_loss": found.loss, "eval_tokens": found.tokens,
                    "eval_exact_match": found.exact_match, "eval_accuracy": found.accuracy,
                }))?;
                progress.evaluated(step, &found);
                evaluation = Some(found);
            }
            if config.save_every > 0 && step % config.save_every == 0 && step < steps {
                for (name, bytes) in adapter::to_bytes(trainer.decoder(), &lora, &base_name)? {
                    out.write_in(&checkpoint_name(step), name, &bytes)?;
                }
            }
        }
        let (Some(last), Some((largest, batches))) = (last, largest) else {
            return Err(Error::Setting { key: "steps", what: "0; the least is 1".into() });
        };
        seconds.sort_by(f64::total_cmp);
        let median_step_seconds = seconds[seconds.len() / 2];
        for (name, bytes) in adapter::to_bytes(trainer.decoder(), &lora, &base_name)? {
            out.write(name, &bytes)?;
        }
        let resolved = toml::to_string(&config).map_err(|e| Error::Write {
            path: config.out.join("config.toml"),
            reason: std::io::Error::other(e.to_string()),
        })?;
        out.write("config.toml", resolved.as_bytes())?;
        let planned = planner.plan(&config.policy(), &batches)?;
        let planned_process = baseline.map(|before| planned.process_bytes(before, config.threads));
        let wall = begun.elapsed().as_secs_f64();
        let report = json!({
            "loract": env!("CARGO_PKG_VERSION"),
            "model": base_name,
            "steps": steps,
            "first_loss": first_loss,
            "last_loss": last.loss,
            "evaluation": evaluation,
            "median_step_seconds": median_step_seconds,
            "tokens": tokens,
            "tokens_per_second": tokens as f64 / wall,
            "wall_seconds": wall,
            "memory": largest.memory.to_json(),
            "planned": planned.memory.to_json(),
            "planned_process_peak_bytes": planned_process,
            "process_resident_before_bytes": resident_before,
            "process_peak_bytes": process_peak_bytes(),
            "config": config,
        });
        out.write("report.json", format!("{report:#}\n").as_bytes())?;
        out.finish()?;
        Ok(RunSummary { last, median_step_seconds, evaluation })
    }
}
