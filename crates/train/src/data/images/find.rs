//! What kind of pictures is at a path, and which parts a folder has.

use std::fs;
use std::path::{Path, PathBuf};

use loract_models::vision::PictureFormat;

use super::idx;
use crate::data::Split;
use crate::error::Error;

/// What is at a path.
pub(super) enum Kind {
    /// A folder of these folders, sorted.
    Classes(Vec<PathBuf>),
    /// A folder of pictures.
    Pictures,
    /// This file of pictures.
    Idx(PathBuf),
    /// A file of tensors.
    Safetensors,
    /// A table with pictures in it.
    #[cfg(feature = "parquet")]
    Parquet,
}

const EXPECTED: &str = "expected a folder with a folder of PNG and JPEG files for each class, …-images-idx3-ubyte[.gz], a \
                        .safetensors file with pixel_values, or a .parquet file with a column `image`";

impl Kind {
    pub(super) fn of(path: &Path) -> Result<Self, Error> {
        let wrong = |what: String| Error::Data { path: path.to_path_buf(), what };
        if path.is_dir() {
            return Self::of_folder(path);
        }
        if !path.exists() {
            return Err(wrong(format!("there is nothing; {EXPECTED}")));
        }
        if idx::is_images(path) {
            Ok(Kind::Idx(path.to_path_buf()))
        } else if ends_in(path, &["safetensors"]) {
            Ok(Kind::Safetensors)
        } else if ends_in(path, &["parquet"]) {
            #[cfg(feature = "parquet")]
            return Ok(Kind::Parquet);
            #[cfg(not(feature = "parquet"))]
            Err(wrong("this loract was built without Parquet; build it with --features parquet".into()))
        } else {
            Err(wrong(format!("it is a file of another kind; {EXPECTED}")))
        }
    }

    fn of_folder(folder: &Path) -> Result<Self, Error> {
        let entries = entries(folder)?;
        let idx: Vec<_> = entries.iter().filter(|path| idx::is_images(path) && path.is_file()).collect();
        match &idx[..] {
            [] => {}
            [one] => return Ok(Kind::Idx((*one).clone())),
            [first, second, ..] => {
                let what = format!("it holds {} and {}; give one of them by name", first.display(), second.display());
                return Err(Error::Data { path: folder.to_path_buf(), what });
            }
        }
        if entries.iter().any(|path| is_picture(path)) && !entries.iter().any(|path| path.is_dir()) {
            return Ok(Kind::Pictures);
        }
        let folders: Vec<_> = entries.into_iter().filter(|path| path.is_dir()).collect();
        if folders.is_empty() {
            tables(folder, "")?;
            let what = format!("it is a folder without pictures; {EXPECTED}");
            return Err(Error::Data { path: folder.to_path_buf(), what });
        }
        Ok(Kind::Classes(folders))
    }
}

/// What is in a folder, sorted, without what is hidden.
pub(super) fn entries(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let failed = |reason| Error::Read { path: folder.to_path_buf(), reason };
    let hidden = |path: &PathBuf| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    let listed = fs::read_dir(folder).map_err(failed)?.map(|entry| entry.map(|entry| entry.path()));
    let mut paths: Vec<_> = listed.collect::<Result<_, _>>().map_err(failed)?;
    paths.retain(|path| !hidden(path));
    paths.sort();
    Ok(paths)
}

/// Whether a path is a picture by its name, and a file.
pub(super) fn is_picture(path: &Path) -> bool {
    // What a link leads to may be gone, and a pipe would be waited for.
    ends_in(path, &PictureFormat::ENDINGS) && path.is_file()
}

fn ends_in(path: &Path, endings: &[&str]) -> bool {
    path.extension().is_some_and(|found| endings.iter().any(|ending| found.eq_ignore_ascii_case(ending)))
}

