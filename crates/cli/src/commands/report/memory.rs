//! What was kept, at which site and in which form: when forward ends and at the peak, planned and measured.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use super::account::Memory;
use super::html::Html;
use super::plate::Plate;
use super::run::Run;
use super::tables::{resident_table, sites_table};
use crate::plot::{Axis, Figure, INK, Mark, Scale};

/// The most letters of a run's name beside its bars.
const NAME: usize = 22;

/// A share of bytes that has its own colour: a name, and the colour.
pub type Group = (&'static str, usize);

/// Some of them only in some models.
const ALWAYS_EXACT: Group = ("lora_xa, row_stats, loss_grad, clamped, layer_scale, pixels", 9);

/// Sites in the order in which they are stacked, with their colours. What is kept exactly in every setting is one group.
const SITES: [(&[&str], Group); 12] = [
    (&["norm"], ("norm", 0)),
    (&["attn_in"], ("attn_in", 4)),
    (&["attn_qkv"], ("attn_qkv", 1)),
    (&["attn_out"], ("attn_out", 5)),
    (&["mlp_in"], ("mlp_in", 2)),
    (&["act_fn"], ("act_fn", 3)),
    (&["mlp_out"], ("mlp_out", 7)),
    (&["ckpt_attn"], ("ckpt_attn", INK)),
    (&["ckpt_mlp"], ("ckpt_mlp", 10)),
    (&["ckpt_layer"], ("ckpt_layer", 11)),
    (&["lora_xa", "row_stats", "loss_grad", "clamped", "layer_scale", "pixels"], ALWAYS_EXACT),
    (&["transient"], ("transient: values on their way, scratch", 8)),
];

const FORMS: [(&[&str], Group); 6] = [
    (&["exact"], ("exact", 0)),
    (&["bf16"], ("bf16", 4)),
    (&["quantised"], ("quantised", 5)),
    (&["low_rank"], ("low-rank factors", 2)),
    (&["hybrid"], ("low-rank factors and quantised residual", 1)),
    (&["transient"], ("transient, in f32", 8)),
];

/// What has a name that this version does not know.
const OTHER: Group = ("other", INK);

/// A category of the ledger, `saved.SITE.FORM` or `transient`: its site and form; `None` if it is no activation.
pub fn site_and_form(category: &str) -> Option<(&str, &str)> {
    match category.strip_prefix("saved.") {
        Some(kept) => kept.split_once('.'),
        None if category == "transient" => Some((category, category)),
        None => None,
    }
}

fn group_of(groups: &[(&[&str], Group)], name: &str) -> (usize, Group) {
    let at = groups.iter().position(|(names, _)| names.contains(&name));
    at.map_or((groups.len(), OTHER), |at| (at, groups[at].1))
}

/// The group of a category by its site, and its place in the stack; `None` if it is no activation.
pub fn by_site(category: &str) -> Option<(usize, Group)> {
    Some(group_of(&SITES, site_and_form(category)?.0))
}

pub fn by_form(category: &str) -> Option<(usize, Group)> {
    Some(group_of(&FORMS, site_and_form(category)?.1))
}

/// Writes bars and tables.
pub fn put(html: &mut Html, runs: &[Run]) -> Result<()> {
    html.raw("<h2>Memory by site and form</h2>\n");
    for run in runs {
        if let (Some(step), Some(_)) = (run.account.memory_step, &run.account.memory) {
            let name = if runs.len() > 1 { format!("{}: ", run.name) } else { String::new() };
            html.element("p class=note", format!("{name}Step {step} took the most; these are its bytes."));
        }
    }
    let known: Vec<(&Run, &Memory)> = runs.iter().filter_map(|run| Some((run, run.account.memory.as_ref()?))).collect();
    if known.is_empty() {
        html.element(
            "p",
            "Not known yet: it is written with a checkpoint (--save-every), and when the run has finished.",
        );
        return Ok(());
    }
    html.raw("<div class=figures>\n");
    bars(&known, runs.len() > 1, "by site", by_site).put(html)?;
    bars(&known, runs.len() > 1, "by form", by_form).put(html)?;
    html.raw("</div>\n");
    for (run, memory) in known {
        if runs.len() > 1 {
            html.element("h3", &run.name);
        }
        html.inside("div class=tables", |html| {
            sites_table(html, run, memory);
            resident_table(html, run, memory);
        });
    }
    Ok(())
}

type Grouping = fn(&str) -> Option<(usize, Group)>;

/// Bytes of each group, in the order of the groups.
type Groups = BTreeMap<(usize, Group), usize>;

/// For each run what is kept and what there is at the peak, each planned and measured.
fn bars(known: &[(&Run, &Memory)], several: bool, what: &str, grouping: Grouping) -> Plate {
    let mut rows: Vec<(String, Groups)> = Vec::new();
    for (run, memory) in known {
        let planned = run.account.planned.as_ref();
        let parts = [
            ("kept", Some(&memory.saved)),
            ("kept, planned", planned.map(|planned| &planned.saved)),
            ("at the peak", Some(&memory.at_peak)),
            ("at the peak, planned", planned.map(|planned| &planned.at_peak)),
        ];
        for (name, bytes) in parts.into_iter().filter_map(|(name, bytes)| Some((name, bytes?))) {
            let name = if several { format!("{}, {name}", short(&run.name)) } else { name.to_owned() };
            let mut groups = Groups::new();
            for (category, bytes) in bytes {
                if let Some(group) = grouping(category) {
                    *groups.entry(group).or_default() += bytes;
                }
            }
            rows.push((name, groups));
        }
    }
    let most = rows.iter().map(|(_, groups)| groups.values().sum::<usize>()).max().unwrap_or(0);
    let (unit, unit_name) = unit(most);
    let mut marks = Vec::new();
    for (row, (_, groups)) in rows.iter().enumerate() {
        let mut from = 0.0;
        for ((_, (_, colour)), bytes) in groups {
            let to = from + *bytes as f64 / unit;
            marks.push(Mark::Bar { colour: *colour, row, from, to });
            from = to;
        }
    }
    let groups: BTreeSet<_> = rows.iter().flat_map(|(_, groups)| groups.keys()).collect();
    let title = format!("Activations {what} ({unit_name})");
    let figure = Figure {
        label: title.clone(),
        x: Axis { cover: Some((0.0, 0.0)), ..Axis::new(unit_name, Scale::Linear) },
        y: Axis::new("", Scale::Linear),
        rows: rows.iter().map(|(name, _)| name.clone()).collect(),
        marks,
    };
    let legend = groups.into_iter().map(|(_, (name, colour))| (*colour, (*name).to_owned())).collect();
    Plate { title, legend, figure, note: "Kept: for backward, when forward ends.".into() }
}

fn short(name: &str) -> String {
    let letters = name.chars().count();
    if letters <= NAME {
        return name.to_owned();
    }
    // The end of a name tells runs apart more often.
    format!("…{}", name.chars().skip(letters - NAME + 1).collect::<String>())
}

/// The unit in which `most` bytes are shown along an axis.
pub fn unit(most: usize) -> (f64, &'static str) {
    match most {
        m if m >= 2_000_000_000 => (1e9, "GB"),
        m if m >= 2_000_000 => (1e6, "MB"),
        m if m >= 2_000 => (1e3, "kB"),
        _ => (1.0, "bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn categories_are_told_by_site_and_form() {
        assert_eq!(site_and_form("saved.norm.hybrid"), Some(("norm", "hybrid")));
        assert_eq!(site_and_form("frozen_weights"), None);
        for site in ["lora_xa", "row_stats", "loss_grad", "clamped", "layer_scale", "pixels"] {
            assert_eq!(by_site(&format!("saved.{site}.exact")).map(|(_, group)| group), Some(ALWAYS_EXACT), "{site}");
        }
        assert_eq!(
            by_form("saved.norm.hybrid").map(|(_, (name, _))| name),
            Some("low-rank factors and quantised residual")
        );
        assert_eq!(by_site("saved.later.exact"), Some((SITES.len(), OTHER)));
        assert_eq!(short("a-name-that-is-much-too-long-to-be-shown"), "…-too-long-to-be-shown");
    }
}
