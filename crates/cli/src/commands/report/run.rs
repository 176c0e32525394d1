//! A run's folder, read: finished, under way, stopped or killed.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use loract_train::Error;

use super::account::Account;
use super::audits::{self, Audited};
use super::log::{Ending, Log, Step};
use crate::output::duration;

/// What is to be seen of a run.
#[derive(Debug)]
pub struct Run {
    /// As given.
    pub folder: PathBuf,
    /// Short, and its own among the runs of a page.
    pub name: String,
    pub state: State,
    pub log: Log,
    pub account: Account,
    pub audits: Vec<Audited>,
    /// Things to know of it.
    pub notes: Vec<String>,
}

/// How far a run got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Finished,
    /// Goes on, was stopped, or failed; its log does not say which.
    Unfinished,
}

impl Run {
    /// Reads what `loract train` left in a folder.
    ///
    /// # Errors
    /// Those of its files; [`Error::Left`] if one is missing.
    pub fn read(folder: &Path) -> Result<Self, Error> {
        let left = |path: &Path, what: &str| Err(Error::Left { path: path.to_path_buf(), what: what.to_owned() });
        if !folder.is_dir() {
            let what = if folder.exists() { "is a file" } else { "is not there" };
            return left(folder, &format!("{what}; give the folder that `loract train` wrote (its --out)"));
        }
        let [log, partial, report, checkpoint] =
            ["metrics.jsonl", "metrics.jsonl.partial", "report.json", "checkpoint.json"].map(|name| folder.join(name));
        if log.exists() && report.exists() {
            return Self::finished(folder, &log, &report, &partial);
        }
        if partial.exists() {
            return Self::unfinished(folder, &partial);
        }
        if log.exists() && checkpoint.exists() {
            return Self::unfinished(folder, &log);
        }
        match (log.exists(), report.exists()) {
            (true, _) => left(&report, "is missing beside metrics.jsonl; take the run's whole folder, or train again"),
            (_, true) => left(&log, "is missing beside report.json; take the run's whole folder, or train again"),
            _ => left(folder, "holds no metrics.jsonl; give the folder that `loract train` wrote (its --out)"),
        }
    }

    fn finished(folder: &Path, log: &Path, report: &Path, partial: &Path) -> Result<Self, Error> {
        let mut run = Self::begin(folder, State::Finished, Log::read(log, Ending::Whole)?);
        run.account = Account::of_report(report)?;
        if partial.exists() {
            run.notes.push(format!(
                "A later run in this folder has not finished (metrics.jsonl.partial, last written {}): this page is of the \
                 finished one.",
                age(partial)
            ));
        }
        run.read_audits(&folder.join("audits.jsonl"), Ending::Whole)?;
        Ok(run)
    }

    fn unfinished(folder: &Path, log: &Path) -> Result<Self, Error> {
        let mut run = Self::begin(folder, State::Unfinished, Log::read(log, Ending::MayBeCut)?);
        run.notes.push(format!(
            "The run has not finished: it goes on, was stopped, or failed. Its log was last written {}.",
            age(log)
        ));
        if run.log.cut {
            run.notes.push("The last line of its log is cut off and left out.".into());
        }
        run.read_checkpoint();
        let name =
            if log.extension().is_some_and(|e| e == "partial") { "audits.jsonl.partial" } else { "audits.jsonl" };
        run.read_audits(&folder.join(name), Ending::MayBeCut)?;
        Ok(run)
    }

    fn begin(folder: &Path, state: State, log: Log) -> Self {
        let name = folder
            .file_name()
            .or(folder.canonicalize().ok().as_deref().and_then(Path::file_name))
            .map_or_else(|| folder.display().to_string(), |name| name.to_string_lossy().into_owned());
        let folder = folder.to_path_buf();
        Self { folder, name, state, log, account: Account::default(), audits: Vec::new(), notes: Vec::new() }
    }

    /// The account of the newest checkpoint that can be read; one that cannot is told of.
    fn read_checkpoint(&mut self) {
        let mut found = vec![(u64::MAX, self.folder.join("checkpoint.json"))];
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        found.extend(entries.filter_map(|entry| {
            let step = entry.file_name().to_str()?.strip_prefix("checkpoint-")?.parse().ok()?;
            Some((step, entry.path().join("checkpoint.json")))
        }));
        found.sort();
        for (step, path) in found.into_iter().rev().filter(|(_, path)| path.exists()) {
            match Account::of_checkpoint(&path) {
                Ok(account) => {
                    self.account = account;
                    if step < u64::MAX {
                        self.notes.push(format!("Settings and memory are as checkpoint-{step} tells them."));
                    }
                    return;
                }
                Err(error) => self.notes.push(format!("A checkpoint is passed over: {error}")),
            }
        }
        self.notes.push(
            "Settings and memory by site are not known yet: they are written with a checkpoint (--save-every), and at the end."
                .into(),
        );
    }

    fn read_audits(&mut self, path: &Path, ending: Ending) -> Result<(), Error> {
        if !path.exists() {
            return Ok(());
        }
        if self.account.number("audit_every") == Some(0) {
            self.notes.push(format!(
                "{} is not shown: this run ended with audit_every = 0, so it may be of an earlier run in the same folder.",
                path.display()
            ));
            return Ok(());
        }
        self.audits = audits::read(path, ending)?;
        Ok(())
    }

    /// The last step.
    pub fn last(&self) -> Option<&Step> {
        self.log.steps.last()
    }

    /// What the run was to do, in steps.
    pub fn steps_asked(&self) -> Option<u64> {
        self.account.number("steps")
    }
}

/// Makes the names of runs differ: by as many of the last parts of their folders as that takes, else by number.
pub fn name_apart(runs: &mut [Run]) {
    let most = runs.iter().map(|run| run.folder.components().count()).max().unwrap_or(1);
    for parts in 2..=most {
        if all_differ(runs) {
            return;
        }
        for run in runs.iter_mut() {
            let all: Vec<_> = run.folder.components().collect();
            let tail: PathBuf = all[all.len().saturating_sub(parts)..].iter().collect();
            run.name = tail.display().to_string();
        }
    }
    if !all_differ(runs) {
        runs.iter_mut().zip(1..).for_each(|(run, number)| run.name = format!("{} ({number})", run.name));
    }
}

fn all_differ(runs: &[Run]) -> bool {
    let mut names: Vec<_> = runs.iter().map(|run| &run.name).collect();
    names.sort();
    names.windows(2).all(|pair| pair[0] != pair[1])
}

/// How long ago a file was written.
fn age(path: &Path) -> String {
    let written = fs::metadata(path).and_then(|facts| facts.modified());
    let ago = written.ok().and_then(|written| SystemTime::now().duration_since(written).ok());
    ago.map_or_else(|| "just now".into(), |ago| format!("{} before this page", duration(ago.as_secs_f64())))
}
