//! `loract inspect activations`: one micro-batch forward, and of every chosen tensor that training would save its
//! spectrum, as it is seen: one matrix is held at a time.

use std::time::{Duration, Instant};

use anyhow::Result;
use loract_linalg::Error as LinalgError;
use loract_train::Error;
use serde::Serialize;

use super::args::ActivationsArgs;
use super::charts;
use super::facts::Facts;
use super::save::SaveFile;
use crate::args::use_threads;
use crate::commands::captured::{DefaultLayers, Subject, label, matrix};
use crate::commands::folder::Folder;
use crate::{hub, output};

/// Energies told without `--energy`.
const ENERGIES: [f64; 3] = [90.0, 95.0, 99.0];

/// How often progress is told.
const QUIET: Duration = Duration::from_secs(5);

/// Everything found, as it is printed and written.
#[derive(Debug, Serialize)]
pub struct Findings {
    pub model: String,
    pub data: String,
    pub adapter: Option<String>,
    pub rows: usize,
    /// m.
    pub tokens: usize,
    /// Mean over the trained tokens: near what the model should have on such data, if both were read rightly.
    pub loss: f64,
    pub energy: Vec<f64>,
    /// Forward pass and spectra.
    pub seconds: f64,
    pub activations: Vec<Facts>,
}

/// Looks at activations.
pub fn run(args: &ActivationsArgs) -> Result<()> {
    let energies = energies(args.energy.as_deref())?;
    use_threads(args.threads)?;
    Folder::check(args.out.as_deref())?;
    let mut save = args.save.as_deref().map(SaveFile::at).transpose()?;
    let subject = Subject::open(&hub::local(&args.model)?, &args.data, &args.choice, DefaultLayers::Three)?;
    let folder = Folder::make(args.out.as_deref())?;
    let begun = Instant::now();
    let mut activations: Vec<Facts> = Vec::new();
    let mut told = Instant::now();
    let loss = subject.capture(|place, layer, tensor| {
        let facts = Facts::of(&matrix(tensor), place, layer, &energies).map_err(|error| match error {
            LinalgError::NonFinite { row, col, value, .. } => {
                Error::Autograd(loract_autograd::Error::NonFinite { site: place.site(), layer, row, col, value })
            }
            LinalgError::ZeroRank { rows, cols } => Error::Autograd(loract_autograd::Error::Shape {
                op: "inspect",
                what: "rank 0 for a tensor",
                left: rows,
                right: cols,
            }),
        })?;
        if told.elapsed() >= QUIET {
            told = Instant::now();
            output::message(&format!("seen {}", label(place, layer)));
        }
        if let Some(save) = &mut save {
            save.add(label(place, layer), tensor);
        }
        activations.push(facts);
        Ok(())
    })?;
    if let Some(facts) = activations.iter().find(|facts| facts.m < facts.n) {
        output::message(&format!(
            "note: {} tokens are fewer than the {} features of {}, and no rank can be more than the tokens; give more \
             --rows for spectra like those of training",
            facts.m, facts.n, facts.site
        ));
    }
    let mut findings = Findings {
        model: subject.model.clone(),
        data: args.data.display().to_string(),
        adapter: args.choice.adapter.as_ref().map(|path| path.display().to_string()),
        rows: subject.rows,
        tokens: subject.tokens(),
        loss,
        energy: energies,
        seconds: begun.elapsed().as_secs_f64(),
        activations,
    };
    if let (Some(save), Some(path)) = (save, &args.save) {
        save.write()?;
        output::message(&format!("matrices in {}", path.display()));
    }
    if let Some(folder) = &folder {
        folder.write("activations.json", &format!("{}\n", serde_json::to_string(&findings)?))?;
        for (name, chart) in charts::all(&findings) {
            folder.write(&name, &chart.to_svg()?)?;
        }
        folder.tell("activations.json and charts are");
    }
    if args.json {
        findings.activations.iter_mut().for_each(|facts| facts.singular_values.clear());
        return Ok(output::line(&serde_json::to_string(&findings)?)?);
    }
    Ok(output::line(&table(&findings))?)
}

/// Percentages as typed.
fn energies(words: Option<&[String]>) -> Result<Vec<f64>, Error> {
    let Some(words) = words else { return Ok(ENERGIES.to_vec()) };
    let read = |word: &String| {
        let number = word.trim().parse::<f64>().ok().filter(|x| *x > 0.0 && *x <= 100.0);
        let what = || format!("`{word}` is not a percentage above 0 and of at most 100; give e.g. 90,95,99");
        number.ok_or_else(|| Error::Setting { key: "energy", what: what() })
    };
    words.iter().map(read).collect()
}

fn table(findings: &Findings) -> String {
    let width = findings.activations.iter().map(|facts| facts.site.len()).max().unwrap_or(0).max(11);
    let mut text = format!("{:<6} {:<width$} {:>6} {:>6}", "layer", "site", "m", "n");
    for energy in &findings.energy {
        text += &format!("  {:>14}", format!("rank for {energy} %"));
    }
    text += "  error at n/8   n/16  outlier\n";
    for facts in &findings.activations {
        let layer = facts.layer.map_or_else(|| "-".to_owned(), |layer| layer.to_string());
        text += &format!("{layer:<6} {:<width$} {:>6} {:>6}", facts.site, facts.m, facts.n);
        for held in &facts.rank_for_energy {
            text += &format!("  {:>14}", format!("{} ({:.1} %)", held.rank, 100.0 * held.share));
        }
        let outlier = facts.outlier_ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.1}"));
        let [eighth, sixteenth] = facts.best_error.each_ref().map(|e| e.relative_error);
        text += &format!("  {eighth:>12.3}  {sixteenth:.3}  {outlier:>7}\n");
    }
    text + &format!("loss {:.4} over {} tokens in {} rows", findings.loss, findings.tokens, findings.rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn energies_are_percentages() {
        let of = |text: &str| {
            let words: Vec<String> = text.split(',').map(String::from).collect();
            energies(Some(&words)).map_err(|e| e.to_string())
        };
        assert_eq!(of("50,99.9,100"), Ok(vec![50.0, 99.9, 100.0]));
        for bad in ["0", "101", "-5", "nan", "inf", "many", ""] {
            let error = of(bad).err().unwrap_or_default();
            assert!(error.contains(&format!("energy: `{bad}`")), "{bad}: {error}");
        }
    }
}
