//! Memory in numbers: by site and form, and what stays from step to step.

use std::collections::{BTreeMap, BTreeSet};

use super::account::Memory;
use super::html::Html;
use super::memory::{by_form, by_site, site_and_form};
use super::run::Run;
use super::summary::beside_plan;
use crate::output::bytes;

/// Every site and form, when forward ends and at the peak, each planned and measured.
pub fn sites_table(html: &mut Html, run: &Run, memory: &Memory) {
    let planned = run.account.planned.as_ref();
    let maps = [
        Some(&memory.saved),
        planned.map(|planned| &planned.saved),
        Some(&memory.at_peak),
        planned.map(|planned| &planned.at_peak),
    ];
    let mut categories: Vec<&String> = maps.iter().flatten().flat_map(|map| map.keys()).collect();
    categories.retain(|category| site_and_form(category).is_some());
    categories.sort_by_key(|category| (by_site(category).map(|(at, _)| at), category.as_str()));
    categories.dedup();
    html.raw("<div class=scroll><table class=sites><thead><tr><th>site<th>form<th class=num>kept<th class=num>planned");
    html.raw("<th class=num>at the peak<th class=num>planned</tr></thead>\n<tbody>\n");
    for category in categories {
        let Some((site, form)) = site_and_form(category) else { continue };
        row(html, site, by_form(category).map_or(form, |(_, (name, _))| name), maps, |map| {
            map.get(category).copied().unwrap_or(0)
        });
    }
    for (site, why) in again(run) {
        html.inside("tr", |html| {
            html.element("td", site).element("td", why).element("td class=num", "0 B");
            html.raw("<td><td><td>");
        });
    }
    html.raw("<tr class=sum>");
    let all = |map: &BTreeMap<String, usize>| {
        map.iter().filter(|(category, _)| site_and_form(category).is_some()).map(|(_, bytes)| bytes).sum()
    };
    cells(html, "all", "", maps, all);
    html.raw("</tr>\n</tbody></table></div>\n");
}

type Maps<'a> = [Option<&'a BTreeMap<String, usize>>; 4];

fn row(html: &mut Html, site: &str, form: &str, maps: Maps<'_>, of: impl Fn(&BTreeMap<String, usize>) -> usize) {
    html.inside("tr", |html| cells(html, site, form, maps, of));
    html.raw("\n");
}

fn cells(html: &mut Html, site: &str, form: &str, maps: Maps<'_>, of: impl Fn(&BTreeMap<String, usize>) -> usize) {
    html.element("td", site).element("td", form);
    for map in maps {
        html.element("td class=num", map.map_or_else(|| "-".into(), |map| bytes(of(map))));
    }
}

/// Sites at which nothing is kept, as it is computed again.
fn again(run: &Run) -> Vec<(String, &'static str)> {
    let forms = run.account.config.get("sites").and_then(|sites| sites.as_array()).into_iter().flatten();
    let mut found: Vec<_> = forms
        .filter_map(|form| form.as_str()?.strip_suffix("=again"))
        .map(|site| (site.to_owned(), "computed again in backward"))
        .collect();
    match run.account.setting("recompute").as_deref() {
        Some("layer") => found.push(("all within a layer".into(), "computed again in backward, a layer at a time")),
        Some("sublayer") => {
            found.push(("within attention and MLP".into(), "computed again in backward, a sub-layer at a time"));
        }
        Some("factored") => {
            found.push(("within attention and MLP".into(), "computed again in backward, from the factors"));
        }
        _ => {}
    }
    found
}

/// What stays from step to step, and the process.
pub fn resident_table(html: &mut Html, run: &Run, memory: &Memory) {
    html.raw("<div class=scroll><table><thead><tr><th>beside activations<th class=num>measured<th class=num>plan");
    html.raw("</tr></thead>\n<tbody>\n");
    let planned = run.account.planned.as_ref();
    let mut lines: Vec<(String, Option<usize>, Option<usize>)> = Vec::new();
    let names: BTreeSet<&String> =
        memory.resident.keys().chain(planned.iter().flat_map(|p| p.resident.keys())).collect();
    for name in names {
        // The optimiser's state is made by the first step: a step that was the largest and the first has none yet.
        let planned = planned.and_then(|planned| planned.resident.get(name).copied());
        lines.push((name.replace('_', " "), memory.resident.get(name).copied(), planned));
    }
    let account = &run.account;
    lines.push(("peak of the process".into(), account.process_peak_bytes, account.planned_process_peak_bytes));
    for (name, measured, planned) in lines.into_iter().filter(|(_, measured, planned)| measured.or(*planned).is_some())
    {
        html.inside("tr", |html| {
            html.element("td", name).element("td class=num", measured.map_or_else(|| "-".into(), bytes));
            html.element(
                "td class=num",
                match (measured, planned) {
                    (_, None) => "-".into(),
                    (None, Some(planned)) => bytes(planned),
                    (Some(measured), Some(planned)) => beside_plan(measured, planned),
                },
            );
        });
        html.raw("\n");
    }
    html.raw("</tbody></table></div>\n");
}
