//! Live activation bytes over the step that took the most: forward fills, backward empties, and where the peak is.

use std::collections::BTreeMap;

use anyhow::Result;

use super::account::Timeline;
use super::html::Html;
use super::memory::{Group, by_site, unit};
use super::plate::Plate;
use super::run::Run;
use crate::output::bytes;
use crate::plot::{Axis, Figure, INK, Mark, Scale, Stroke};

/// Begins of backward that are marked; a step of more micro-batches has too many.
const MOST_MARKED: usize = 8;

/// Writes a figure for each run, all with the same vertical axis.
pub fn put(html: &mut Html, runs: &[Run]) -> Result<()> {
    html.raw("<h2>Live over a step</h2>\n");
    let known: Vec<(&Run, &Timeline)> = runs
        .iter()
        .filter_map(|run| Some((run, run.account.timeline.as_ref()?)))
        .filter(|(_, timeline)| !timeline.phase.is_empty())
        .collect();
    for run in runs.iter().filter(|run| !known.iter().any(|(other, _)| std::ptr::eq(*run, *other))) {
        let name = if runs.len() > 1 { format!("{}: ", run.name) } else { String::new() };
        let why = if run.account.memory.is_some() {
            "Not recorded: the run was made by an earlier version"
        } else {
            "Not known yet: it is written with a checkpoint, and when the run has finished"
        };
        html.element("p class=note", format!("{name}{why}."));
    }
    let most = known.iter().map(|(_, timeline)| peak(timeline).1).max().unwrap_or(0);
    html.raw("<div class=figures>\n");
    for (run, timeline) in known {
        plate(run, timeline, most, runs.len() > 1).put(html)?;
    }
    html.raw("</div>\n");
    Ok(())
}

/// Live bytes of a moment.
fn total(timeline: &Timeline, at: usize) -> usize {
    timeline.bytes.values().map(|bytes| bytes[at]).sum()
}

/// The fullest moment, and its bytes.
fn peak(timeline: &Timeline) -> (usize, usize) {
    let mut peak = (0, 0);
    for at in 0..timeline.phase.len() {
        let bytes = total(timeline, at);
        if bytes > peak.1 {
            peak = (at, bytes);
        }
    }
    peak
}

fn plate(run: &Run, timeline: &Timeline, most: usize, several: bool) -> Plate {
    let (unit, unit_name) = unit(most);
    let moments = timeline.phase.len();
    let x = |at: usize| (at * timeline.changes_a_moment) as f64;
    let mut groups: BTreeMap<(usize, Group), Vec<f64>> = BTreeMap::new();
    for (category, bytes) in &timeline.bytes {
        let Some(group) = by_site(category) else { continue };
        let sums = groups.entry(group).or_insert_with(|| vec![0.0; moments]);
        sums.iter_mut().zip(bytes).for_each(|(sum, bytes)| *sum += *bytes as f64 / unit);
    }
    let mut below = vec![0.0; moments];
    let mut marks = Vec::new();
    for ((_, (_, colour)), bytes) in &groups {
        let points = (0..moments).map(|at| (x(at), below[at], below[at] + bytes[at])).collect();
        marks.push(Mark::Area { colour: *colour, points });
        below.iter_mut().zip(bytes).for_each(|(below, bytes)| *below += bytes);
    }
    let (at, bytes_at_peak) = peak(timeline);
    let begins: Vec<usize> =
        (1..moments).filter(|at| timeline.phase[at - 1] == "forward" && timeline.phase[*at] != "forward").collect();
    let top = 1.14 * most as f64 / unit;
    if begins.len() <= MOST_MARKED {
        for begin in &begins {
            marks.push(Mark::Line {
                colour: INK,
                points: vec![(x(*begin), 0.0), (x(*begin), top)],
                stroke: Stroke::Dashed,
            });
        }
    }
    let height = bytes_at_peak as f64 / unit;
    marks.push(Mark::Dots { colour: INK, points: vec![(x(at), height)] });
    marks.push(Mark::Note { at: (x(at), height), text: format!("peak {}", bytes(bytes_at_peak)) });
    let step = run.account.memory_step.map_or_else(String::new, |step| format!(", step {step}"));
    let title = if several {
        format!("{}{step} ({unit_name})", run.name)
    } else {
        format!("Live activations{step} ({unit_name})")
    };
    let x_name = "allocations and releases since the step began";
    let figure = Figure {
        label: format!("live activation bytes over a step, peak {}", bytes(bytes_at_peak)),
        x: Axis::new(x_name, Scale::Linear),
        y: Axis { cover: Some((0.0, top)), ..Axis::new("", Scale::Linear) },
        rows: Vec::new(),
        marks,
    };
    let mut note = String::new();
    if !begins.is_empty() && begins.len() <= MOST_MARKED {
        note += "Dashed: forward ends, backward begins. ";
    }
    if timeline.changes_a_moment > 1 {
        note += &format!("Each point is the fullest moment of {} allocations and releases.", timeline.changes_a_moment);
    }
    let legend = groups.into_keys().map(|(_, (name, colour))| (colour, name.to_owned())).collect();
    Plate { title, legend, figure, note }
}
