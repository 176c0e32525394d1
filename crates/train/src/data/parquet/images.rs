//! Pictures in Parquet, as Hugging Face's `datasets` stores them: a struct `image` of `bytes` and `path`, a whole number `label`,
//! and in the file's metadata, under `huggingface`, which columns these are and what the classes are called.
//!
//! All bytes of the pictures, still encoded, are in memory: they are wanted in any order, and a page holds many.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use parquet::basic::Type;
use parquet::column::reader::ColumnReaderImpl;
use parquet::data_type::{ByteArrayType, DataType, Int32Type, Int64Type};
use parquet::file::metadata::ParquetMetaData;
use parquet::schema::types::SchemaDescriptor;
use serde_json::Value;

use super::caught::caught;
use super::pages::Pages;
use super::{AGAIN, AT_ONCE, footer, in_group};
use crate::error::Error;

/// What a file holds.
#[derive(Debug, Default)]
pub(in crate::data) struct Table {
    /// The pictures one after the other; where each ends.
    bytes: Vec<u8>,
    ends: Vec<usize>,
    /// A label of each, or none at all.
    pub(in crate::data) labels: Option<Vec<Option<i64>>>,
    /// What they are called, by number.
    pub(in crate::data) names: Option<Vec<String>>,
}

/// Names of columns that are looked for where the metadata says nothing.
const IMAGES: [&str; 2] = ["image", "img"];
const LABELS: [&str; 2] = ["label", "labels"];

impl Table {
    pub(in crate::data) fn read(path: &Path) -> Result<Self, Error> {
        let wrong = |what: String| Error::Data { path: path.to_path_buf(), what };
        let file = File::open(path).map_err(|reason| Error::Read { path: path.to_path_buf(), reason })?;
        let metadata = footer(&file).map_err(|e| wrong(format!("not a whole Parquet file: {e}; {AGAIN}")))?;
        Self::of(&Arc::new(file), &metadata).map_err(wrong)
    }

    pub(in crate::data) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The bytes of a picture; none if it has none.
    pub(in crate::data) fn bytes(&self, row: usize) -> &[u8] {
        let start = row.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..self.ends[row]]
    }

    fn of(file: &Arc<File>, metadata: &ParquetMetaData) -> Result<Self, String> {
        let schema = metadata.file_metadata().schema_descr();
        let features = features(metadata);
        let (images, label) = (image_column(schema, &features)?, label_column(schema, &features)?);
        let names = label.and_then(|column| names(features.get(schema.column(column).name())?));
        let mut table = Self { labels: label.map(|_| Vec::new()), names, ..Self::default() };
        for group in 0..metadata.num_row_groups() {
            let read = |column: usize, table: &mut Self| -> Result<(), String> {
                match schema.column(column).physical_type() {
                    Type::BYTE_ARRAY => column_of::<ByteArrayType>(file, metadata, group, column, |bytes| {
                        table.bytes.extend(bytes.map_or(&[][..], |bytes| bytes.data()));
                        table.ends.push(table.bytes.len());
                    }),
                    Type::INT32 => column_of::<Int32Type>(file, metadata, group, column, |label| {
                        table.labels.get_or_insert_default().push(label.copied().map(i64::from));
                    }),
                    _ => column_of::<Int64Type>(file, metadata, group, column, |label| {
                        table.labels.get_or_insert_default().push(label.copied());
                    }),
                }
            };
            let columns = std::iter::once(images).chain(label);
            columns.into_iter().try_for_each(|column| read(column, &mut table)).map_err(|e| in_group(&e, group))?;
        }
        Ok(table)
    }
}

