//! `report.json`: what the run came to, and its memory as measured beside what was planned.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};
use serde_json::{Value, json};

use super::begin::first_row;
use super::session::Session;
use super::task::Task;
use crate::error::Error;
use crate::memory::process_peak_bytes;
use crate::trainer::StepReport;

impl<T: Task> Session<T> {
    /// Of the whole run, with the parts before an interruption; what the process took is of this part alone.
    pub(super) fn report(&mut self, last: &StepReport) -> Result<Value, Error> {
        let (config, tally) = (&self.config, &self.tally);
        let largest = tally.largest.as_ref();
        // The batches of the step that took the most, found again by their place in the data.
        let mut order = first_row(config, &self.task);
        let before = largest.map_or(0, |largest| largest.step.min(last.step).saturating_sub(1) as usize);
        order.skip_to(before.saturating_mul(config.batch_size * config.grad_accum));
        let planned = self.planner.plan(&config.policy(), &self.task.shapes(config, &mut order))?;
        let beside = self.task.beside_tensors(config, config.batch_size);
        let planned_process = self.baseline.map(|before| planned.process_bytes(before + beside, config.threads));
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
            "memory_step": largest.map(|largest| largest.step),
            "memory": largest.map(|largest| &largest.memory),
            "planned": planned.memory.to_json(),
            "planned_process_peak_bytes": planned_process,
            "process_resident_before_bytes": self.resident_before,
            "process_peak_bytes": process_peak_bytes(),
            "config": config,
            "timeline": largest.map(|largest| &largest.timeline),
        }))
    }
}

/// A report as text: an object's entries a line each, an array in one line.
pub(super) fn to_text(report: &Value) -> serde_json::Result<Vec<u8>> {
    let mut text = Vec::new();
    report.serialize(&mut Serializer::with_formatter(&mut text, OneLineArrays::default()))?;
    text.push(b'\n');
    Ok(text)
}

#[derive(Default)]
struct OneLineArrays(PrettyFormatter<'static>);

impl Formatter for OneLineArrays {
    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }
    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object(writer)
    }
    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object(writer)
    }
    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_object_key(writer, first)
    }
    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object_value(writer)
    }
    fn end_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object_value(writer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_take_a_line_and_the_text_reads_back() -> serde_json::Result<()> {
        let report = json!({ "a": { "sites": ["norm=q4", "x"], "none": [], "nothing": {} }, "b": [1, [2.5, null]] });
        let text = to_text(&report)?;
        let lines = String::from_utf8_lossy(&text);
        assert!(
            lines.contains("    \"sites\": [\"norm=q4\", \"x\"],\n") && lines.contains("[1, [2.5, null]]\n"),
            "{lines}"
        );
        assert_eq!(serde_json::from_slice::<Value>(&text)?, report);
        Ok(())
    }
}
