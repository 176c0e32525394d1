//! What the user sees: messages and progress on stderr, numbers on stdout.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use loract_train::audit::{Audit, Fidelity};
use loract_train::{Evaluation, Progress, StepReport};

/// A line on stderr.
pub fn message(text: &str) {
    // A closed stderr is no reason to stop.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// A line on stdout.
pub fn line(text: &str) -> std::io::Result<()> {
    writeln!(std::io::stdout(), "{text}")
}

/// Bytes with a unit, three digits.
pub fn bytes(count: usize) -> String {
    let count = count as f64;
    let (unit, name) = match count {
        c if c >= 1e9 => (1e9, "GB"),
        c if c >= 1e6 => (1e6, "MB"),
        c if c >= 1e3 => (1e3, "kB"),
        _ => (1.0, "B"),
    };
    let value = count / unit;
    if value >= 100.0 || unit == 1.0 { format!("{value:.0} {name}") } else { format!("{value:.1} {name}") }
}

/// 75 s as 1m15s.
pub fn duration(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        s if s >= 3600 => format!("{}h{:02}m", s / 3600, s % 3600 / 60),
        s if s >= 60 => format!("{}m{:02}s", s / 60, s % 60),
        s => format!("{s}s"),
    }
}

/// How often a log that is not a terminal gets a line.
const QUIET: Duration = Duration::from_secs(5);

/// Progress on stderr: one line that is written over on a terminal, a line every few seconds elsewhere.
pub struct StderrProgress {
    terminal: bool,
    begun: Instant,
    told: Option<Instant>,
    open_line: bool,
}

impl StderrProgress {
    /// Begins its clock.
    pub fn new() -> Self {
        Self { terminal: std::io::stderr().is_terminal(), begun: Instant::now(), told: None, open_line: false }
    }

    fn close_line(&mut self) {
        if std::mem::take(&mut self.open_line) {
            message("");
        }
    }
}

impl Progress for StderrProgress {
    fn note(&mut self, text: &str) {
        self.close_line();
        message(text);
    }

    fn step(&mut self, r: &StepReport, steps: u64) {
        let last = r.step == steps;
        if !self.terminal && !last && self.told.is_some_and(|told| told.elapsed() < QUIET) {
            return;
        }
        self.told = Some(Instant::now());
        let left = self.begun.elapsed().as_secs_f64() / r.step as f64 * (steps - r.step) as f64;
        let text = format!(
            "step {}/{steps}  loss {:.4}  lr {:.2e}  grad norm {:.3}  {:.0} tokens/s  peak activations {}  left {}",
            r.step,
            r.loss,
            r.lr,
            r.grad_norm,
            r.tokens as f64 / r.seconds,
            bytes(r.peak_activation_bytes),
            duration(left),
        );
        if self.terminal {
            let _ = write!(std::io::stderr(), "\r\x1b[K{text}");
            let _ = std::io::stderr().flush();
            self.open_line = true;
        } else {
            message(&text);
        }
        if last {
            self.close_line();
        }
    }

    fn audited(&mut self, step: u64, audit: &Audit) {
        let Fidelity { cosine, relative_error, norm_ratio } = audit.whole;
        self.note(&format!(
            "step {step}  gradient against the exact one: cosine {cosine:.4}  relative error {relative_error:.3}  norm {norm_ratio:.3}"
        ));
    }

    fn evaluated(&mut self, step: u64, e: &Evaluation) {
        let accuracy = e.accuracy.map_or_else(String::new, |a| format!("  accuracy {a:.4}"));
        let text = format!("step {step}  eval loss {:.4}  perplexity {:.3}{accuracy}", e.loss, e.perplexity);
        self.note(&text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_read_well() {
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(1_500), "1.5 kB");
        assert_eq!(bytes(553_000_000), "553 MB");
        assert_eq!(bytes(6_100_000_000), "6.1 GB");
        assert_eq!([duration(5.4), duration(75.0), duration(7260.0)], ["5s", "1m15s", "2h01m"]);
    }
}
