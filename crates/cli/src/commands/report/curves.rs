//! What changed from step to step: loss, learning rate, gradient norm, speed, memory.

use anyhow::Result;

use super::html::Html;
use super::log::Step;
use super::plate::{Plate, run_colour, runs_legend};
use super::run::Run;
use super::thin::thin;
use crate::output::bytes;
use crate::plot::{Axis, Figure, Mark, Scale, Stroke};

/// Rows of the table of steps.
const MOST_ROWS: usize = 200;

/// A quantity of a step.
struct Curve {
    title: &'static str,
    scale: Scale,
    /// Whether the axis begins at 0.
    from_zero: bool,
    of: fn(&Step) -> f64,
}

/// Writes the charts and the table.
pub fn put(html: &mut Html, runs: &[Run]) -> Result<()> {
    html.raw("<h2>Steps</h2>\n<div class=figures>\n");
    let curve = |title, from_zero, of| Curve { title, scale: Scale::Linear, from_zero, of };
    loss(runs).put(html)?;
    if runs.iter().any(|run| run.log.evaluations.len() > 1) {
        evaluations(runs).put(html)?;
    }
    let norm = Curve { scale: norm_scale(runs), ..curve("Gradient norm, before clipping", false, |s| s.grad_norm) };
    plate(runs, &curve("Learning rate", true, |s| s.lr)).put(html)?;
    let mut norms = plate(runs, &norm);
    if norm.scale == Scale::Log {
        norms.note.insert_str(0, "Logarithmic scale. ");
    }
    norms.put(html)?;
    plate(runs, &curve("Tokens a second", true, Step::tokens_per_second)).put(html)?;
    memory(runs).put(html)?;
    if runs.iter().any(|run| run.log.steps.iter().any(|step| step.site_error.is_some())) {
        let error = |step: &Step| step.site_error.unwrap_or(f64::NAN);
        let mut plate = plate(runs, &curve("Relative error of what is kept where errors propagate", true, error));
        plate.note += "Gradients were close to exact below 0.15 where that was measured.";
        plate.put(html)?;
    }
    html.raw("</div>\n");
    for run in runs {
        table(html, run, runs.len() > 1);
    }
    Ok(())
}

/// A line for each run.
fn plate(runs: &[Run], curve: &Curve) -> Plate {
    let mut thinned = Thinned::default();
    let marks = runs.iter().enumerate().map(|(at, run)| {
        let (colour, points) = (run_colour(at), thinned.points(run, curve.of));
        // Runs may do the same, step by step: the first of several is to be seen below the others.
        if at == 0 && runs.len() > 1 {
            Mark::Under { colour, points }
        } else {
            Mark::Line { colour, points, stroke: Stroke::Solid }
        }
    });
    let marks = marks.collect();
    let mut y = Axis::new("", curve.scale);
    if curve.from_zero {
        y.cover = Some((0.0, 0.0));
    }
    let figure = Figure { label: format!("{} by step", curve.title), x: step_axis(runs), y, rows: Vec::new(), marks };
    Plate { title: curve.title.into(), legend: runs_legend(runs), figure, note: thinned.note() }
}

/// Loss of the steps, and of the evaluations.
fn loss(runs: &[Run]) -> Plate {
    let curve = Curve { title: "Loss", scale: Scale::Linear, from_zero: false, of: |s| s.loss };
    let mut plate = plate(runs, &curve);
    let one = runs.len() == 1;
    let mut any = false;
    for (at, run) in runs.iter().enumerate() {
        let evaluations: Vec<_> = run.log.evaluations.iter().map(|e| (e.step as f64, e.loss)).collect();
        let (points, _) = thin(&evaluations);
        if points.is_empty() {
            continue;
        }
        any = true;
        let colour = if one { 1 } else { run_colour(at) };
        plate.figure.marks.push(Mark::Line { colour, points: points.clone(), stroke: Stroke::Dashed });
        plate.figure.marks.push(Mark::Dots { colour, points });
    }
    if any && one {
        plate.legend = vec![(0, "training".into()), (1, "evaluation".into())];
    } else if any {
        plate.note += "Dashed: evaluations.";
    }
    plate
}

/// Loss of the evaluations alone: beside the first steps its changes are hard to see.
fn evaluations(runs: &[Run]) -> Plate {
    let marks = runs.iter().enumerate().map(|(at, run)| {
        let points: Vec<_> = run.log.evaluations.iter().map(|e| (e.step as f64, e.loss)).collect();
        let colour = if runs.len() == 1 { 1 } else { run_colour(at) };
        Mark::Line { colour, points: thin(&points).0, stroke: Stroke::Solid }
    });
    let figure = Figure {
        label: "evaluation loss by step".into(),
        x: step_axis(runs),
        y: Axis::new("", Scale::Linear),
        rows: Vec::new(),
        marks: marks.collect(),
    };
    Plate { title: "Loss of the evaluations".into(), legend: runs_legend(runs), figure, note: String::new() }
}

