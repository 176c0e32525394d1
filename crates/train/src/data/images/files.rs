//! Pictures as files: a folder for each class, or all in one.

use std::fs;
use std::path::{Path, PathBuf};

use loract_models::vision::{PictureError, PictureFormat};

use super::find::{entries, is_picture};
use super::{Labels, Read, Source};
use crate::error::Error;

/// Files by folder, in the order of their names.
#[derive(Debug)]
pub(super) struct Files {
    folders: Vec<PathBuf>,
    /// Folder and name.
    files: Vec<(u32, Box<Path>)>,
    /// Files that were passed over.
    pub(super) others: usize,
}

/// Pictures by class.
pub(super) fn classes(path: &Path, folders: Vec<PathBuf>) -> Result<Read, Error> {
    let wrong = |what: String| Error::Data { path: path.to_path_buf(), what };
    let loose = entries(path)?.iter().filter(|entry| !entry.is_dir()).count();
    let mut files = Files { folders: Vec::new(), files: Vec::new(), others: loose };
    let (mut names, mut labels, mut empty) = (Vec::new(), Vec::new(), Vec::new());
    for folder in folders {
        // What is not text would have to be made into text, and two names into one.
        let name = folder.file_name().unwrap_or_default().to_str().map(str::to_owned);
        let name = name.ok_or_else(|| wrong(format!("the name of its folder {folder:?} is not UTF-8; rename it")))?;
        match files.add(&folder)? {
            0 => empty.push(name.clone()),
            count => {
                let label =
                    u32::try_from(names.len()).map_err(|_| wrong("more classes than can be numbered".into()))?;
                labels.extend(std::iter::repeat_n(Some(label), count));
            }
        }
        names.push(name);
    }
    if !empty.is_empty() {
        let what = format!(
            "no PNG or JPEG files in the folders of {} of {} classes: {}; add pictures, or take the folders away",
            empty.len(),
            names.len(),
            super::some(&empty)
        );
        return Err(wrong(what));
    }
    Ok(Read { source: Source::Files(files), labels: Labels::Named { names, labels } })
}

/// Pictures without labels.
pub(super) fn flat(path: &Path) -> Result<Read, Error> {
    let mut files = Files { folders: Vec::new(), files: Vec::new(), others: 0 };
    files.add(path)?;
    Ok(Read { source: Source::Files(files), labels: Labels::None })
}

impl Files {
    /// Adds the pictures of a folder; how many.
    fn add(&mut self, folder: &Path) -> Result<usize, Error> {
        let number = u32::try_from(self.folders.len()).unwrap_or(u32::MAX);
        self.folders.push(folder.to_path_buf());
        let before = self.files.len();
        for path in entries(folder)? {
            if !is_picture(&path) {
                self.others += 1;
                continue;
            }
            self.files.push((number, Path::new(path.file_name().unwrap_or_default()).into()));
        }
        Ok(self.files.len() - before)
    }

    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    pub(super) fn path(&self, place: usize) -> PathBuf {
        let (folder, name) = &self.files[place];
        self.folders[*folder as usize].join(name)
    }

    /// Its folder's name and its own, whatever it lies in.
    pub(super) fn short_name(&self, place: usize) -> String {
        let (folder, name) = &self.files[place];
        let folder = self.folders[*folder as usize].file_name().unwrap_or_default();
        format!("{}/{}", folder.to_string_lossy(), name.to_string_lossy())
    }

    pub(super) fn bytes(&self, place: usize) -> Result<Vec<u8>, Error> {
        let path = self.path(place);
        fs::read(&path).map_err(|reason| Error::Read { path, reason })
    }

    /// Whether its first bytes are those of a format that is read.
    pub(super) fn format(&self, place: usize) -> Result<Result<PictureFormat, PictureError>, Error> {
        let path = self.path(place);
        let failed = |reason| Error::Read { path: path.clone(), reason };
        let mut first = Vec::new();
        let file = fs::File::open(&path).map_err(failed)?;
        std::io::Read::read_to_end(&mut std::io::Read::take(file, FIRST_BYTES), &mut first).map_err(failed)?;
        Ok(PictureFormat::of(&first))
    }
}

/// So many tell the format of a file.
const FIRST_BYTES: u64 = 16;
