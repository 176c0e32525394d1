//! The table of a matrix, and charts of error and time against rank.

use super::contestants;
use super::decompose::Findings;
use super::measure::{Measured, Outcome};
use crate::plot::{Axis, Chart, Line, Scale, Stroke};

/// A row a method, three columns a rank: error, its ratio to the best possible, milliseconds.
pub fn table(measured: &Measured) -> String {
    let ranks = ranks(measured);
    let mut text = format!("{:<26}", format!("{} ({}x{})", measured.matrix, measured.m, measured.n));
    for rank in &ranks {
        text += &format!("  {:<24}", format!("k = {rank}: error, ratio, ms"));
    }
    text = text.trim_end().to_owned() + "\n";
    for contestant in &contestants::ALL {
        let mut row = format!("{:<26}", contestant.name);
        for outcome in of(measured, contestant.name) {
            let ratio = outcome.ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
            row += &format!("  {:<9} {ratio:>5} {:>8.2}", error(outcome.relative_error), outcome.milliseconds);
        }
        text += &format!("{}\n", row.trim_end());
    }
    text
}

/// Three digits: .0912 as 0.0912, below a thousandth in powers of ten.
fn error(value: f64) -> String {
    if value >= 1e-3 { format!("{value:.4}") } else { format!("{value:.2e}") }
}

/// What the names mean, and in which conditions times were taken.
pub fn legend(findings: &Findings) -> String {
    let mut text =
        String::from("error = relative error, measured, mean over seeds; ratio = error / best possible; ms = median\n");
    for contestant in &contestants::ALL {
        text += &format!("{:<12} {}\n", contestant.name, contestant.what);
    }
    let load = findings.load.map_or_else(String::new, |load| format!(", load {load}"));
    text + &format!(
        "{} repeats, {} threads{load}, {:.0} s in all",
        findings.repeats, findings.threads, findings.seconds
    )
}

/// File names and charts: two a matrix.
pub fn charts(findings: &Findings) -> Vec<(String, Chart)> {
    findings
        .matrices
        .iter()
        .flat_map(|measured| {
            let on = format!("{} ({}x{})", measured.matrix, measured.m, measured.n);
            let mut errors = lines(measured, |outcome| outcome.relative_error);
            let best = of(measured, contestants::ALL[0].name).map(|o| (o.rank as f64, o.best_error)).collect();
            errors.push(Line { name: "best possible".into(), points: best, stroke: Stroke::Dashed });
            let x = || Axis {
                ticks: ranks(measured).into_iter().map(|rank| rank as f64).collect(),
                ..Axis::new("rank k", Scale::Log)
            };
            let error = Chart {
                title: format!("Relative error on {on}"),
                x: x(),
                y: Axis::new("relative error (Frobenius)", Scale::Log),
                lines: errors,
            };
            let time = Chart {
                title: format!("Time on {on}, {} threads", findings.threads),
                x: x(),
                y: Axis::new("median time (ms)", Scale::Log),
                lines: lines(measured, |outcome| outcome.milliseconds),
            };
            [(format!("error-{}.svg", measured.matrix), error), (format!("time-{}.svg", measured.matrix), time)]
        })
        .collect()
}

fn lines(measured: &Measured, value: impl Fn(&Outcome) -> f64) -> Vec<Line> {
    contestants::ALL
        .iter()
        .map(|contestant| Line {
            name: contestant.name.to_owned(),
            points: of(measured, contestant.name).map(|o| (o.rank as f64, value(o))).collect(),
            stroke: Stroke::Solid,
        })
        .collect()
}

fn of<'a>(measured: &'a Measured, method: &str) -> impl Iterator<Item = &'a Outcome> {
    measured.outcomes.iter().filter(move |outcome| outcome.method == method)
}

fn ranks(measured: &Measured) -> Vec<usize> {
    of(measured, contestants::ALL[0].name).map(|outcome| outcome.rank).collect()
}
