//! From a run that is ready to one under way: its folder, and where it goes on.

use std::time::Instant;

use loract_autograd::Workers;

use super::best::BestFolder;
use super::events::Events;
use super::ready::Ready;
use super::session::Session;
use super::tally::Tally;
use super::task::Task;
use crate::checkpoint::{self, Checkpoint};
use crate::config::RunConfig;
use crate::data::Order;
use crate::error::Error;
use crate::memory::process_resident_bytes;
use crate::run_dir::RunDir;
use crate::schedule::Schedule;
use crate::trainer::Trainer;

impl<T: Task> Session<T> {
    /// Makes or enters the run's folder; from here on things are written.
    pub(super) fn begin(ready: Ready<T>) -> Result<Self, Error> {
        let Ready { config, memory, baseline, model, product, base_name, task, steps, inputs, planner, from, .. } =
            ready;
        let out = match &from {
            None => {
                let out = RunDir::create(&config.out)?;
                // A run that was under way when this one looked may have ended since.
                checkpoint::refuse_any(&config.out)?;
                out
            }
            Some(from) => RunDir::resume(&config.out, from.folder())?,
        };
        checkpoint::sweep(&config.out)?;
        let best = BestFolder::begin(&config.out)?;
        let resident_before = process_resident_bytes();
        let baseline = baseline.and_then(|b| b.bytes(&memory));
        let schedule = Schedule { kind: config.schedule, lr: config.lr, warmup: config.warmup, steps };
        let (policy, seed) = (config.policy(), config.seed);
        let mut trainer =
            Trainer::new(model, &memory, policy, schedule, config.weight_decay, config.max_grad_norm, seed);
        if config.compress_workers > 0 {
            trainer.set_workers(Some(Workers::start(config.compress_workers).map_err(|reason| Error::Setting {
                key: "compress-workers",
                what: format!("{} threads could not be started: {reason}", config.compress_workers),
            })?));
        }
        let done = from.as_ref().map_or(0, Checkpoint::step);
        let events = config.tensorboard.then(|| Events::begin(&config.out, done)).transpose()?;
        let mut order = first_row(&config, &task);
        let mut tally = Tally::default();
        let saved = from.as_ref().map(Checkpoint::step);
        if let Some(from) = from {
            from.restore(&mut trainer, &mut order)?;
            tally = from.tally().clone();
            tally.resumed_after.push(from.step());
            if let Some((weights, name)) = from.best() {
                let others = product.files(trainer.model()).into_iter().filter(|file| file.name != name);
                best.keep(&others.collect::<Vec<_>>())?;
                best.keep_copy(&weights, name)?;
            }
        }
        Ok(Self {
            config,
            memory,
            trainer,
            product,
            base_name,
            task,
            schedule,
            inputs,
            planner,
            out,
            best,
            events,
            order,
            tally,
            begun: Instant::now(),
            last: None,
            resident_before,
            baseline,
            saved,
        })
    }
}

/// The order of rows, at its beginning.
pub(super) fn first_row<T: Task>(config: &RunConfig, task: &T) -> Order {
    Order::new(task.rows(), (!config.no_shuffle).then_some(config.seed))
}
