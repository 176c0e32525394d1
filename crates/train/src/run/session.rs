//! The loop: a step, what is told of it, an evaluation and a checkpoint where they are due.

use std::path::PathBuf;
use std::time::Instant;

use loract_autograd::Memory;
use serde_json::json;

use super::begin::first_row;
use super::best::BestFolder;
use super::card;
use super::events::Events;
use super::tally::Tally;
use super::task::Task;
use super::{Ended, Progress, RunSummary, Stopped};
use crate::checkpoint::{self, Contents, Inputs};
use crate::config::RunConfig;
use crate::data::Order;
use crate::error::Error;
use crate::plan::Planner;
use crate::run_dir::RunDir;
use crate::schedule::Schedule;
use crate::trainer::{StepReport, Trainer};
use crate::tuning::{Product, weights_file};

/// Above it the user is warned. Measured on SmolLM2 (`docs/memory.md`): gradient cosines were .88 and more below it, .93 and
/// less above; the paper's form, which diverged on plain prose, lies at .4.
const DOUBTFUL_SITE_ERROR: f64 = 0.15;

/// A run under way.
pub(super) struct Session<T: Task> {
    pub(super) config: RunConfig,
    pub(super) memory: Memory,
    pub(super) trainer: Trainer<T::Model>,
    pub(super) product: Product,
    pub(super) base_name: String,
    pub(super) task: T,
    pub(super) schedule: Schedule,
    pub(super) inputs: Inputs,
    pub(super) planner: Planner<T::Model>,
    pub(super) out: RunDir,
    pub(super) best: BestFolder,
    pub(super) events: Option<Events>,
    pub(super) order: Order,
    pub(super) tally: Tally,
    pub(super) begun: Instant,
    pub(super) last: Option<StepReport>,
    /// The process before the first step: resident bytes, and those that a plan does not count.
    pub(super) resident_before: Option<usize>,
    pub(super) baseline: Option<usize>,
    /// Step of the newest checkpoint.
    pub(super) saved: Option<u64>,
}

impl<T: Task> Session<T> {
    /// Steps until the end, until no better evaluation is to be expected, or until `progress` asks to stop.
    pub(super) fn run(mut self, progress: &mut dyn Progress) -> Result<Ended, Error> {
        while self.trainer.steps_done() < self.schedule.steps {
            if progress.interrupted() {
                return self.stop(progress);
            }
            let taken = self.order.taken();
            let step = match self.step(progress) {
                Err(error @ (Error::Picture { .. } | Error::Read { .. })) => {
                    self.order = first_row(&self.config, &self.task);
                    self.order.skip_to(taken);
                    return Err(self.save_before(error, progress)?);
                }
                other => other?,
            };
            if self.is_due(self.config.eval_every, step) || step == self.schedule.steps {
                match self.evaluate(step, progress) {
                    // What was trained is not lost; earlier a checkpoint would go on without this evaluation.
                    Err(error @ (Error::Picture { .. } | Error::Read { .. })) if step == self.schedule.steps => {
                        return Err(self.save_before(error, progress)?);
                    }
                    other => other?,
                }
            }
            if self.patience_is_over() {
                self.tell_early_stop(step, progress);
                break;
            }
            if self.is_due(self.config.save_every, step) && step < self.schedule.steps {
                self.save(progress)?;
            }
        }
        self.finish()
    }

    fn is_due(&self, every: u64, step: u64) -> bool {
        every > 0 && step.is_multiple_of(every)
    }

    /// One optimiser step, and what is told and kept of it.
    fn step(&mut self, progress: &mut dyn Progress) -> Result<u64, Error> {
        // Whoever waits for pictures waits within the step.
        let start = Instant::now();
        let batches = self.task.batches(&self.config, &mut self.order)?;
        let audited = self.is_due(self.config.audit_every, self.trainer.steps_done() + 1);
        let (report, audit) = if audited {
            self.trainer.audited_step(start, &batches).map(|(report, audit)| (report, Some(audit)))?
        } else {
            (self.trainer.step_since(start, &batches)?, None)
        };
        let step = report.step;
        self.out.log(&report)?;
        if let Some(events) = &mut self.events {
            events.step(&report)?;
        }
        progress.step(&report, self.schedule.steps);
        if let Some(audit) = audit {
            let mut line = audit.to_json();
            line["step"] = json!(step);
            self.out.log_audit(&line)?;
            progress.audited(step, &audit);
        }
        if let Some(error) = report.site_error.filter(|error| *error > DOUBTFUL_SITE_ERROR && !self.tally.warned) {
            self.tally.warned = true;
            progress.note(&format!(
                "warning: what is kept where errors propagate is off by {:.0} % (site_error): gradients this coarse have \
                 made runs diverge; add --residual-bits 4, raise --rank, or measure with `loract inspect gradients`",
                100.0 * error
            ));
        }
        if let Some(times) = self.tally.jump(report.grad_norm) {
            progress.note(&format!(
                "warning: the gradient's norm jumped to {:.3}, {times:.0} times what it was before: the run may be going astray; \
                 lower --lr (now {:e}), or --max-grad-norm (now {}), or keep activations more closely",
                report.grad_norm, report.lr, self.config.max_grad_norm
            ));
        }
        self.tally.step(&report);
        self.last = Some(report);
        Ok(step)
    }

