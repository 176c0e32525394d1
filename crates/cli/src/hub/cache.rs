//! Hugging Face's cache of one model, as `huggingface_hub` in Python keeps it:
//!
//! | in `models--owner--name/` | is |
//! |---|---|
//! | `refs/main` | the commit that the branch was at |
//! | `snapshots/COMMIT/config.json` | a link to the file's contents |
//! | `blobs/ETAG` | the contents, whole and checked |
//! | `blobs/ETAG.incomplete` | the beginning of the contents |
//!
//! and in `.locks/models--owner--name/ETAG.lock` beside it the lock of who fetches those. References are written last, so a
//! branch names a commit whose files are there.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use hf_hub::{Cache, Repo, RepoType};

use super::error::Error;
use super::id::{HubId, is_plain};

/// The files of one model at one revision.
#[derive(Debug)]
pub struct ModelCache {
    cache: Cache,
    repo: Repo,
}

impl ModelCache {
    /// Of the model that is asked for; nothing is read or written yet.
    pub fn of(id: &HubId, cache: &Cache) -> Self {
        let repo = Repo::with_revision(id.repository.clone(), RepoType::Model, id.revision.clone());
        Self { cache: cache.clone(), repo }
    }

    /// The folder of all models.
    pub fn root(&self) -> &Path {
        self.cache.path()
    }

    fn folder(&self) -> PathBuf {
        self.root().join(self.repo.folder_name())
    }

    /// Where the files of a commit are called by their names.
    pub fn snapshot(&self, commit: &str) -> PathBuf {
        self.cache.repo(self.repo.clone()).pointer_path(commit)
    }

    fn reference(&self) -> PathBuf {
        self.folder().join("refs").join(self.repo.revision())
    }

    /// The commit that the revision was at when last asked; a commit is its own.
    pub fn commit(&self) -> Option<String> {
        let revision = self.repo.revision();
        if is_commit(revision) {
            return Some(revision.to_owned());
        }
        let commit = fs::read_to_string(self.reference()).ok()?;
        let commit = commit.trim();
        is_commit(commit).then(|| commit.to_owned())
    }

    /// Remembers the commit that the revision is at.
    pub fn set_commit(&self, commit: &str) -> Result<(), Error> {
        if self.commit().as_deref() == Some(commit) {
            return Ok(());
        }
        let path = self.reference();
        let beside = self.folder().join(format!("ref-{}.incomplete", std::process::id()));
        let write = || {
            make_parent(&path)?;
            fs::write(&beside, commit)?;
            fs::rename(&beside, &path)
        };
        write().map_err(|reason| Error::Write { path: path.clone(), reason })
    }

    /// The contents with this ETag.
    pub fn blob(&self, etag: &str) -> PathBuf {
        self.folder().join("blobs").join(etag)
    }

    /// Gives contents that are there their name in a commit.
    pub fn link(&self, commit: &str, file: &str, etag: &str) -> Result<(), Error> {
        let path = self.snapshot(commit).join(file);
        // Up to the model's folder: out of the file's folders, the commit's and `snapshots`.
        let up = "../".repeat(file.split('/').count() + 1);
        let target = PathBuf::from(format!("{up}blobs/{etag}"));
        let linked = make_parent(&path).and_then(|()| link(&target, &self.blob(etag), &path));
        linked.map_err(|reason| Error::Write { path, reason })
    }

    /// Holds the contents with this ETag for us, until dropped; `wait` is called if another has them.
    pub fn lock(&self, etag: &str, wait: impl FnOnce()) -> Result<File, Error> {
        let path = self.root().join(".locks").join(self.repo.folder_name()).join(format!("{etag}.lock"));
        let lock = || {
            make_parent(&path)?;
            let file = File::options().create(true).append(true).open(&path)?;
            match file.try_lock() {
                // Some network file systems have no locks; the checksum then finds what two at once have mixed up.
                Ok(()) | Err(TryLockError::Error(_)) => {}
                Err(TryLockError::WouldBlock) => {
                    wait();
                    file.lock()?;
                }
            }
            Ok(file)
        };
        lock().map_err(|reason: io::Error| Error::Write { path: path.clone(), reason })
    }
}

/// Makes the folder that a file is to be in.
pub fn make_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
}

/// Whether a revision is a commit, which never changes.
pub fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Whether a name in a repository stays within its folder.
pub fn is_within(file: &str) -> bool {
    file.split('/').all(is_plain)
}

#[cfg(unix)]
fn link(target: &Path, _blob: &Path, path: &Path) -> io::Result<()> {
    match std::os::unix::fs::symlink(target, path) {
        // By another process, or the remains of contents that were removed; to other contents a commit's name never leads.
        Err(there) if there.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    }
}

/// Where links need a right that users may not have.
#[cfg(not(unix))]
fn link(_target: &Path, blob: &Path, path: &Path) -> io::Result<()> {
    match fs::hard_link(blob, path) {
        Err(there) if there.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    }
}
