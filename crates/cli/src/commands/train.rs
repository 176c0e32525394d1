//! `loract train`.

use std::process::ExitCode;

use anyhow::{Context, Result};
use loract_models::VisionSource;
use loract_train::{Ended, Evaluation, Run, RunSummary, Stopped, parse_name};

use crate::args::{TrainArgs, settle_data, use_threads};
use crate::hub;
use crate::output::{self, bytes};
use crate::progress::{Telling, Watcher};
use crate::signals::{Signal, Signals};

/// Trains, and says where things are.
pub fn run(args: TrainArgs) -> Result<ExitCode> {
    let args = args.with_file()?;
    let telling = args.progress.as_deref().map(parse_name::<Telling>).transpose();
    let telling = telling.map_err(|what| loract_train::Error::Setting { key: "progress", what })?.unwrap_or_default();
    let threads = use_threads(args.threads)?;
    let resume = args.resume;
    let mut config = args.resolve(threads)?;
    let typed = config.model.clone();
    config.model = hub::local_telling(&typed, telling)?;
    settle_data(&typed, &mut config)?;
    let run = if resume { Run::resume(config)? } else { Run::prepare(config)? };
    let mut watcher = Watcher::new(telling);
    if VisionSource::is_at(&run.config().model) {
        watcher.count_images(run.config().batch_size * run.config().grad_accum);
    }
    run.facts().iter().for_each(|fact| watcher.fact(fact));
    let resolved = toml::to_string(run.config())?;
    watcher.fact(&format!("configuration:\n{}", resolved.trim_end().replace('\n', "\n  ").replacen("", "  ", 1)));
    let out = run.config().out.clone();
    // Until here a signal ends the program at once, as nothing is lost.
    let signals = Signals::listen(|signal| {
        output::message(&format!("\n{}: stops after this step; once more to end at once", signal.name()));
    })
    .context("cannot listen to Ctrl-C")?;
    watcher.heed(signals.clone());
    let ended = run.execute(&mut watcher)?;
    signals.hush();
    match ended {
        Ended::Finished(summary) => {
            tell(&summary)?;
            let product = summary.product;
            watcher.fact(&format!("{product}, metrics.jsonl, config.toml and report.json are in {}", out.display()));
            Ok(ExitCode::SUCCESS)
        }
        Ended::Stopped(stopped) => {
            watcher.close();
            say_how_to_go_on(&stopped);
            Ok(signals.received().map_or(ExitCode::FAILURE, |signal: Signal| ExitCode::from(signal.exit_code())))
        }
    }
}

fn tell(summary: &RunSummary) -> Result<()> {
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
        output::line(&format!("evaluation  {}", in_words(e)))?;
    }
    if let Some(best) = summary.best {
        output::line(&format!("best  loss {:.4}  after step {}", best.loss, best.step))?;
    }
    Ok(())
}

/// The last evaluation, in a line.
fn in_words(e: &Evaluation) -> String {
    match e {
        Evaluation::Text(e) => {
            let accuracy = e.accuracy.map_or_else(String::new, |a| format!("  accuracy {a:.4}"));
            format!("loss {:.4}  perplexity {:.3}  tokens {}{accuracy}", e.loss, e.perplexity, e.tokens)
        }
        Evaluation::Images(e) => {
            format!("loss {:.4}  accuracy {:.4}  top-5 {:.4}  images {}", e.loss, e.accuracy, e.top5_accuracy, e.rows)
        }
    }
}

fn say_how_to_go_on(stopped: &Stopped) {
    let Stopped { step, steps, checkpoint } = stopped;
    match checkpoint {
        None => output::message("stopped before the first step: nothing is kept, begin again"),
        Some(folder) => output::message(&format!(
            "stopped after step {step} of {steps}; all of it is in {}; go on with:\n  {}",
            folder.display(),
            with_resume(std::env::args())
        )),
    }
}

/// The command as it was typed, with `--resume`.
fn with_resume(typed: impl Iterator<Item = String>) -> String {
    let mut words: Vec<String> = typed.map(|word| quoted(&word)).collect();
    if !words.iter().any(|word| word == "--resume") {
        words.push("--resume".into());
    }
    words.join(" ")
}

/// For a shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./,=:@+%".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.into() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_to_go_on_can_be_typed() {
        let said = |words: &[&str]| with_resume(words.iter().map(ToString::to_string));
        assert_eq!(said(&["loract", "train", "--out", "a/b"]), "loract train --out a/b --resume");
        assert_eq!(said(&["loract", "train", "--resume", "--out", "my run"]), "loract train --resume --out 'my run'");
        assert_eq!(said(&["loract", "--out", "it's", ""]), r"loract --out 'it'\''s' '' --resume");
    }
}