    /// Evaluates, if there is data for it, and keeps what is trained if it is the best on the way.
    fn evaluate(&mut self, step: u64, progress: &mut dyn Progress) -> Result<(), Error> {
        let found = self.task.evaluate(self.trainer.model(), &self.memory).map_err(|error| match error {
            Error::Evaluation { value, .. } => {
                Error::NotFinite { what: "evaluation loss", value, step, lr: self.schedule.at(step - 1) }
            }
            other => other,
        })?;
        let Some(found) = found else { return Ok(()) };
        self.out.log(&found.line(step))?;
        if let Some(events) = &mut self.events {
            events.evaluation(step, &found)?;
        }
        progress.evaluated(step, &found);
        if self.config.eval_every > 0 && self.tally.is_best(step, found.loss()) {
            self.best.keep(&self.product.files(self.trainer.model()))?;
        }
        self.tally.evaluation = Some(found);
        Ok(())
    }

    fn patience_is_over(&self) -> bool {
        self.config.early_stop > 0 && self.tally.without_better >= self.config.early_stop
    }

    fn tell_early_stop(&self, step: u64, progress: &mut dyn Progress) {
        if let Some(best) = self.tally.best {
            progress.note(&format!(
                "the run ends at step {step}: {} evaluations in turn were no better than {:.4} after step {}",
                self.tally.without_better, best.loss, best.step
            ));
        }
    }

    fn save(&mut self, progress: &mut dyn Progress) -> Result<(), Error> {
        let mut tally = self.tally.clone();
        tally.wall_seconds += self.begun.elapsed().as_secs_f64();
        let saved = Contents {
            config: &self.config,
            inputs: &self.inputs,
            trainer: &self.trainer,
            product: &self.product,
            order: &self.order,
            out: &self.out,
            best: tally.has_best().then(|| self.best.file(weights_file(self.config.fine_tune_type))),
            tally,
        }
        .save()?;
        let step = self.trainer.steps_done();
        self.saved = Some(step);
        progress.saved(step, &saved);
        Ok(())
    }

    /// Leaves a checkpoint of the last step, if there is not one yet; where it is.
    fn save_last(&mut self, progress: &mut dyn Progress) -> Result<Option<PathBuf>, Error> {
        let step = self.trainer.steps_done();
        if step > 0 && self.saved != Some(step) {
            self.save(progress)?;
        }
        Ok(self.saved.map(|step| checkpoint::path(&self.config.out, step)))
    }

    /// `error` of data that can be put right, after all that was done so far is saved.
    fn save_before(&mut self, error: Error, progress: &mut dyn Progress) -> Result<Error, Error> {
        if let Some(folder) = self.save_last(progress)? {
            let (step, steps) = (self.trainer.steps_done(), self.schedule.steps);
            progress.note(&format!(
                "warning: the run ends after step {step} of {steps}; all of it is in {}",
                folder.display()
            ));
        }
        Ok(error)
    }

    /// Leaves a checkpoint of the last step.
    fn stop(mut self, progress: &mut dyn Progress) -> Result<Ended, Error> {
        let (step, steps) = (self.trainer.steps_done(), self.schedule.steps);
        let checkpoint = self.save_last(progress)?;
        Ok(Ended::Stopped(Stopped { step, steps, checkpoint }))
    }

    /// Leaves adapter or model, settings, report and card.
    fn finish(mut self) -> Result<Ended, Error> {
        let Some(last) = self.last.take() else {
            return Err(Error::Setting { key: "steps", what: "0; the least is 1".into() });
        };
        let product = self.product.files(self.trainer.model());
        for file in &product {
            self.out.write_by(&file.name, |path| file.write(path))?;
        }
        let names: Vec<_> = product.iter().map(|file| file.name.to_string()).collect();
        let resolved = toml::to_string(&self.config).map_err(|e| Error::Write {
            path: self.config.out.join("config.toml"),
            reason: std::io::Error::other(e.to_string()),
        })?;
        self.out.write("config.toml", resolved.as_bytes())?;
        let report = self.report(&last)?;
        let text = super::report::to_text(&report).map_err(|e| Error::Write {
            path: self.config.out.join("report.json"),
            reason: std::io::Error::other(e.to_string()),
        })?;
        self.out.write("report.json", &text)?;
        if card::may_replace(&self.config.out.join(card::FILE)) {
            let python = self.task.python_with_adapter(&self.base_name);
            self.out.write(card::FILE, card::card(&self.config, &report, &T::WORDS, &python).as_bytes())?;
        }
        self.best.finish(self.tally.has_best(), &names)?;
        self.out.finish()?;
        let median_step_seconds = self.tally.median_step_seconds();
        let Tally { evaluation, best, .. } = self.tally;
        let product = self.product.noun();
        Ok(Ended::Finished(Box::new(RunSummary { last, median_step_seconds, evaluation, best, product })))
    }
}
