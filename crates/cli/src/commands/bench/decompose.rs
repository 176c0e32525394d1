//! `loract bench decompose`: every method on matrices by name and on a model's activations.

use std::time::Instant;

use anyhow::Result;
use loract_linalg::Mat;
use serde::Serialize;

use super::args::DecomposeArgs;
use super::load;
use super::measure::{Measured, measure};
use super::report;
use super::settings::Settings;
use crate::args::use_threads;
use crate::commands::captured::{DefaultLayers, Subject, label, matrix};
use crate::commands::folder::Folder;
use crate::{hub, output};

/// Names the random matrices.
const SEED: u64 = 5;

/// Everything measured, as it is printed and written.
#[derive(Debug, Serialize)]
pub struct Findings {
    pub threads: usize,
    /// Timed runs of each method.
    pub repeats: usize,
    /// The machine's load of the last minute when it ended, where the system tells.
    pub load: Option<f64>,
    pub seconds: f64,
    pub model: Option<String>,
    pub data: Option<String>,
    pub matrices: Vec<Measured>,
}

/// Measures, tells and writes.
pub fn run(args: &DecomposeArgs) -> Result<()> {
    let settings = Settings::of(args)?;
    let threads = use_threads(args.threads)?;
    Folder::check(args.out.as_deref())?;
    let begun = Instant::now();
    let activations = activations(args, &settings)?;
    let folder = Folder::make(args.out.as_deref())?;
    let (mut matrices, mut told) = (Vec::new(), Instant::now());
    let mut run = |name: &str, a: &Mat| -> Result<()> {
        if told.elapsed().as_secs() >= 5 {
            told = Instant::now();
            output::message(&format!("measuring {name}"));
        }
        let measured = measure(name, a, &settings.ranks, settings.repeats)?;
        if !args.json {
            output::line(&report::table(&measured))?;
        }
        matrices.push(measured);
        Ok(())
    };
    let (m, n) = settings.shape;
    for (name, kind) in &settings.kinds {
        run(name, &kind.matrix(m, n, SEED))?;
    }
    for (name, a) in &activations {
        run(name, a)?;
    }
    let findings = Findings {
        threads,
        repeats: settings.repeats,
        load: load(),
        seconds: begun.elapsed().as_secs_f64(),
        model: args.model.as_ref().map(|path| path.display().to_string()),
        data: args.data.as_ref().map(|path| path.display().to_string()),
        matrices,
    };
    if let Some(folder) = &folder {
        folder.write("decompose.json", &format!("{}\n", serde_json::to_string_pretty(&findings)?))?;
        for (name, chart) in report::charts(&findings) {
            folder.write(&name, &chart.to_svg()?)?;
        }
        folder.tell("decompose.json and charts are");
    }
    if args.json {
        return Ok(output::line(&serde_json::to_string(&findings)?)?);
    }
    Ok(output::line(&report::legend(&findings))?)
}

/// The chosen activations of the model, if one is given, by name; the model itself is gone afterwards.
fn activations(args: &DecomposeArgs, settings: &Settings) -> Result<Vec<(String, Mat)>> {
    let (Some(model), Some(data)) = (&args.model, &args.data) else { return Ok(Vec::new()) };
    let subject = Subject::open(&hub::local(model)?, data, &args.choice, DefaultLayers::Middle)?;
    let mut found = Vec::new();
    subject.capture(|place, layer, tensor| {
        let name = label(place, layer);
        settings.check_ranks(&name, tensor.rows(), tensor.cols(), "other --sites or more --rows")?;
        found.push((name, matrix(tensor)));
        Ok(())
    })?;
    Ok(found)
}
