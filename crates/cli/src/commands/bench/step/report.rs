//! The tables: seconds and ratios a setting, its time by part, and what it takes more than `exact`, part by part.

use std::collections::BTreeMap;

use loract_autograd::{Part, Profile};
use serde_json::{Value, json};

use super::products::{Products, Shape, operations};
use super::{Contestant, Findings};
use crate::output::bytes;

/// Kinds of parts, as columns.
const KINDS: [&str; 7] = ["products", "attention", "other ops", "compress", "read", "optimiser", "rest"];

fn kind(part: Part) -> usize {
    match part {
        Part::Products => 0,
        Part::Op("attention") => 1,
        Part::Op("adamw") => 5,
        Part::Op(_) => 2,
        Part::Compress(_) => 3,
        Part::Read(_) => 4,
        Part::Other => 6,
    }
}

fn by_kind(profile: &Profile) -> [f64; 7] {
    let mut sums = [0.0; 7];
    for (part, time) in &profile.time {
        sums[kind(*part)] += time.as_secs_f64();
    }
    sums
}

fn name(part: Part) -> String {
    match part {
        Part::Other => "rest".to_owned(),
        Part::Products => "products".to_owned(),
        Part::Op(op) => op.to_owned(),
        Part::Compress(site) => format!("compress {}", site.name()),
        Part::Read(site) => format!("read {}", site.name()),
    }
}

/// Seconds of each part more than in `exact`, the largest first.
fn extra(contestant: &Contestant, exact: &Contestant) -> Vec<(String, f64)> {
    let mut seconds: BTreeMap<Part, f64> = BTreeMap::new();
    for (profile, sign) in [(&contestant.median().profile, 1.0), (&exact.median().profile, -1.0)] {
        for (part, time) in &profile.time {
            *seconds.entry(*part).or_default() += sign * time.as_secs_f64();
        }
    }
    let mut all: Vec<_> = seconds.into_iter().map(|(part, seconds)| (name(part), seconds)).collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1));
    all
}

/// Median, least and largest ratio of two series, round by round.
fn ratios(ours: impl Iterator<Item = f64>, theirs: impl Iterator<Item = f64>) -> (f64, f64, f64) {
    let mut all: Vec<f64> = ours.zip(theirs).map(|(a, b)| a / b).collect();
    all.sort_by(f64::total_cmp);
    let at = |index: usize| all.get(index).copied().unwrap_or(f64::NAN);
    (at(all.len() / 2), at(0), at(all.len().saturating_sub(1)))
}

/// 1.23 s, 45.6 ms.
fn time(seconds: f64) -> String {
    if seconds.abs() >= 1.0 { format!("{seconds:.2} s") } else { format!("{:.1} ms", 1e3 * seconds) }
}

fn seconds(contestant: &Contestant) -> impl Iterator<Item = f64> + '_ {
    contestant.rounds.iter().map(|round| round.seconds)
}

/// Everything as text.
pub fn table(findings: &Findings) -> String {
    let exact = &findings.contestants[0];
    let mut products = findings.limit.clone();
    products.sort_by(f64::total_cmp);
    let limit = products[products.len() / 2];
    let load = findings.load.map_or_else(String::new, |load| format!(", load {load}"));
    let mut text = format!(
        "{} rows, {} tokens, LoRA r={}, {} threads, {} rounds in turn{load}\n\
         matrix products of exact alone: {}, {:.0} GFLOP/s\n\n",
        findings.rows,
        findings.tokens,
        findings.lora_rank,
        findings.threads,
        exact.rounds.len(),
        time(limit),
        findings.products.operations() / limit / 1e9,
    );
    text += &format!(
        "{:<17}{:>8}{:>20}{:>12}{:>10}{:>10}{:>10}\n",
        "activations", "a step", "/ exact (min-max)", "/ products", "tokens/s", "saved", "peak"
    );
    for contestant in &findings.contestants {
        let median = contestant.median().seconds;
        let (ratio, least, most) = ratios(seconds(contestant), seconds(exact));
        let (over, ..) = ratios(seconds(contestant), findings.limit.iter().copied());
        text += &format!(
            "{:<17}{:>8}{:>20}{over:>12.2}{:>10.0}{:>10}{:>10}\n",
            contestant.name,
            time(median),
            format!("{ratio:.3} ({least:.2}-{most:.2})"),
            findings.tokens as f64 / median,
            bytes(contestant.saved_bytes),
            bytes(contestant.peak_activation_bytes),
        );
    }
    text += &format!("\n{:<17}", "time in");
    for kind in KINDS {
        text += &format!("{kind:>11}");
    }
    for contestant in &findings.contestants {
        text += &format!("\n{:<17}", contestant.name);
        for seconds in by_kind(&contestant.median().profile) {
            text += &format!("{:>11}", time(seconds));
        }
    }
    for contestant in &findings.contestants[1..] {
        text += &format!("\n\n{} takes more than exact:", contestant.name);
        for (part, seconds) in extra(contestant, exact) {
            if seconds.abs() >= 5e-4 {
                text += &format!("\n  {part:<22}{:>9}", time(seconds));
            }
        }
    }
    text
}

/// Everything as an object.
pub fn to_json(findings: &Findings) -> Value {
    let exact = &findings.contestants[0];
    let contestants: Vec<Value> = findings
        .contestants
        .iter()
        .map(|contestant| {
            let (ratio, least, most) = ratios(seconds(contestant), seconds(exact));
            let (over, ..) = ratios(seconds(contestant), findings.limit.iter().copied());
            let median = contestant.median();
            let parts: BTreeMap<String, f64> =
                median.profile.time.iter().map(|(part, time)| (name(*part), time.as_secs_f64())).collect();
            json!({
                "activations": contestant.name,
                "seconds": seconds(contestant).collect::<Vec<_>>(),
                "median_seconds": median.seconds,
                "to_exact": { "median": ratio, "least": least, "most": most },
                "to_products": over,
                "saved_bytes": contestant.saved_bytes,
                "peak_activation_bytes": contestant.peak_activation_bytes,
                "seconds_in": parts,
            })
        })
        .collect();
    json!({
        "model": findings.model,
        "rows": findings.rows,
        "tokens": findings.tokens,
        "lora_rank": findings.lora_rank,
        "threads": findings.threads,
        "load": findings.load,
        "products_seconds": findings.limit,
        "products_operations": findings.products.operations(),
        "products": shapes(&findings.products),
        "settings": contestants,
    })
}

/// Each shape of a product: how often it runs, and how fast.
fn shapes(products: &Products) -> Vec<Value> {
    let each = products.shapes.iter().map(|Shape { product: p, count, seconds }| {
        let seconds = seconds / products.rounds as f64;
        json!({
            "m": p.m, "n": p.n, "k": p.k, "left_transposed": p.left_transposed, "right_transposed": p.right_transposed, "weight_rank": p.weight, "bits": p.bits,
            "count": count, "seconds": seconds, "gflops": operations(p) / seconds / 1e9,
        })
    });
    each.collect()
}
