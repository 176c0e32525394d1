//! One run at a time in a folder.
//!
//! The lock is the system's (`flock`): on the folder itself where folders can be opened (Unix), else on a file in it. It goes
//! with the process, however that ends, so a killed run does not stand in the way of `--resume`.

use std::fs::{File, TryLockError};
use std::path::Path;

use crate::error::Error;

/// Held as long as it lives.
#[derive(Debug)]
pub(crate) struct Lock {
    _held: File,
}

impl Lock {
    /// Of a folder that is there.
    ///
    /// # Errors
    /// [`Error::Setting`] if another run has it; [`Error::Write`] if the folder cannot be used.
    pub(crate) fn take(folder: &Path) -> Result<Self, Error> {
        let opened = if cfg!(unix) { File::open(folder) } else { File::create(folder.join("run.lock")) };
        let file = opened.map_err(|reason| Error::Write { path: folder.to_path_buf(), reason })?;
        match file.try_lock() {
            // Some network file systems have no locks; runs go on there as if each were alone.
            Ok(()) | Err(TryLockError::Error(_)) => Ok(Self { _held: file }),
            Err(TryLockError::WouldBlock) => {
                let what = format!(
                    "{} is in use by a run that is under way; wait for its end or stop it, or give another --out",
                    folder.display()
                );
                Err(Error::Setting { key: "out", what })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_run_at_a_time() -> Result<(), Box<dyn std::error::Error>> {
        let folder = std::env::temp_dir().join(format!("loract-lock-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let first = Lock::take(&folder)?;
        let second = Lock::take(&folder).map_err(|e| e.to_string());
        assert!(second.is_err_and(|e| e.contains(&format!("{} is in use by a run", folder.display()))));
        drop(first);
        Lock::take(&folder)?;
        assert!(Lock::take(&folder.join("gone")).is_err());
        Ok(std::fs::remove_dir_all(&folder)?)
    }
}