/// Peak of activations and what was kept.
fn memory(runs: &[Run]) -> Plate {
    let peak = Curve {
        title: "Activations (MB): peak of each step",
        scale: Scale::Linear,
        from_zero: true,
        of: |s| s.peak_activation_bytes as f64 / 1e6,
    };
    let mut plate = plate(runs, &peak);
    let one = runs.len() == 1;
    for (at, run) in runs.iter().enumerate() {
        let (points, _) = thin(&series(run, |s| s.saved_bytes as f64 / 1e6));
        let colour = if one { 1 } else { run_colour(at) };
        plate.figure.marks.push(Mark::Line { colour, points, stroke: Stroke::Dashed });
    }
    if one {
        plate.title = "Activations of each step (MB)".into();
        plate.legend = vec![(0, "peak".into()), (1, "kept for backward when forward ends".into())];
    } else {
        plate.note += "Dashed: kept for backward when forward ends.";
    }
    plate
}

/// Logarithmic where norms differ much.
fn norm_scale(runs: &[Run]) -> Scale {
    let norms = || runs.iter().flat_map(|run| &run.log.steps).map(|s| s.grad_norm).filter(|n| *n > 0.0);
    let (least, most) = (norms().fold(f64::MAX, f64::min), norms().fold(0.0, f64::max));
    if most > 20.0 * least { Scale::Log } else { Scale::Linear }
}

fn step_axis(runs: &[Run]) -> Axis {
    let mut axis = Axis::new("step", Scale::Linear);
    let steps = || runs.iter().flat_map(|run| &run.log.steps).map(|step| step.step);
    let (first, last) = (steps().min().unwrap_or(1), steps().max().unwrap_or(1));
    if last - first < 8 {
        axis.ticks = (first..=last).map(|step| step as f64).collect();
    }
    axis
}

fn series(run: &Run, of: fn(&Step) -> f64) -> Vec<(f64, f64)> {
    run.log.steps.iter().map(|step| (step.step as f64, of(step))).collect()
}

/// How coarsely series were drawn.
#[derive(Default)]
struct Thinned {
    stretch: usize,
}

impl Thinned {
    fn points(&mut self, run: &Run, of: fn(&Step) -> f64) -> Vec<(f64, f64)> {
        let (points, stretch) = thin(&series(run, of));
        self.stretch = self.stretch.max(stretch);
        points
    }

    fn note(&self) -> String {
        if self.stretch < 2 {
            return String::new();
        }
        format!("Of every {} steps the least and the greatest value are drawn. ", self.stretch)
    }
}

/// The numbers, for who wants to read them.
fn table(html: &mut Html, run: &Run, named: bool) {
    let steps = &run.log.steps;
    let every = steps.len().div_ceil(MOST_ROWS).max(1);
    let title = match (named, every) {
        (false, 1) => "Every step in numbers".to_owned(),
        (false, _) => format!("Steps in numbers: one in {every}, and the last"),
        (true, 1) => format!("{}: every step in numbers", run.name),
        (true, _) => format!("{}: steps in numbers, one in {every}, and the last", run.name),
    };
    let errors = steps.iter().any(|step| step.site_error.is_some());
    html.raw("<details>").element("summary", title).raw("<div class=scroll><table class=steps><thead><tr>");
    for head in ["step", "loss", "lr", "gradient norm", "tokens", "seconds", "tokens/s", "kept", "peak"] {
        html.element("th class=num", head);
    }
    if errors {
        html.element("th class=num", "site error");
    }
    html.raw("</tr></thead>\n<tbody>\n");
    let shown = steps.iter().enumerate().filter(|(at, _)| at % every == 0 || at + 1 == steps.len());
    for (_, step) in shown {
        html.inside("tr", |html| {
            for cell in [
                step.step.to_string(),
                format!("{:.6}", step.loss),
                format!("{:.4e}", step.lr),
                format!("{:.5}", step.grad_norm),
                step.tokens.to_string(),
                format!("{:.3}", step.seconds),
                format!("{:.1}", step.tokens_per_second()),
                bytes(step.saved_bytes),
                bytes(step.peak_activation_bytes),
            ] {
                html.element("td class=num", cell);
            }
            if errors {
                html.element("td class=num", step.site_error.map_or_else(|| "-".into(), |error| format!("{error:.5}")));
            }
        });
        html.raw("\n");
    }
    html.raw("</tbody></table></div></details>\n");
}
