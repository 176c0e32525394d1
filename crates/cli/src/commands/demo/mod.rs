//! `loract demo`: the main job on a tiny embedded model, in three memory settings, compared in one table.

mod base;
mod task;

use std::fs;

use anyhow::{Context, Result};
use loract_autograd::{Memory, Rng};
use loract_models::{LoraConfig, Model, Row, TokenBatch};
use loract_train::data::Dataset;
use loract_train::{Activations, MemoryReport, Schedule, ScheduleKind, TextEvaluation, Trainer, evaluate};
use serde_json::json;

use crate::args::{DemoArgs, use_threads};
use crate::output::{self, bytes};
use task::Task;

/// Rows a step, and held-out rows.
const ROWS: usize = 64;
const HELD_OUT: usize = 500;

/// Rows of a task; different streams have no row in common but by chance.
fn rows(count: usize, stream: u64) -> Vec<Row> {
    let mut rng = Rng::new(&[stream, 0xde30]);
    (0..count).map(|_| Task::Rotate.row(&mut rng)).collect()
}

/// What fine-tuning in one setting gave.
struct Outcome {
    preset: Activations,
    last_loss: f64,
    after: TextEvaluation,
    step_seconds: f64,
    memory: MemoryReport,
}

/// Fine-tunes in `exact`, `checkpoint` and `loract`, prints the table and writes `report.json`.
pub fn run(args: &DemoArgs) -> Result<()> {
    let threads = use_threads(args.threads)?;
    if let Some(folder) = &args.pretrain {
        return base::pretrain(folder);
    }
    let steps = args.steps.max(1);
    let held_out = Dataset::from_rows("held-out rows", rows(HELD_OUT, 2));
    let memory = Memory::new();
    let before = evaluate(&base::load(&memory)?, &memory, &held_out, 2048)?;
    output::message(&format!(
        "A tiny decoder that this project pre-trained itself (on copying, reversing and doubling words) learns a new \
         task by LoRA: rotating words.\nThree settings of what is kept for backward, {steps} steps each, {ROWS} rows a \
         step, {threads} threads. Before: accuracy {:.3}.",
        before.exact_match
    ));
    let outcomes = [Activations::Exact, Activations::Checkpoint, Activations::Loract]
        .into_iter()
        .map(|preset| fine_tune(preset, steps, &held_out))
        .collect::<Result<Vec<_>>>()?;
    output::line(&table(&before, &outcomes))?;
    let settings: Vec<_> = outcomes
        .iter()
        .map(|o| {
            json!({
                "activations": o.preset.to_string(), "last_loss": o.last_loss, "held_out": o.after,
                "median_step_seconds": o.step_seconds, "memory": o.memory.to_json(),
            })
        })
        .collect();
    let report = json!({
        "model": "project-pretrained, embedded", "steps": steps, "rows_a_step": ROWS, "threads": threads,
        "before": before, "settings": settings,
    });
    let path = args.out.join("report.json");
    fs::create_dir_all(&args.out).with_context(|| format!("cannot make {}", args.out.display()))?;
    fs::write(&path, format!("{report:#}\n")).with_context(|| format!("cannot write {}", path.display()))?;
    output::message(&format!("written: {}", path.display()));
    Ok(())
}

fn fine_tune(preset: Activations, steps: u64, held_out: &Dataset) -> Result<Outcome> {
    let memory = Memory::new();
    let mut decoder = base::load(&memory)?;
    let lora = LoraConfig { rank: 8, alpha: 16.0, ..LoraConfig::default() };
    decoder.attach_lora(&memory, &lora, 0)?;
    let schedule = Schedule { kind: ScheduleKind::Cosine, lr: 5e-3, warmup: 10, steps };
    let mut trainer = Trainer::new(decoder, &memory, preset.policy(), schedule, 0.0, 1.0, 0);
    let all = rows(ROWS * steps as usize, 1);
    let mut reports = Vec::new();
    for (index, rows) in all.chunks(ROWS).enumerate() {
        let report = trainer.step(&[TokenBatch::new(rows)])?;
        if (index + 1) % 50 == 0 {
            output::message(&format!("{preset:<11} step {}/{steps}  loss {:.4}", index + 1, report.loss));
        }
        reports.push(report);
    }
    let after = evaluate(trainer.decoder(), &memory, held_out, 2048)?;
    let mut seconds: Vec<f64> = reports.iter().map(|r| r.seconds).collect();
    seconds.sort_by(f64::total_cmp);
    let last_loss = reports.last().map_or(f64::NAN, |r| r.loss);
    let largest = reports.into_iter().map(|r| r.memory).max_by_key(|m| m.peak.activation_bytes).unwrap_or_default();
    Ok(Outcome { preset, last_loss, after, step_seconds: seconds[seconds.len() / 2], memory: largest })
}

fn table(before: &TextEvaluation, outcomes: &[Outcome]) -> String {
    let mut text = String::from(
        "activations  held-out loss  accuracy (before -> after)  step       saved      peak activations\n",
    );
    for o in outcomes {
        let accuracy = format!("{:.3} -> {:.3}", before.exact_match, o.after.exact_match);
        text += &format!(
            "{:<11}  {:<13.4}  {accuracy:<26}  {:<9}  {:<9}  {}\n",
            o.preset,
            o.after.loss,
            format!("{:.1} ms", 1e3 * o.step_seconds),
            bytes(o.memory.saved_bytes),
            bytes(o.memory.peak.activation_bytes),
        );
    }
    text.trim_end().to_owned()
}
