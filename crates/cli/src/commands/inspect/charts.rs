//! Charts of spectra by site, and of the rank that holds a share of the energy against the layer.

use std::collections::BTreeMap;

use loract_train::capture::Place;

use super::activations::Findings;
use super::facts::Facts;
use crate::plot::{Axis, Chart, Line, Scale, Stroke};

/// More layers than this are shown by their quantiles.
const MOST_LINES: usize = 8;
/// σ below this share of σ_1 is not shown.
const FLOOR: f64 = 1e-4;

/// File names and charts.
pub fn all(findings: &Findings) -> Vec<(String, Chart)> {
    let mut charts = Vec::new();
    for (site, facts) in by_site(findings) {
        charts.push((format!("spectra-{site}.svg"), spectra(site, &facts)));
    }
    for (at, energy) in findings.energy.iter().enumerate() {
        charts.push((format!("rank-{energy}.svg"), ranks(findings, at, *energy)));
    }
    charts
}

/// Facts by site, in the order of a layer.
fn by_site(findings: &Findings) -> Vec<(&'static str, Vec<&Facts>)> {
    let mut sites: BTreeMap<usize, (&'static str, Vec<&Facts>)> = BTreeMap::new();
    for facts in &findings.activations {
        let at = Place::ALL.iter().position(|place| place.name() == facts.site).unwrap_or(Place::ALL.len());
        sites.entry(at).or_insert_with(|| (facts.site, Vec::new())).1.push(facts);
    }
    sites.into_values().collect()
}

/// σ_i/σ_1 against i/n: a line a layer, or quantiles over layers.
fn spectra(site: &str, facts: &[&Facts]) -> Chart {
    let relative: Vec<Vec<f64>> = facts
        .iter()
        .map(|f| {
            let largest = f.singular_values.first().copied().unwrap_or(0.0);
            f.singular_values.iter().map(|s| s / largest).collect()
        })
        .collect();
    let n = facts.first().map_or(1, |f| f.n.max(1));
    let points = |values: Vec<f64>| -> Vec<(f64, f64)> {
        let shown = values.into_iter().take_while(|&s| s >= FLOOR).enumerate();
        shown.map(|(i, s)| ((i + 1) as f64 / n as f64, s)).collect()
    };
    let line = |name: String, values, stroke| Line { name, points: points(values), stroke };
    let lines = if facts.len() <= MOST_LINES {
        let name = |f: &Facts| f.layer.map_or_else(|| "final".to_owned(), |layer| format!("layer {layer}"));
        facts.iter().zip(relative).map(|(f, values)| line(name(f), values, Stroke::Solid)).collect()
    } else {
        let quantile = |q: f64| -> Vec<f64> {
            let count = relative.iter().map(Vec::len).min().unwrap_or(0);
            (0..count)
                .map(|i| {
                    let mut at: Vec<f64> = relative.iter().map(|values| values[i]).collect();
                    at.sort_by(f64::total_cmp);
                    at[(q * (at.len() - 1) as f64).round() as usize]
                })
                .collect()
        };
        vec![
            line("largest of layers".into(), quantile(1.0), Stroke::Dashed),
            line("upper quartile".into(), quantile(0.75), Stroke::Solid),
            line("median of layers".into(), quantile(0.5), Stroke::Solid),
            line("lower quartile".into(), quantile(0.25), Stroke::Solid),
            line("smallest of layers".into(), quantile(0.0), Stroke::Dashed),
        ]
    };
    let (m, n) = facts.first().map_or((0, 0), |f| (f.m, f.n));
    Chart {
        title: format!("Singular values at {site}, {m} tokens x {n} features"),
        x: Axis::new("i / n (share of the features)", Scale::Linear),
        y: Axis::new("singular value i / largest", Scale::Log),
        lines,
    }
}

/// Rank for an energy, in percent of n, against the layer: a line a site.
fn ranks(findings: &Findings, at: usize, energy: f64) -> Chart {
    let lines = by_site(findings).into_iter().map(|(site, facts)| {
        let point = |f: &&Facts| Some((f.layer? as f64, 100.0 * f.rank_for_energy.get(at)?.share));
        Line { name: site.to_owned(), points: facts.iter().filter_map(point).collect(), stroke: Stroke::Solid }
    });
    let layers: Vec<f64> = findings.activations.iter().filter_map(|f| f.layer).map(|layer| layer as f64).collect();
    let mut x = Axis::new("layer", Scale::Linear);
    // Layers are whole numbers: few of them are ticks themselves.
    let mut few = layers.clone();
    few.sort_by(f64::total_cmp);
    few.dedup();
    if few.len() <= 12 {
        x.ticks = few;
    }
    Chart {
        title: format!("Rank that holds {energy} % of the energy, {} tokens", findings.tokens),
        x,
        y: Axis { cover: Some((0.0, 0.0)), ..Axis::new("rank (% of features)", Scale::Linear) },
        lines: lines.filter(|line| !line.points.is_empty()).collect(),
    }
}
