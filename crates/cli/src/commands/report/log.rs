//! `metrics.jsonl`: a line a step, and a line an evaluation.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use loract_train::Error;
use serde::Deserialize;

/// Whether the last line may be cut off: the log of a run that was killed, or is being written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    Whole,
    MayBeCut,
}

/// What a step did.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    pub step: u64,
    pub loss: f64,
    pub lr: f64,
    pub grad_norm: f64,
    pub tokens: u64,
    pub seconds: f64,
    pub saved_bytes: usize,
    pub peak_activation_bytes: usize,
    pub site_error: Option<f64>,
}

/// What an evaluation found.
#[derive(Debug, Clone, Copy)]
pub struct Evaluated {
    pub step: u64,
    pub loss: f64,
    pub accuracy: Option<f64>,
}

/// A log.
#[derive(Debug, Default)]
pub struct Log {
    pub steps: Vec<Step>,
    pub evaluations: Vec<Evaluated>,
    /// Whether the last line was cut off, and left out.
    pub cut: bool,
}

#[derive(Deserialize)]
struct Line {
    step: u64,
    loss: Option<f64>,
    lr: Option<f64>,
    grad_norm: Option<f64>,
    tokens: Option<u64>,
    seconds: Option<f64>,
    saved_bytes: Option<usize>,
    peak_activation_bytes: Option<usize>,
    site_error: Option<f64>,
    eval_loss: Option<f64>,
    eval_accuracy: Option<f64>,
}

impl Log {
    /// Reads a log.
    ///
    /// # Errors
    /// [`Error::Read`]; [`Error::Line`] naming the first line that is none of a run's; [`Error::Left`] without a step.
    pub fn read(path: &Path, ending: Ending) -> Result<Self, Error> {
        let failed = |reason| Error::Read { path: path.to_path_buf(), reason };
        let mut lines = BufReader::new(File::open(path).map_err(failed)?);
        let mut log = Self::default();
        let mut text = Vec::new();
        for number in 1.. {
            text.clear();
            if lines.read_until(b'\n', &mut text).map_err(failed)? == 0 {
                break;
            }
            match log.add(&text) {
                Ok(()) => {}
                Err(_) if ending == Ending::MayBeCut && !text.ends_with(b"\n") => log.cut = true,
                Err(what) => {
                    let what =
                        format!("{what}; not as `loract train` writes it: take the file from the run's folder again");
                    return Err(Error::Line { path: path.to_path_buf(), line: number, what });
                }
            }
        }
        if log.steps.is_empty() {
            let what = "holds no step yet; wait for the first, or look at what the run said on stderr".into();
            return Err(Error::Left { path: path.to_path_buf(), what });
        }
        Ok(log)
    }

    fn add(&mut self, text: &[u8]) -> Result<(), String> {
        let line: Line = serde_json::from_slice(text).map_err(|e| e.to_string())?;
        let last = self.steps.last().map_or(0, |step| step.step);
        if let Some(loss) = line.eval_loss {
            self.evaluations.push(Evaluated { step: line.step, loss, accuracy: line.eval_accuracy });
            return Ok(());
        }
        let Some(loss) = line.loss else { return Err("neither `loss` nor `eval_loss`".into()) };
        if line.step <= last {
            return Err(format!("step {} after step {last}", line.step));
        }
        let number = |value: Option<f64>| value.unwrap_or(f64::NAN);
        self.steps.push(Step {
            step: line.step,
            loss,
            lr: number(line.lr),
            grad_norm: number(line.grad_norm),
            tokens: line.tokens.unwrap_or(0),
            seconds: number(line.seconds),
            saved_bytes: line.saved_bytes.unwrap_or(0),
            peak_activation_bytes: line.peak_activation_bytes.unwrap_or(0),
            site_error: line.site_error,
        });
        Ok(())
    }
}

impl Step {
    /// Speed of the whole step.
    pub fn tokens_per_second(&self) -> f64 {
        self.tokens as f64 / self.seconds
    }
}
