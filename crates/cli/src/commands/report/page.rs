//! The page: a head, then what a person asks first, first.

use anyhow::Result;

use super::html::Html;
use super::run::Run;
use super::{config, curves, layers, live, memory, summary};
use crate::plot;

/// Looks, for light and for dark.
const STYLE: &str = include_str!("page.css");

/// The whole page.
pub fn write(runs: &[Run]) -> Result<String> {
    let names: Vec<&str> = runs.iter().map(|run| run.name.as_str()).collect();
    let mut html = Html::default();
    html.raw("<!doctype html>\n<html lang=en>\n<head>\n<meta charset=utf-8>\n")
        .raw("<meta name=viewport content=\"width=device-width,initial-scale=1\">\n")
        .raw("<meta name=color-scheme content=\"light dark\">\n")
        .element("title", format!("loract: {}", names.join(", ")))
        .raw("\n<style>\n")
        .raw(STYLE)
        .made(&plot::style_sheet())
        .raw("</style>\n</head>\n<body>\n<main>\n");
    summary::put(&mut html, runs);
    curves::put(&mut html, runs)?;
    memory::put(&mut html, runs)?;
    live::put(&mut html, runs)?;
    layers::put(&mut html, runs)?;
    config::put(&mut html, runs);
    html.inside("footer", |html| {
        html.text(format!("Written by loract {} from the files of the run", env!("CARGO_PKG_VERSION")))
            .text(if runs.len() > 1 { "s." } else { "." });
    });
    html.raw("\n</main>\n</body>\n</html>\n");
    Ok(html.finish())
}
