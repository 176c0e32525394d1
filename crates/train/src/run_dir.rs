//! What a run leaves in its folder. A file appears whole under its name or not at all: it is written beside, synced, and
//! renamed. The log of the run in progress has `.partial` at its end until the run has succeeded, so a run that fails
//! leaves an earlier good one as it was.

use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::Error;
use crate::lock::Lock;

const METRICS: &str = "metrics.jsonl";
const AUDITS: &str = "audits.jsonl";
const PARTIAL: &str = ".partial";

/// The output folder of a run in progress.
#[derive(Debug)]
pub struct RunDir {
    folder: PathBuf,
    metrics: Log,
    /// Begun with the first audit.
    audits: Option<Log>,
    /// Until the run ends nobody else writes here.
    _lock: Lock,
}

/// A file of JSON lines, with `.partial` at the end of its name until it is finished.
#[derive(Debug)]
struct Log {
    path: PathBuf,
    lines: BufWriter<File>,
}

impl Log {
    /// Begins with the lines of `earlier`, a file of an interrupted run, if given.
    fn begin(path: PathBuf, earlier: Option<&Path>) -> Result<Self, Error> {
        let begin = || {
            let mut file = File::create(beside(&path))?;
            if let Some(earlier) = earlier {
                std::io::copy(&mut File::open(earlier)?, &mut file)?;
            }
            Ok(file)
        };
        match begin() {
            Ok(file) => Ok(Self { path, lines: BufWriter::new(file) }),
            Err(reason) => Err(Error::Write { path: beside(&path), reason }),
        }
    }

    fn line(&mut self, line: &impl Serialize) -> Result<(), Error> {
        let written = serde_json::to_writer(&mut self.lines, line)
            .map_err(std::io::Error::from)
            .and_then(|()| self.lines.write_all(b"\n"))
            .and_then(|()| self.lines.flush());
        written.map_err(|reason| Error::Write { path: self.path.clone(), reason })
    }

    fn finish(self) -> Result<(), Error> {
        let Log { path, lines } = self;
        let sync = |lines: BufWriter<File>| lines.into_inner().map_err(|e| e.into_error())?.sync_all();
        sync(lines)
            .and_then(|()| fs::rename(beside(&path), &path))
            .and_then(|()| path.parent().map_or(Ok(()), sync_folder))
            .map_err(|reason| Error::Write { path: path.clone(), reason })
    }
}

impl RunDir {
    /// Whether `folder` is one or can become one; nothing is made.
    ///
    /// # Errors
    /// [`Error::Setting`] if a file is in the way.
    pub fn check(folder: &Path) -> Result<(), Error> {
        let Some(there) = folder.ancestors().find(|path| path.exists() && !path.is_dir()) else { return Ok(()) };
        let subject =
            if there == folder { String::new() } else { format!("{} cannot become a folder: ", folder.display()) };
        let what = format!("{subject}{} is a file; give a folder, or a name that is free", there.display());
        Err(Error::Setting { key: "out", what })
    }

    /// Makes the folder, if it is not there, and begins `metrics.jsonl.partial`.
    ///
    /// # Errors
    /// [`Error::Write`]; [`Error::Setting`] if another run is under way there.
    pub fn create(folder: &Path) -> Result<Self, Error> {
        fs::create_dir_all(folder).map_err(|reason| Error::Write { path: folder.to_path_buf(), reason })?;
        let lock = Lock::take(folder)?;
        let metrics = Log::begin(folder.join(METRICS), None)?;
        Ok(Self { folder: folder.to_path_buf(), metrics, audits: None, _lock: lock })
    }

    /// Goes on with the logs in `checkpoint`; lines that an interrupted run wrote after it are dropped.
    ///
    /// # Errors
    /// As [`RunDir::create`].
    pub fn resume(folder: &Path, checkpoint: &Path) -> Result<Self, Error> {
        let lock = Lock::take(folder)?;
        let audits = Some(checkpoint.join(AUDITS)).filter(|path| path.exists());
        Ok(Self {
            folder: folder.to_path_buf(),
            metrics: Log::begin(folder.join(METRICS), Some(&checkpoint.join(METRICS)))?,
            audits: audits.map(|audits| Log::begin(folder.join(AUDITS), Some(&audits))).transpose()?,
            _lock: lock,
        })
    }

    /// The logs so far: name and where their lines are.
    pub fn logs(&self) -> Vec<(&'static str, PathBuf)> {
        let mut logs = vec![(METRICS, beside(&self.metrics.path))];
        logs.extend(self.audits.as_ref().map(|audits| (AUDITS, beside(&audits.path))));
        logs
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Adds a line to the log, and hands it to the system at once.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn log(&mut self, line: &impl Serialize) -> Result<(), Error> {
        self.metrics.line(line)
    }

    /// Adds a line to `audits.jsonl`, which is begun with the first.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn log_audit(&mut self, line: &impl Serialize) -> Result<(), Error> {
        let audits = match self.audits.take() {
            Some(audits) => audits,
            None => Log::begin(self.folder.join(AUDITS), None)?,
        };
        self.audits.insert(audits).line(line)
    }

    /// Writes a file of the run, whole or not at all.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        write_whole(&self.folder.join(name), bytes)
    }

    /// Writes a file of the run that `write` makes at the path it is given, whole or not at all.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub(crate) fn write_by(&self, name: &str, write: impl FnOnce(&Path) -> std::io::Result<()>) -> Result<(), Error> {
        write_whole_by(&self.folder.join(name), write)
    }

    /// The run has succeeded: the logs get their names.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn finish(self) -> Result<(), Error> {
        self.audits.map_or(Ok(()), Log::finish)?;
        self.metrics.finish()
    }
}

/// Where a file is written before it gets its name.
pub(crate) fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(PARTIAL);
    PathBuf::from(name)
}

/// Makes sure that names in a folder outlast a loss of power; systems other than Unix do not offer it.
pub(crate) fn sync_folder(folder: &Path) -> std::io::Result<()> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

/// Writes a file, whole or not at all: beside, synced, and renamed.
///
/// # Errors
/// [`Error::Write`].
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    write_whole_by(path, |path| fs::write(path, bytes))
}

/// As [`write_whole`], of what `write` writes at the path it is given.
///
/// # Errors
/// [`Error::Write`].
pub fn write_whole_by(path: &Path, write: impl FnOnce(&Path) -> std::io::Result<()>) -> Result<(), Error> {
    let beside = beside(path);
    let finish = || {
        write(&beside)?;
        OpenOptions::new().write(true).open(&beside)?.sync_all()?;
        fs::rename(&beside, path)?;
        path.parent().map_or(Ok(()), sync_folder)
    };
    finish().map_err(|reason| Error::Write { path: path.to_path_buf(), reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unfinished_run_leaves_the_earlier_log() -> Result<(), Box<dyn std::error::Error>> {
        let folder = std::env::temp_dir().join(format!("loract-run-dir-{}", std::process::id()));
        let mut first = RunDir::create(&folder)?;
        first.log(&1)?;
        first.write("report.json", b"one")?;
        first.finish()?;
        let mut second = RunDir::create(&folder)?;
        second.log(&2)?;
        drop(second);
        assert_eq!(fs::read_to_string(folder.join(METRICS))?, "1\n");
        assert_eq!(fs::read(folder.join("report.json"))?, b"one");
        assert!(!folder.join("report.json.partial").exists());
        fs::remove_dir_all(&folder)?;
        Ok(())
    }
}
