//! CSV: the first line names the columns; fields are texts, those of columns that hold lists are JSON.

use std::collections::HashSet;
use std::io::Read;
use std::path::Path;

use serde_json::{Map, Value};

use super::SeeRow;
use crate::error::Error;

/// Columns whose fields are lists, written as JSON.
const LISTS: [&str; 6] = ["input_ids", "labels", "messages", "conversations", "choices", "tools"];

/// Shows `row` every record as an object, with the line where it begins.
pub(super) fn each(path: &Path, file: impl Read, row: &mut SeeRow<'_>) -> Result<(), Error> {
    let mut reader = csv::ReaderBuilder::new().from_reader(file);
    let failed = |error: csv::Error| {
        let line = error.position().map_or(1, |position| position.line() as usize);
        match error.into_kind() {
            csv::ErrorKind::Io(reason) => Error::Read { path: path.to_path_buf(), reason },
            kind => Error::Line { path: path.to_path_buf(), line, what: words(&kind) },
        }
    };
    let columns = reader.headers().map_err(failed)?.clone();
    if let Some(column) = twice(&columns) {
        let what = format!("column `{column}` is there twice; which of them is meant cannot be known");
        return Err(Error::Line { path: path.to_path_buf(), line: 1, what });
    }
    let mut record = csv::StringRecord::new();
    while reader.read_record(&mut record).map_err(failed)? {
        let line = record.position().map_or(1, |position| position.line() as usize);
        object(&columns, &record).and_then(|object| row(line, &object)).map_err(|what| Error::Line {
            path: path.to_path_buf(),
            line,
            what,
        })?;
    }
    Ok(())
}

/// The first column whose name another has too; columns without a name are nobody's.
fn twice(columns: &csv::StringRecord) -> Option<&str> {
    let mut seen = HashSet::new();
    columns.iter().find(|column| !column.is_empty() && !seen.insert(*column))
}

fn object(columns: &csv::StringRecord, record: &csv::StringRecord) -> Result<Map<String, Value>, String> {
    let mut object = Map::new();
    for (column, field) in columns.iter().zip(record) {
        let value = if !LISTS.contains(&column) {
            Value::from(field)
        } else if field.is_empty() {
            continue;
        } else {
            serde_json::from_str(field).map_err(|e| format!("`{column}` is not JSON: {e}"))?
        };
        object.insert(column.to_owned(), value);
    }
    Ok(object)
}

fn words(kind: &csv::ErrorKind) -> String {
    match kind {
        csv::ErrorKind::Utf8 { err, .. } => {
            format!("not UTF-8 in field {}; convert the file to UTF-8", err.field() + 1)
        }
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!(
                "{len} fields for {expected_len} columns; a field with commas or line breaks needs quotes around it"
            )
        }
        other => format!("not CSV: {other:?}"),
    }
}
