//! Pictures in a Parquet file.

use std::path::{Path, PathBuf};

use super::{Labels, Read, Source};
use crate::data::parquet::images::Table;
use crate::error::Error;

/// The rows of a file.
#[derive(Debug)]
pub(super) struct Rows {
    path: PathBuf,
    table: Table,
}

pub(super) fn open(path: &Path) -> Result<Read, Error> {
    let mut table = Table::read(path)?;
    let wrong = |row: usize, what: String| Error::Line { path: path.to_path_buf(), line: row + 1, what };
    let names = table.names.take();
    let label = |(row, label): (usize, Option<i64>)| match (label, &names) {
        // The `datasets` library's word for a picture without one.
        (None | Some(-1), _) => Ok(None),
        (Some(label), names) => {
            let number = u32::try_from(label).ok();
            let known = number.filter(|&number| names.as_ref().is_none_or(|names| (number as usize) < names.len()));
            let of = names.as_ref().map_or_else(String::new, |names| format!("; there are {} classes", names.len()));
            known.map(Some).ok_or_else(|| wrong(row, format!("label {label} is no class{of}, numbered from 0")))
        }
    };
    let labels = match table.labels.take() {
        None => Labels::None,
        Some(labels) => {
            let labels = labels.into_iter().enumerate().map(label).collect::<Result<_, _>>()?;
            match names {
                Some(names) => Labels::Named { names, labels },
                None => Labels::Numbered(labels),
            }
        }
    };
    Ok(Read { source: Source::Parquet(Rows { path: path.to_path_buf(), table }), labels })
}

impl Rows {
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    pub(super) fn name(&self, place: usize) -> String {
        format!("{} row {}", self.path.display(), place + 1)
    }

    /// What is there of a picture, encoded.
    ///
    /// # Errors
    /// [`Error::Line`] if nothing is.
    pub(super) fn bytes(&self, place: usize) -> Result<&[u8], Error> {
        let bytes = self.table.bytes(place);
        if bytes.is_empty() {
            let what = "it has no `bytes` of a picture (what lies at a `path` is not read); put the pictures into the table, or \
                        leave such rows out with --skip-broken";
            return Err(Error::Line { path: self.path.clone(), line: place + 1, what: what.to_owned() });
        }
        Ok(bytes)
    }
}
