//! The adapter of the best evaluation: `OUT/best.partial/` on the way, `OUT/best/` when the run has succeeded.

use std::fs;
use std::path::{Path, PathBuf};

use loract_models::adapter;

use crate::error::Error;
use crate::run_dir::{beside, write_whole};

/// Both files of an adapter: name and bytes.
pub(super) type Adapter = [(&'static str, Vec<u8>); 2];

const NAMES: [&str; 2] = [adapter::CONFIG_FILE, adapter::WEIGHTS_FILE];

/// Where it is kept.
#[derive(Debug)]
pub(super) struct BestFolder(PathBuf);

impl BestFolder {
    /// Of a run that begins: what an interrupted one left is removed.
    pub(super) fn begin(out: &Path) -> Result<Self, Error> {
        let best = Self(out.join("best"));
        best.discard()?;
        Ok(best)
    }

    fn partial(&self) -> PathBuf {
        beside(&self.0)
    }

    fn discard(&self) -> Result<(), Error> {
        let path = self.partial();
        let removed = if path.exists() { fs::remove_dir_all(&path) } else { Ok(()) };
        removed.map_err(|reason| Error::Write { path, reason })
    }

    /// The trained parameters.
    pub(super) fn weights(&self) -> PathBuf {
        self.partial().join(adapter::WEIGHTS_FILE)
    }

    /// Keeps an adapter in place of the earlier one.
    pub(super) fn keep(&self, files: &Adapter) -> Result<(), Error> {
        make(&self.partial())?;
        files.iter().try_for_each(|(name, bytes)| write_whole(&self.partial().join(name), bytes))
    }

    /// The run has succeeded; `any` tells whether there was an evaluation on the way. Else `OUT/best` of an earlier run, whose
    /// adapter is replaced, goes with it.
    pub(super) fn finish(self, any: bool) -> Result<(), Error> {
        if !any {
            // Only what is known to be ours; a folder with more in it stays.
            for name in NAMES {
                let _ = fs::remove_file(self.0.join(name));
            }
            let _ = fs::remove_dir(&self.0);
            return Ok(());
        }
        make(&self.0)?;
        for name in NAMES {
            let path = self.partial().join(name);
            let bytes = fs::read(&path).map_err(|reason| Error::Read { path: path.clone(), reason })?;
            write_whole(&self.0.join(name), &bytes)?;
        }
        self.discard()
    }
}

fn make(folder: &Path) -> Result<(), Error> {
    fs::create_dir_all(folder).map_err(|reason| Error::Write { path: folder.to_path_buf(), reason })
}
