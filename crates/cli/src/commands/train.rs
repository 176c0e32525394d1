//! `loract train`.

use anyhow::Result;
use loract_train::{Progress, Run};

use crate::args::{TrainArgs, use_threads};
use crate::output::{self, StderrProgress, bytes};

/// Trains, and says where things are.
pub fn run(args: TrainArgs) -> Result<()> {
    let args = args.with_file()?;
    let threads = use_threads(args.threads)?;
    let run = Run::prepare(args.resolve(threads)?)?;
    let mut progress = StderrProgress::new();
    for fact in run.facts() {
        progress.note(&fact);
    }
    let resolved = toml::to_string(run.config())?;
    progress.note(&format!("configuration:\n{}", resolved.trim_end().replace('\n', "\n  ").replacen("", "  ", 1)));
    let out = run.config().out.clone();
    let summary = run.execute(&mut progress)?;
    let last = &summary.last;
    output::line(&format!(
        "trained {} steps  loss {:.4}  {:.3} s a step  saved {}  peak activations {}",
        last.step,
        last.loss,
        summary.median_step_seconds,
        bytes(last.saved_bytes),
        bytes(last.peak_activation_bytes),
    ))?;
    if let Some(e) = &summary.evaluation {
        let accuracy = e.accuracy.map_or_else(String::new, |a| format!("  accuracy {a:.4}"));
        output::line(&format!(
            "evaluation  loss {:.4}  perplexity {:.3}  tokens {}{accuracy}",
            e.loss, e.perplexity, e.tokens
        ))?;
    }
    output::message(&format!("adapter, metrics.jsonl, config.toml and report.json are in {}", out.display()));
    Ok(())
}
