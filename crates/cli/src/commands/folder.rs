//! The folder that a command writes to: checked before anything is opened, made when the input is known to be good and
//! the work is about to begin.

use std::fs;
use std::path::{Path, PathBuf};

use loract_train::{Error, RunDir, write_whole};

use crate::output;

/// A folder that can be written to.
pub struct Folder(PathBuf);

impl Folder {
    /// Whether `path` is a folder or can become one; nothing is made.
    pub fn check(path: Option<&Path>) -> Result<(), Error> {
        path.map_or(Ok(()), RunDir::check)
    }

    /// Makes the folder if it is not there, and makes sure that it can be written to.
    pub fn make(path: Option<&Path>) -> Result<Option<Self>, Error> {
        let Some(path) = path else { return Ok(None) };
        let probe = path.join(".loract-probe");
        fs::create_dir_all(path)
            .and_then(|()| fs::write(&probe, b""))
            .and_then(|()| fs::remove_file(&probe))
            .map_err(|reason| cannot_write("out", path, &reason))?;
        Ok(Some(Self(path.to_path_buf())))
    }

    /// Where a file of this name is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file, whole or not at all.
    pub fn write(&self, name: &str, text: &str) -> Result<(), Error> {
        write_whole(&self.0.join(name), text.as_bytes())
    }

    /// Says what was written.
    pub fn tell(&self, what: &str) {
        output::message(&format!("{what} in {}", self.0.display()));
    }
}

/// A place that was named by the flag `key` and cannot be written to.
pub fn cannot_write(key: &'static str, path: &Path, reason: &std::io::Error) -> Error {
    let what = format!("{} cannot be written: {reason}; give another, or change its permissions", path.display());
    Error::Setting { key, what }
}
