//! The table, the object and the charts of `loract bench scaling`.

use anyhow::Result;
use serde_json::{Value, json};

use super::{Along, Findings, Measured, Point};
use crate::output::bytes;
use crate::plot::{Axis, Chart, Line, Scale, Stroke};

impl Along {
    fn name(self) -> &'static str {
        match self {
            Along::Tokens => "tokens",
            Along::Layers => "layers",
        }
    }

    fn of(self, point: &Point) -> usize {
        match self {
            Along::Tokens => point.tokens,
            Along::Layers => point.layers,
        }
    }
}

/// Everything as text: what a step took, and what that is for each token and layer.
pub fn table(findings: &Findings) -> String {
    let mut text = format!(
        "rows of {}, LoRA r={}, {} threads, median of {} rounds\n\n{:>9}{:>8}  {:<17}{:>10}{:>10}{:>10}{:>16}{:>10}\n",
        findings.rows,
        findings.lora_rank,
        findings.threads,
        findings.rounds,
        "tokens",
        "layers",
        "activations",
        "a step",
        "tokens/s",
        "saved",
        "peak",
        "a token"
    );
    for point in &findings.points {
        let tokens = findings.rows * point.tokens;
        for (name, m) in findings.presets.iter().zip(&point.measured) {
            text += &format!(
                "{:>9}{:>8}  {name:<17}{:>8.2} s{:>10.0}{:>10}{:>16}{:>10}\n",
                point.tokens,
                point.layers,
                m.seconds,
                tokens as f64 / m.seconds,
                bytes(m.saved_bytes),
                bytes(m.peak_activation_bytes),
                bytes(m.peak_activation_bytes / tokens),
            );
        }
    }
    text
}

/// Everything as an object.
pub fn to_json(findings: &Findings) -> Value {
    let points: Vec<Value> = findings
        .points
        .iter()
        .map(|point| {
            let each = findings.presets.iter().zip(&point.measured).map(|(name, m)| {
                json!({
                    "activations": name, "seconds": m.seconds, "saved_bytes": m.saved_bytes,
                    "peak_activation_bytes": m.peak_activation_bytes,
                })
            });
            json!({
                "along": point.along.name(), "tokens": point.tokens, "layers": point.layers, "load": point.load,
                "settings": each.collect::<Vec<_>>(),
            })
        })
        .collect();
    json!({
        "model": findings.model, "rows": findings.rows, "threads": findings.threads, "rounds": findings.rounds,
        "lora_rank": findings.lora_rank, "points": points,
    })
}

/// Time and peak along each series of more than one point, by file name.
pub fn charts(findings: &Findings) -> Result<Vec<(String, String)>> {
    let mut all = Vec::new();
    for along in [Along::Tokens, Along::Layers] {
        let points: Vec<&Point> = findings.points.iter().filter(|point| point.along == along).collect();
        let [first, _, ..] = points.as_slice() else { continue };
        let fixed = match along {
            Along::Tokens => format!("{} layers", first.layers),
            Along::Layers => format!("{} tokens a row", first.tokens),
        };
        let seconds: fn(&Measured) -> f64 = |m| m.seconds;
        let peak = |m: &Measured| m.peak_activation_bytes as f64 / 1e6;
        for (name, label, quantity) in
            [("time", "seconds a step", seconds), ("memory", "peak of activations (MB)", peak)]
        {
            let line = |(at, preset): (usize, &String)| Line {
                name: preset.clone(),
                points: points.iter().map(|p| (along.of(p) as f64, quantity(&p.measured[at]))).collect(),
                stroke: Stroke::Solid,
            };
            let chart = Chart {
                title: format!("{label}, {} x rows, {fixed}", findings.rows),
                x: Axis::new(along.name(), Scale::Log),
                y: Axis::new(label, Scale::Log),
                lines: findings.presets.iter().enumerate().map(line).collect(),
            };
            all.push((format!("{name}-{}.svg", along.name()), chart.to_svg()?));
        }
    }
    Ok(all)
}
