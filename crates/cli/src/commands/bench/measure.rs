//! Error and time of every contestant on one matrix, with its answers checked.
//!
//! Contestants take turns, so that whatever else the machine does meets all alike; the first round is not timed. The
//! error is measured from the difference A − U·V, as the mean over seeds; no error may lie below the best possible.

use std::hint::black_box;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use loract_linalg::gallery::optimal_error;
use loract_linalg::{Mat, Par, SvdMethod, singular_values};
use serde::Serialize;

use super::contestants;

/// What a method did on a matrix at a rank.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// Method.
    pub method: &'static str,
    /// k.
    pub rank: usize,
    /// ‖A − U·V‖ / ‖A‖, measured, mean over seeds.
    pub relative_error: f64,
    /// Best possible error at the rank.
    pub best_error: f64,
    /// Error / best error; none where the best is within rounding.
    pub ratio: Option<f64>,
    /// Median time.
    pub milliseconds: f64,
}

/// What was measured on a matrix.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measured {
    /// The matrix.
    pub matrix: String,
    /// Rows.
    pub m: usize,
    /// Columns.
    pub n: usize,
    /// By rank, then by method.
    pub outcomes: Vec<Outcome>,
}

/// Runs all contestants at all ranks.
pub fn measure(name: &str, a: &Mat, ranks: &[usize], repeats: usize) -> Result<Measured> {
    let on = |method: &str| format!("{method} on {name} ({}x{})", a.rows(), a.cols());
    let sigma = singular_values(a.view(), SvdMethod::Gram, Par::Rayon).with_context(|| on("singular values"))?;
    let mut outcomes = Vec::new();
    for &rank in ranks {
        let best_error = optimal_error(&sigma, rank);
        let mut times = vec![Vec::with_capacity(repeats); contestants::ALL.len()];
        let mut errors = vec![0.0; contestants::ALL.len()];
        for round in 0..=repeats {
            let seed = round.saturating_sub(1) as u64;
            for (at, contestant) in contestants::ALL.iter().enumerate() {
                let begun = Instant::now();
                let factors = black_box((contestant.run)(a.view(), rank, seed)).with_context(|| on(contestant.name))?;
                let seconds = begun.elapsed().as_secs_f64();
                if round > 0 {
                    times[at].push(1e3 * seconds);
                    let error = factors.measured_error(a.view(), Par::Rayon).with_context(|| on(contestant.name))?;
                    check(error, best_error, rank, sigma.len()).with_context(|| on(contestant.name))?;
                    errors[at] += error / repeats as f64;
                }
            }
        }
        for ((contestant, mut times), relative_error) in contestants::ALL.iter().zip(times).zip(errors) {
            times.sort_by(f64::total_cmp);
            let milliseconds = times[times.len() / 2];
            let ratio = (best_error > rounding(rank, sigma.len())).then(|| relative_error / best_error);
            let method = contestant.name;
            outcomes.push(Outcome { method, rank, relative_error, best_error, ratio, milliseconds });
        }
    }
    Ok(Measured { matrix: name.to_owned(), m: a.rows(), n: a.cols(), outcomes })
}

/// What rounding can do to an error: products of k terms in f32 in the measured one, singular values that the Gram matrix
/// resolves to √(n·eps) in the best one.
fn rounding(rank: usize, n: usize) -> f64 {
    4.0 * f64::from(f32::EPSILON) * (rank as f64).sqrt() + (n as f64 * f64::EPSILON).sqrt()
}

/// Refuses an error that cannot be.
fn check(error: f64, best: f64, rank: usize, n: usize) -> Result<()> {
    if !error.is_finite() {
        bail!("the error at rank {rank} is {error}; this is a bug, please report it with the command line");
    }
    if error < best - rounding(rank, n) {
        bail!(
            "the error at rank {rank} is {error:e}, below the best possible {best:e}; this is a bug, please report it \
             with the command line"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use loract_linalg::gallery::Kind;

    #[test]
    fn an_error_below_the_best_possible_or_not_finite_is_refused() {
        assert!(
            check(0.1, 0.1, 16, 512).is_ok() && check(0.2, 0.1, 16, 512).is_ok() && check(0.0, 1e-7, 16, 512).is_ok()
        );
        for (error, says) in [(0.0999, "below the best possible"), (f64::NAN, "is NaN")] {
            let told = check(error, 0.1, 16, 512).err().map(|e| e.to_string()).unwrap_or_default();
            assert!(told.contains(says), "{error}: {told}");
        }
    }

    #[test]
    fn the_truncated_svd_is_the_best_and_every_method_has_its_place() -> Result<()> {
        let a = Kind::Power(1.0).matrix(60, 40, 1);
        let measured = measure("power-1", &a, &[2, 8, 40], 2)?;
        assert_eq!(measured.outcomes.len(), 3 * contestants::ALL.len());
        for outcome in &measured.outcomes {
            assert!(outcome.milliseconds > 0.0 && outcome.relative_error >= 0.0, "{outcome:?}");
            // At full rank only rounding is left, and no ratio to it.
            assert_eq!(outcome.ratio.is_none(), outcome.rank == 40, "{outcome:?}");
            if outcome.method == "tsvd" {
                assert!(
                    (outcome.relative_error - outcome.best_error).abs() <= rounding(outcome.rank, 40),
                    "{outcome:?}"
                );
            }
        }
        Ok(())
    }
}
