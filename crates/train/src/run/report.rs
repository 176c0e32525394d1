//! `report.json`: what the run came to, and its memory as measured beside what was planned.

use serde_json::{Value, json};

use super::begin::first_row;
use super::session::{Session, batches};
use crate::error::Error;
use crate::memory::process_peak_bytes;
use crate::trainer::StepReport;

impl Session {
    /// Of the whole run, with the parts before an interruption; what the process took is of this part alone.
    pub(super) fn report(&mut self, last: &StepReport) -> Result<Value, Error> {
        let (config, tally) = (&self.config, &self.tally);
        let largest = tally.largest.as_ref();
        // The batches of the step that took the most, found again by their place in the data.
        let mut order = first_row(config, &self.data);
        let before = largest.map_or(0, |largest| largest.step.min(last.step).saturating_sub(1) as usize);
        order.skip_to(before.saturating_mul(config.batch_size * config.grad_accum));
        let planned = self.planner.plan(&config.policy(), &batches(config, &self.data, &mut order))?;
        let planned_process = self.baseline.map(|before| planned.process_bytes(before, config.threads));
        let wall = tally.wall_seconds + self.begun.elapsed().as_secs_f64();
        Ok(json!({
            "loract": env!("CARGO_PKG_VERSION"),
            "model": self.base_name,
            "steps": last.step,
            "stopped_early": last.step < self.schedule.steps,
            "resumed_after": tally.resumed_after,
            "first_loss": tally.first_loss,
            "last_loss": last.loss,
            "evaluation": tally.evaluation,
            "best": tally.best,
            "median_step_seconds": tally.median_step_seconds(),
            "tokens": tally.tokens,
            "tokens_per_second": tally.tokens as f64 / wall,
            "wall_seconds": wall,
            "memory": largest.map(|largest| &largest.memory),
            "planned": planned.memory.to_json(),
            "planned_process_peak_bytes": planned_process,
            "process_resident_before_bytes": self.resident_before,
            "process_peak_bytes": process_peak_bytes(),
            "config": config,
        }))
    }
}
