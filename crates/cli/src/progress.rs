//! A run as it goes, on stderr: for people, for programs, or not at all.

use std::path::Path;
use std::time::{Duration, Instant};

use loract_train::audit::{Audit, Fidelity};
use loract_train::{Evaluation, Named, Progress, StepReport};
use serde_json::{Value, json};

use crate::output::{LiveLine, bytes, duration, message};
use crate::signals::Signals;

/// How often a log that is not a terminal gets a line.
const QUIET: Duration = Duration::from_secs(5);

/// How a run is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Telling {
    /// For people: one line that is written over on a terminal, a line every few seconds elsewhere.
    #[default]
    Line,
    /// For programs: one JSON object a line, each with its `event`.
    Json,
    /// Warnings only.
    Quiet,
}

impl Named for Telling {
    const NAMES: &'static [(&'static str, Self)] =
        &[("line", Telling::Line), ("json", Telling::Json), ("quiet", Telling::Quiet)];
}

/// Tells a run on stderr, and passes on signals.
pub struct Watcher {
    telling: Telling,
    line: LiveLine,
    signals: Option<Signals>,
    begun: Instant,
    /// Step before the first that was told of.
    begun_after: Option<u64>,
    told: Option<Instant>,
    /// Images a step, of an image model.
    images: Option<usize>,
}

impl Watcher {
    /// Begins its clock.
    pub fn new(telling: Telling) -> Self {
        let line = LiveLine::new();
        Self { telling, line, signals: None, begun: Instant::now(), begun_after: None, told: None, images: None }
    }

    /// From now on the run stops when one has come.
    pub fn heed(&mut self, signals: Signals) {
        self.signals = Some(signals);
        self.begun = Instant::now();
    }

    /// From now on the rate is told in images, so many of them a step.
    pub fn count_images(&mut self, a_step: usize) {
        self.images = Some(a_step);
    }

    /// Something to know, unless all is well.
    pub fn fact(&mut self, text: &str) {
        match self.telling {
            Telling::Line => self.say(text),
            Telling::Json => object("note", json!({ "text": text })),
            Telling::Quiet if text.starts_with("warning") => self.say(text),
            Telling::Quiet => {}
        }
    }

    /// Ends a line that was to be written over.
    pub fn close(&mut self) {
        self.line.end();
    }

    fn say(&mut self, text: &str) {
        self.close();
        message(text);
    }

    fn line(&mut self, r: &StepReport, steps: u64) {
        let before = *self.begun_after.get_or_insert(r.step - 1);
        let last = r.step == steps;
        if !self.line.is_terminal() && !last && self.told.is_some_and(|told| told.elapsed() < QUIET) {
            return;
        }
        self.told = Some(Instant::now());
        let left = self.begun.elapsed().as_secs_f64() / (r.step - before) as f64 * (steps - r.step) as f64;
        let rate = match self.images {
            Some(images) => format!("{:.1} images/s", images as f64 / r.seconds),
            None => format!("{:.0} tokens/s", r.tokens as f64 / r.seconds),
        };
        let text = format!(
            "step {}/{steps}  loss {:.4}  lr {:.2e}  grad norm {:.3}  {rate}  peak activations {}  left {}",
            r.step,
            r.loss,
            r.lr,
            r.grad_norm,
            bytes(r.peak_activation_bytes),
            duration(left),
        );
        self.line.show(&text);
        if last {
            self.close();
        }
    }
}

/// An evaluation, in a line for people.
fn in_words(e: &Evaluation) -> String {
    match e {
        Evaluation::Text(e) => {
            let accuracy = e.accuracy.map_or_else(String::new, |a| format!("  accuracy {a:.4}"));
            format!("loss {:.4}  perplexity {:.3}{accuracy}", e.loss, e.perplexity)
        }
        Evaluation::Images(e) => {
            format!("loss {:.4}  accuracy {:.4}  top-5 {:.4}", e.loss, e.accuracy, e.top5_accuracy)
        }
    }
}

/// A line for programs.
pub fn object(event: &str, mut facts: Value) {
    facts["event"] = json!(event);
    message(&facts.to_string());
}

impl Progress for Watcher {
    fn note(&mut self, text: &str) {
        self.fact(text);
    }

    fn step(&mut self, r: &StepReport, steps: u64) {
        match self.telling {
            Telling::Line => self.line(r, steps),
            Telling::Json => {
                let mut facts = json!(r);
                facts["steps"] = json!(steps);
                object("step", facts);
            }
            Telling::Quiet => {}
        }
    }

    fn audited(&mut self, step: u64, audit: &Audit) {
        let Fidelity { cosine, relative_error, norm_ratio } = audit.whole;
        match self.telling {
            Telling::Line => self.say(&format!(
                "step {step}  gradient against the exact one: cosine {cosine:.4}  relative error {relative_error:.3}  norm {norm_ratio:.3}"
            )),
            Telling::Json => object("audit", json!({ "step": step, "whole": audit.whole })),
            Telling::Quiet => {}
        }
    }

    fn evaluated(&mut self, step: u64, e: &Evaluation) {
        match self.telling {
            Telling::Line => self.say(&format!("step {step}  eval {}", in_words(e))),
            Telling::Json => object("evaluation", json!({ "step": step, "evaluation": e })),
            Telling::Quiet => {}
        }
    }

    fn saved(&mut self, step: u64, checkpoint: &Path) {
        if self.telling == Telling::Json {
            object("checkpoint", json!({ "step": step, "folder": checkpoint }));
        }
    }

    fn interrupted(&self) -> bool {
        self.signals.as_ref().is_some_and(|signals| signals.received().is_some())
    }
}
