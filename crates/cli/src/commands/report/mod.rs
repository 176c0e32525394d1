//! `loract report`: what one run came to, or several side by side, as one HTML page that needs no network and no script.
//!
//! In the order of reading: `run.rs` reads a run's folder (`log.rs` its steps, `account.rs` its report, `audits.rs` its
//! audits); `page.rs` puts sections together (`summary.rs`, `curves.rs`, `memory.rs` with `tables.rs`, `live.rs`, `layers.rs`,
//! `config.rs`), which are made of what is in `plate.rs`; `html.rs` is the only way text gets into a page.

mod account;
mod args;
mod audits;
mod config;
mod curves;
mod html;
mod layers;
mod live;
mod log;
mod memory;
mod page;
mod plate;
mod run;
mod summary;
mod tables;
mod thin;

use std::path::{Path, PathBuf};

use anyhow::Result;
use loract_train::{Error, write_whole};

pub use args::ReportArgs;

use crate::output;
use run::Run;

/// Runs on a page: as many as there are colours.
const MOST_RUNS: usize = 12;

/// Reads the runs, writes the page, and says where it is.
pub fn run(args: &ReportArgs) -> Result<()> {
    if args.runs.len() > MOST_RUNS {
        let what = format!("{} runs; the most on one page are {MOST_RUNS}, write several pages", args.runs.len());
        return Err(Error::Setting { key: "report", what }.into());
    }
    let out = page_path(args)?;
    let mut runs = args.runs.iter().map(|folder| Run::read(folder)).collect::<Result<Vec<_>, _>>()?;
    run::name_apart(&mut runs);
    let page = page::write(&runs)?;
    write_whole(&out, page.as_bytes())?;
    output::line(&out.display().to_string())?;
    Ok(())
}

/// Where the page goes; nothing but a page is written over.
fn page_path(args: &ReportArgs) -> Result<PathBuf, Error> {
    let out = match (&args.out, args.runs.as_slice()) {
        (Some(out), _) => out.clone(),
        (None, [one]) => one.join("report.html"),
        (None, _) => {
            return Err(wrong("give a FILE.html for the page of several runs, as it belongs to no one of them"));
        }
    };
    let named = out.extension().is_some_and(|e| e.eq_ignore_ascii_case("html") || e.eq_ignore_ascii_case("htm"));
    if !named {
        return Err(wrong(format!("{} does not end in .html; the page is written there", out.display())));
    }
    if out.is_dir() {
        return Err(wrong(format!("{} is a folder; give a file in it", out.display())));
    }
    if let Some(folder) = args.out.as_ref().and_then(|out| out.parent()).filter(|folder| !is_here(folder)) {
        return Err(wrong(format!("there is no folder {}; make it, or give another file", folder.display())));
    }
    Ok(out)
}

fn is_here(folder: &Path) -> bool {
    folder.as_os_str().is_empty() || folder.is_dir()
}

fn wrong(what: impl Into<String>) -> Error {
    Error::Setting { key: "out", what: what.into() }
}
