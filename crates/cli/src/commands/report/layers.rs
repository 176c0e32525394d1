//! By layer: how closely activations were kept, and how close gradients were to the exact ones. From the audits of a run.

use std::collections::BTreeMap;

use anyhow::Result;

use super::audits::Audited;
use super::html::Html;
use super::plate::{Plate, legend, run_colour, runs_legend};
use super::run::Run;
use super::thin::thin;
use crate::plot::{Axis, Figure, Mark, Scale, Stroke};

/// Writes what the audits found, or how to have some.
pub fn put(html: &mut Html, runs: &[Run]) -> Result<()> {
    html.raw("<h2>Fidelity by layer</h2>\n");
    for run in runs.iter().filter(|run| run.audits.is_empty()) {
        no_audits(html, run, runs.len() > 1);
    }
    let audited: Vec<(usize, &Run, &Audited)> =
        runs.iter().enumerate().filter_map(|(at, run)| Some((at, run, run.audits.last()?))).collect();
    if audited.is_empty() {
        return Ok(());
    }
    html.raw("<div class=figures>\n");
    cosines_by_step(runs).put(html)?;
    let most =
        audited.iter().flat_map(|(_, _, audit)| &audit.sites).map(|site| site.relative_error).fold(0.0, f64::max);
    for (_, run, audit) in &audited {
        if !audit.sites.is_empty() {
            errors_by_layer(run, audit, most, runs.len() > 1).put(html)?;
        }
    }
    html.raw("</div>\n");
    for (at, run, audit) in audited {
        html.inside("h3", |html| {
            if runs.len() > 1 {
                legend(html, &[(run_colour(at), run.name.clone())]);
            }
            html.text(format!("Cosine of each gradient to the exact one, step {}", audit.step));
        });
        heat(html, audit);
    }
    Ok(())
}

/// How to have audits.
fn no_audits(html: &mut Html, run: &Run, several: bool) {
    let name = if several { format!("{}: ", run.name) } else { String::new() };
    let account = &run.account;
    let none_compressed = account.config.get("sites").and_then(|sites| sites.as_array()).is_some_and(Vec::is_empty);
    if none_compressed {
        html.element(
            "p",
            format!("{name}Everything is kept exactly, so gradients are exact: there is nothing to audit."),
        );
        return;
    }
    html.inside("p", |html| {
        html.text(format!("{name}This run was not audited. ")).element("code", "loract train … --audit-every 50");
        html.text(" compares the gradient with the exact one every 50 steps, for the time of one more step each; for the adapter as it is now: ");
        let or = |key: &str, other: &str| account.setting(key).unwrap_or_else(|| other.to_owned());
        html.element("code", format!(
            "loract inspect gradients --model {} --data {} --adapter {}",
            or("model", "MODEL"), or("data", "DATA"), run.folder.display()
        ));
        html.text(" with the run's own flags.");
    });
}

/// Of all gradients together, at each audit.
fn cosines_by_step(runs: &[Run]) -> Plate {
    let marks = runs.iter().enumerate().filter(|(_, run)| !run.audits.is_empty()).map(|(at, run)| {
        let points: Vec<_> = run.audits.iter().map(|audit| (audit.step as f64, audit.whole.cosine)).collect();
        Mark::Line { colour: run_colour(at), points: thin(&points).0, stroke: Stroke::Solid }
    });
    let last = |run: &Run| {
        let audit = run.audits.last()?;
        let name = if runs.len() > 1 { format!("{}, ", run.name) } else { String::new() };
        let (cosine, error) = (audit.whole.cosine, audit.whole.relative_error);
        Some(format!("{name}step {}: cosine {cosine:.4}, relative error {error:.4}.", audit.step))
    };
    let note = runs.iter().filter_map(last).collect::<Vec<_>>().join(" ");
    let figure = Figure {
        label: "gradient cosine by step".into(),
        x: whole_numbers("step", runs.iter().flat_map(|run| &run.audits).map(|audit| audit.step as usize)),
        y: Axis { cover: Some((1.0, 1.0)), ..Axis::new("", Scale::Linear) },
        rows: Vec::new(),
        marks: marks.collect(),
    };
    Plate { title: "Cosine of the gradient to the exact one".into(), legend: runs_legend(runs), figure, note }
}

/// An axis of whole numbers: few of them are ticks themselves.
fn whole_numbers(label: &str, numbers: impl Iterator<Item = usize>) -> Axis {
    let mut few: Vec<usize> = numbers.collect();
    few.sort_unstable();
    few.dedup();
    let mut axis = Axis::new(label, Scale::Linear);
    if few.len() <= 8 {
        axis.ticks = few.into_iter().map(|number| number as f64).collect();
    }
    axis
}