/// Shows `each` every value of a column in a group of rows; nothing where it is null.
fn column_of<T: DataType>(
    file: &Arc<File>,
    metadata: &ParquetMetaData,
    group: usize,
    column: usize,
    mut each: impl FnMut(Option<&T::T>),
) -> Result<(), String> {
    let chunks = metadata.row_group(group);
    let (description, chunk) = (metadata.file_metadata().schema_descr().column(column), chunks.columns().get(column));
    let name = description.path().string();
    let chunk = chunk.ok_or_else(|| format!("column `{name}` is missing; {AGAIN}"))?;
    let pages = Pages::open(file, chunk).map_err(|what| format!("column `{name}`: {what}"))?;
    let there = description.max_def_level();
    let mut reader = ColumnReaderImpl::<T>::new(description, Box::new(pages));
    let rows = usize::try_from(chunks.num_rows()).map_err(|_| format!("a negative number of rows; {AGAIN}"))?;
    let (mut left, mut levels, mut values) = (rows, Vec::new(), Vec::new());
    while left > 0 {
        levels.clear();
        values.clear();
        let wanted = left.min(AT_ONCE);
        let read = caught(|| reader.read_records(wanted, Some(&mut levels), None, &mut values));
        let (found, ..) = read.map_err(|e| format!("column `{name}` cannot be decoded: {e}; {AGAIN}"))?;
        let held = if there == 0 { found } else { levels.iter().filter(|&&level| level == there).count() };
        if found != wanted || values.len() != held || (there > 0 && levels.len() != wanted) {
            return Err(format!("column `{name}` ends before the last row; {AGAIN}"));
        }
        let mut values = values.iter();
        for row in 0..wanted {
            // Without levels all are there.
            let held = levels.get(row).is_none_or(|&level| level == there);
            each(if held { values.next() } else { None });
        }
        left -= wanted;
    }
    Ok(())
}

/// What the `datasets` library says of the columns, by name; `null` if it says nothing.
fn features(metadata: &ParquetMetaData) -> Value {
    let pairs = metadata.file_metadata().key_value_metadata();
    let text =
        pairs.into_iter().flatten().find(|pair| pair.key == "huggingface").and_then(|pair| pair.value.as_deref());
    let said: Option<Value> = text.and_then(|text| serde_json::from_str(text).ok());
    said.and_then(|said| said.pointer("/info/features").cloned()).unwrap_or_default()
}

/// Columns of a kind, by what is said of them.
fn of_kind<'a>(features: &'a Value, kind: &str) -> Vec<&'a str> {
    let all = features.as_object().into_iter().flatten();
    all.filter(|(_, feature)| feature["_type"] == kind).map(|(name, _)| name.as_str()).collect()
}

/// The place of the column with this path, if it is no part of a list.
fn place(schema: &SchemaDescriptor, path: &[&str]) -> Option<usize> {
    let is = |&column: &usize| {
        let column = schema.column(column);
        column.path().parts() == path && column.max_rep_level() == 0
    };
    (0..schema.num_columns()).find(is)
}

fn image_column(schema: &SchemaDescriptor, features: &Value) -> Result<usize, String> {
    let said = of_kind(features, "Image");
    let found = said.iter().chain(&IMAGES).find_map(|name| place(schema, &[name, "bytes"]));
    let fields = schema.root_schema().get_fields();
    let column = found.ok_or_else(|| {
        let names: Vec<_> = fields.iter().map(|field| field.name().to_owned()).collect();
        format!("it has no column `image` of structs with `bytes`; it has {}", names.join(", "))
    })?;
    match schema.column(column).physical_type() {
        Type::BYTE_ARRAY => Ok(column),
        other => Err(format!("column `{}` is of type {other}, expected bytes", schema.column(column).path().string())),
    }
}

/// The labels: `label`, or the one column that is said to hold some.
fn label_column(schema: &SchemaDescriptor, features: &Value) -> Result<Option<usize>, String> {
    let said = of_kind(features, "ClassLabel");
    let named = LABELS.iter().find_map(|name| place(schema, &[name]));
    let column = match (named, &said[..]) {
        (Some(column), _) => column,
        (None, []) => return Ok(None),
        (None, [one]) => match place(schema, &[one]) {
            Some(column) => column,
            None => return Ok(None),
        },
        (None, several) => {
            return Err(format!(
                "it has labels of several kinds, {}; call the one to train on `label`",
                several.join(", ")
            ));
        }
    };
    match schema.column(column).physical_type() {
        Type::INT32 | Type::INT64 => Ok(Some(column)),
        other => Err(format!(
            "column `{}` is of type {other}, expected whole numbers",
            schema.column(column).path().string()
        )),
    }
}

/// Names of classes in the order of their numbers.
fn names(feature: &Value) -> Option<Vec<String>> {
    match &feature["names"] {
        Value::Array(names) => names.iter().map(|name| name.as_str().map(str::to_owned)).collect(),
        // Of older versions: by number.
        Value::Object(names) => {
            (0..names.len()).map(|number| names.get(&number.to_string())?.as_str().map(str::to_owned)).collect()
        }
        _ => None,
    }
}
