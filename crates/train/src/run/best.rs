//! The adapter or model of the best evaluation: `OUT/best.partial/` on the way, `OUT/best/` when the run has succeeded.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use loract_models::ToWrite;

use crate::error::Error;
use crate::run_dir::{beside, sync_folder, write_whole_by};

/// Where it is kept.
#[derive(Debug)]
pub(super) struct BestFolder(PathBuf);

impl BestFolder {
    /// Of a run that begins: what an interrupted one left is removed.
    pub(super) fn begin(out: &Path) -> Result<Self, Error> {
        let best = Self(out.join("best"));
        let path = best.partial();
        let removed = if path.exists() { fs::remove_dir_all(&path) } else { Ok(()) };
        removed.map_err(|reason| Error::Write { path, reason })?;
        Ok(best)
    }

    fn partial(&self) -> PathBuf {
        beside(&self.0)
    }

    /// A file of it, by name.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.partial().join(name)
    }

    /// Keeps files in place of the earlier ones.
    pub(super) fn keep(&self, files: &[ToWrite<'_>]) -> Result<(), Error> {
        self.make()?;
        files.iter().try_for_each(|file| write_whole_by(&self.file(&file.name), |path| file.write(path)))
    }

    /// Keeps a copy of a file under a name.
    pub(super) fn keep_copy(&self, from: &Path, name: &str) -> Result<(), Error> {
        self.make()?;
        write_whole_by(&self.file(name), |path| fs::copy(from, path).map(|_| ()))
    }

    fn make(&self) -> Result<(), Error> {
        fs::create_dir_all(self.partial()).map_err(|reason| Error::Write { path: self.partial(), reason })
    }

    /// The run has succeeded; `any` tells whether there was an evaluation on the way. Else `OUT/best` of an earlier run,
    /// whose product of the files `names` is replaced, goes with it.
    pub(super) fn finish(self, any: bool, names: &[String]) -> Result<(), Error> {
        if !any {
            // Only what is known to be ours; a folder with more in it stays.
            for name in names {
                let _ = fs::remove_file(self.0.join(name));
            }
            let _ = fs::remove_dir(&self.0);
            return Ok(());
        }
        let name_them = || -> io::Result<()> {
            fs::create_dir_all(&self.0)?;
            for entry in fs::read_dir(self.partial())? {
                let entry = entry?;
                fs::rename(entry.path(), self.0.join(entry.file_name()))?;
            }
            sync_folder(&self.0)?;
            fs::remove_dir(self.partial())
        };
        name_them().map_err(|reason| Error::Write { path: self.0.clone(), reason })
    }
}
