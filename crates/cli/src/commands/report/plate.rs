//! What sections are made of: figures with their words, legends, the heads of tables of runs.

use anyhow::Result;

use super::html::Html;
use super::run::Run;
use crate::plot::Figure;

/// A figure with its words.
pub struct Plate {
    pub title: String,
    /// Colours and what they stand for; empty where the title says it.
    pub legend: Vec<(usize, String)>,
    pub figure: Figure,
    /// What else must be known to read it.
    pub note: String,
}

impl Plate {
    /// Adds it to a page.
    pub fn put(&self, html: &mut Html) -> Result<()> {
        let svg = self.figure.to_svg()?;
        html.inside("figure", |html| {
            html.element("figcaption", &self.title);
            if !self.legend.is_empty() {
                legend(html, &self.legend);
            }
            html.made(&svg);
            if !self.note.is_empty() {
                html.element("p class=note", &self.note);
            }
        });
        html.raw("\n");
        Ok(())
    }
}

/// What colours stand for.
pub fn legend(html: &mut Html, entries: &[(usize, String)]) {
    html.inside("div class=legend", |html| {
        for (colour, name) in entries {
            html.inside("span", |html| {
                html.swatch(*colour).text(name);
            });
        }
    });
}

/// Colours and names of runs, if there are several.
pub fn runs_legend(runs: &[Run]) -> Vec<(usize, String)> {
    if runs.len() < 2 {
        return Vec::new();
    }
    runs.iter().enumerate().map(|(at, run)| (run_colour(at), run.name.clone())).collect()
}

/// The colour of a run in charts where runs are compared.
pub fn run_colour(at: usize) -> usize {
    at
}

/// Heads a table of runs: a corner, and a column for each.
pub fn head_of_runs(html: &mut Html, corner: &str, runs: &[Run]) {
    html.inside("thead", |html| {
        html.inside("tr", |html| {
            html.element("th", corner);
            for (at, run) in runs.iter().enumerate() {
                html.inside("th", |html| {
                    if runs.len() > 1 {
                        html.swatch(run_colour(at));
                    }
                    html.text(&run.name);
                });
            }
        });
    });
}