/// Names that a part of a folder of pictures may have.
fn names(part: Split) -> impl Iterator<Item = String> {
    let idx = |stem: &str| ["", ".gz"].map(|ending| format!("{stem}-images-idx3-ubyte{ending}"));
    let short: &[&str] = if part == Split::Valid { &["val"] } else { &[] };
    part.stems().iter().chain(short).flat_map(move |stem| {
        // MNIST calls its test set so.
        let others = if *stem == "test" { idx("t10k").to_vec() } else { Vec::new() };
        let shard = format!("{stem}-00000-of-00001.parquet");
        let files = [(*stem).to_owned(), format!("{stem}.safetensors"), format!("{stem}.parquet"), shard];
        files.into_iter().chain(idx(stem)).chain(others)
    })
}

/// Folder or file of a part of `folder`, if there is one; a path that is no folder has none, nor has that of nothing (`plan`).
fn find(part: Split, folder: &Path) -> Result<Option<PathBuf>, Error> {
    if !folder.is_dir() {
        return Ok(None);
    }
    let mut found = names(part).map(|name| folder.join(name)).filter(|path| path.exists() && is_part(path));
    match (found.next(), found.next()) {
        (Some(first), Some(second)) => {
            let what = format!("it holds {} and {}; give one of them by name", first.display(), second.display());
            Err(Error::Data { path: folder.to_path_buf(), what })
        }
        (Some(first), None) => Ok(Some(first)),
        (None, _) => {
            part.stems().iter().try_for_each(|stem| tables(folder, &format!("{stem}-00000-of-")))?;
            Ok(None)
        }
    }
}

/// Whether what is called like a part is one, and not the class of that name: beside it are parts alone, or it has classes itself.
fn is_part(path: &Path) -> bool {
    let folders = |folder: &Path| -> Vec<PathBuf> {
        entries(folder).unwrap_or_default().into_iter().filter(|path| path.is_dir()).collect()
    };
    let called_part = |path: &PathBuf| {
        let parts = [Split::Train, Split::Valid, Split::Test];
        let name = path.file_name().unwrap_or_default();
        parts.into_iter().flat_map(names).any(|part| name == part.as_str())
    };
    !path.is_dir() || path.parent().is_some_and(|all| folders(all).iter().all(called_part)) || !folders(path).is_empty()
}

/// Refuses tables of pictures in a folder whose names begin so: they are read one at a time.
fn tables(folder: &Path, begin: &str) -> Result<(), Error> {
    if !folder.is_dir() {
        return Ok(());
    }
    let begins =
        |path: &PathBuf| path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(begin));
    let first = entries(folder)?.into_iter().find(|path| ends_in(path, &["parquet"]) && begins(path));
    let Some(first) = first else { return Ok(()) };
    let what = format!(
        "{} is one of its Parquet files, and only one is read; make one file of them, or give one by name",
        first.display()
    );
    Err(Error::Data { path: folder.to_path_buf(), what })
}

/// Folder or file of the first of `parts` that the folder `path` has; `path` itself if it has none of them.
///
/// # Errors
/// [`Error::Data`] if it has one of them twice.
pub fn pictures_of(path: &Path, parts: &[Split]) -> Result<PathBuf, Error> {
    for &part in parts {
        if let Some(found) = find(part, path)? {
            return Ok(found);
        }
    }
    Ok(path.to_path_buf())
}

/// The pictures to train and to evaluate on: a folder gives its `train`, and its `valid` (or `validation`, or `val`) if `eval_data`
/// is not given; of a folder given as `eval_data` its `valid` or else its `test`.
///
/// # Errors
/// [`Error::Data`] if a part is there twice, or `data` has others and no `train`.
pub fn picture_files(data: &Path, eval_data: Option<&Path>) -> Result<(PathBuf, Option<PathBuf>), Error> {
    let valid = find(Split::Valid, data)?;
    let other = valid.clone().or(find(Split::Test, data)?);
    let train = match (find(Split::Train, data)?, other) {
        (Some(train), _) => train,
        (None, None) => data.to_path_buf(),
        (None, Some(other)) => {
            let what = format!("it holds {}, and no train", other.display());
            return Err(Error::Data { path: data.to_path_buf(), what });
        }
    };
    let eval = eval_data.map(|path| pictures_of(path, &[Split::Valid, Split::Test])).transpose()?;
    Ok((train, eval.or(valid)))
}
