//! Which files a path stands for: itself, or a folder's `train`, `valid` (or `validation`) and `test`.

use std::path::{Path, PathBuf};

use crate::error::Error;

/// A part of a folder of data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// `train.*`.
    Train,
    /// `valid.*` or `validation.*`.
    Valid,
    /// `test.*`.
    Test,
}

/// How the names of data files end.
const ENDINGS: [&str; 3] = ["jsonl", "csv", "parquet"];
/// What the one file of a part is called where parts may be cut into several, as on the Hugging Face hub.
const ONLY_SHARD: &str = "-00000-of-00001.parquet";

/// How a file is read, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// `*.csv`.
    Csv,
    /// `*.parquet`.
    Parquet,
    /// Every other.
    Jsonl,
}

impl Format {
    pub(super) fn of(path: &Path) -> Self {
        let ends = |with: &str| path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case(with));
        if ends("csv") {
            Format::Csv
        } else if ends("parquet") {
            Format::Parquet
        } else {
            Format::Jsonl
        }
    }
}

/// What a row is found by, in messages: a line of a text, or else the row itself.
pub(crate) fn unit(path: &Path) -> &'static str {
    match Format::of(path) {
        Format::Csv | Format::Jsonl => "line",
        Format::Parquet => "row",
    }
}

impl Split {
    pub(super) fn stems(self) -> &'static [&'static str] {
        match self {
            Split::Train => &["train"],
            Split::Valid => &["valid", "validation"],
            Split::Test => &["test"],
        }
    }

    /// Names that its file may have.
    fn names(self) -> impl Iterator<Item = String> {
        self.stems().iter().flat_map(|stem| {
            let named = ENDINGS.map(|ending| format!("{stem}.{ending}"));
            named.into_iter().chain([format!("{stem}{ONLY_SHARD}")])
        })
    }

    /// The file of this part in `folder`, if there is one.
    ///
    /// # Errors
    /// [`Error::Data`] if there are two.
    pub fn find(self, folder: &Path) -> Result<Option<PathBuf>, Error> {
        let mut found = self.names().map(|name| folder.join(name)).filter(|path| path.is_file());
        let (first, second) = (found.next(), found.next());
        if let (Some(first), Some(second)) = (&first, &second) {
            let what = format!("it holds {} and {}; give one of them by name", first.display(), second.display());
            return Err(Error::Data { path: folder.to_path_buf(), what });
        }
        Ok(first)
    }

    /// `path` itself if it is no folder; else the file of the first of `splits` that it has.
    ///
    /// # Errors
    /// [`Error::Data`] if it has none, or two of one.
    pub fn file(path: &Path, splits: &[Split]) -> Result<PathBuf, Error> {
        if !path.is_dir() {
            return Ok(path.to_path_buf());
        }
        for split in splits {
            if let Some(file) = split.find(path)? {
                return Ok(file);
            }
        }
        let wanted: Vec<_> = splits.iter().flat_map(|split| split.names()).collect();
        let what = format!("it is a folder without {}; {GIVE}", wanted.join(", "));
        Err(Error::Data { path: path.to_path_buf(), what })
    }
}

/// The files to train and to evaluate on: a folder gives its `train` file, and its `valid` file if `eval_data` is not given.
///
/// # Errors
/// As [`Split::file`].
pub fn folder_files(data: &Path, eval_data: Option<&Path>) -> Result<(PathBuf, Option<PathBuf>), Error> {
    let train = Split::file(data, &[Split::Train])?;
    let eval = match eval_data {
        Some(path) => Some(Split::file(path, &[Split::Valid, Split::Test])?),
        None if data.is_dir() => Split::Valid.find(data)?,
        None => None,
    };
    Ok((train, eval))
}

const GIVE: &str = "give a JSONL, CSV or Parquet file";

/// Whether a file may be one that can be read.
pub(super) fn check(path: &Path) -> Result<(), Error> {
    let wrong = |what: &str| Err(Error::Data { path: path.to_path_buf(), what: what.to_owned() });
    if path.is_dir() {
        return wrong(&format!("it is a folder; {GIVE}"));
    }
    if Format::of(path) == Format::Parquet && cfg!(not(feature = "parquet")) {
        return wrong(
            "this loract was built without Parquet; build it with --features parquet, or convert the file to JSONL, in Python: \
             pandas.read_parquet(path).to_json(out, orient=\"records\", lines=True)",
        );
    }
    Ok(())
}
