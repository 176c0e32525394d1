//! The folder that a command writes to, made before the work begins, so that a bad one costs no time.

use std::fs;
use std::path::{Path, PathBuf};

use loract_train::{Error, RunDir, write_whole};

use crate::output;

/// A folder that can be written to.
pub struct Folder(PathBuf);

impl Folder {
    /// Makes the folder if it is not there.
    pub fn make(path: &Path) -> Result<Self, Error> {
        RunDir::check(path, false)?;
        let probe = path.join(".loract-probe");
        fs::create_dir_all(path)
            .and_then(|()| fs::write(&probe, b""))
            .and_then(|()| fs::remove_file(&probe))
            .map_err(|reason| cannot_write("out", path, &reason))?;
        Ok(Self(path.to_path_buf()))
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