/// A line for each site.
fn errors_by_layer(run: &Run, audit: &Audited, most: f64, several: bool) -> Plate {
    // Several tensors of a site and layer, such as gate and up, are one point: the root of their mean square.
    let mut squares: BTreeMap<&str, BTreeMap<usize, Vec<f64>>> = BTreeMap::new();
    let mut elsewhere = Vec::new();
    for site in &audit.sites {
        match site.layer {
            Some(layer) => {
                let of_site = squares.entry(site.site.as_str()).or_default();
                of_site.entry(layer).or_default().push(site.relative_error.powi(2));
            }
            None => elsewhere.push(format!("{} {:.4}", site.site, site.relative_error)),
        }
    }
    let mut legend = Vec::new();
    let mut marks = Vec::new();
    for (name, layers) in squares {
        let (_, (_, colour)) = super::memory::by_site(&format!("saved.{name}.any")).unwrap_or((0, ("", 0)));
        let mean = |squares: Vec<f64>| (squares.iter().sum::<f64>() / squares.len() as f64).sqrt();
        let points = layers.into_iter().map(|(layer, squares)| (layer as f64, mean(squares))).collect();
        marks.push(Mark::Line { colour, points, stroke: Stroke::Solid });
        legend.push((colour, name.to_owned()));
    }
    let whose = if several { format!("{}, ", run.name) } else { String::new() };
    let figure = Figure {
        label: "relative error of what is kept, by layer".into(),
        x: whole_numbers("layer", audit.sites.iter().filter_map(|site| site.layer)),
        y: Axis { cover: Some((0.0, most)), ..Axis::new("", Scale::Linear) },
        rows: Vec::new(),
        marks,
    };
    let note =
        if elsewhere.is_empty() { String::new() } else { format!("Outside the layers: {}.", elsewhere.join(", ")) };
    Plate { title: format!("Relative error of what is kept, {whose}step {}", audit.step), legend, figure, note }
}

/// Layer and column of a parameter: `…layers.3.self_attn.q_proj.lora_A.weight` is (3, "q_proj A").
fn place(param: &str) -> Option<(usize, String)> {
    let parts: Vec<&str> = param.split('.').collect();
    let at = parts.iter().position(|part| *part == "layers")?;
    let layer = parts.get(at + 1)?.parse().ok()?;
    let words: Vec<&str> = parts[at + 2..]
        .iter()
        .filter(|part| !["self_attn", "mlp", "weight", "default"].contains(*part))
        .map(|part| part.trim_start_matches("lora_"))
        .collect();
    (!words.is_empty()).then(|| (layer, words.join(" ")))
}

/// A table of cosines by layer and projection, the darker the farther from 1, on a log scale of 1 − cosine.
fn heat(html: &mut Html, audit: &Audited) {
    let mut columns: Vec<String> = Vec::new();
    let mut rows: BTreeMap<usize, BTreeMap<usize, f64>> = BTreeMap::new();
    let mut elsewhere = Vec::new();
    for param in &audit.params {
        let Some((layer, column)) = place(&param.param) else {
            elsewhere.push(format!("{} {:.4}", param.param, param.cosine));
            continue;
        };
        let at = columns.iter().position(|name| *name == column).unwrap_or_else(|| {
            columns.push(column);
            columns.len() - 1
        });
        rows.entry(layer).or_default().insert(at, param.cosine);
    }
    html.raw("<div class=scroll><table class=cosines><thead><tr><th>layer");
    for column in &columns {
        html.element("th class=num", column);
    }
    html.raw("</tr></thead>\n<tbody>\n");
    for (layer, row) in rows {
        html.inside("tr", |html| {
            html.element("th", layer);
            for at in 0..columns.len() {
                match row.get(&at) {
                    Some(cosine) => {
                        let shade = ((1.0 - cosine).clamp(1e-4, 1.0).log10() + 4.0) / 4.0;
                        html.shaded(0.6 * shade, format!("{cosine:.4}"));
                    }
                    None => {
                        html.element("td class=num", "-");
                    }
                }
            }
        });
        html.raw("\n");
    }
    html.raw("</tbody></table></div>\n<p class=note>The darker, the farther from 1, on a log scale.");
    if !elsewhere.is_empty() {
        html.text(format!(" Outside the layers: {}.", elsewhere.join(", ")));
    }
    html.raw("</p>\n");
}

#[cfg(test)]
mod tests {
    use super::place;

    #[test]
    fn parameters_have_a_layer_and_a_column() {
        let of = |name: &str| place(name).map(|(layer, column)| format!("{layer} {column}"));
        let pair = "base_model.model.model.layers.3.self_attn.q_proj.lora_A.weight";
        assert_eq!(of(pair).as_deref(), Some("3 q_proj A"));
        assert_eq!(of("model.layers.0.input_layernorm.weight").as_deref(), Some("0 input_layernorm"));
        assert_eq!(of("model.norm.weight"), None);
    }
}
