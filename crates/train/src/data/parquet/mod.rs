//! Parquet: columns in groups of rows, read as the same rows would be from JSONL.
//!
//! Columns go one way: `shape` (what a column's schema is in JSON, or why it cannot be used) → `pages` (the bytes of its pages,
//! checked and uncompressed) → `leaf` (numbers and texts with their levels) → `shape` again, which puts the values of a row
//! together. Only the columns that a row can be made of are read; others, of whatever type, are known by name alone.
//!
//! At most [`AT_ONCE`] rows of a column, the pages that they are in and the chunk's dictionary are in memory at a time, and one
//! row as JSON.
//!
//! A null in a column is null, and a field of a struct that is null is left out: the format cannot say that a row, or a message,
//! does not have a field that others have.

mod caught;
pub(super) mod images;
mod leaf;
mod pages;
mod shape;

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use parquet::errors::ParquetError;
use parquet::file::metadata::{
    ParquetMetaData, ParquetMetaDataOptions, ParquetMetaDataReader, ParquetStatisticsPolicy,
};
use parquet::schema::types::SchemaDescriptor;
use serde_json::{Map, Value};

use self::caught::caught;
use self::leaf::Leaf;
use self::shape::Shape;
use super::SeeRow;
use super::columns::COLUMNS;
use crate::error::Error;

/// Rows that are decoded at a time.
const AT_ONCE: usize = 64;

/// Shows `row` every row as an object, with its number from 1.
pub(super) fn each(path: &Path, file: File, row: &mut SeeRow<'_>) -> Result<(), Error> {
    let wrong = |what: String| Error::Data { path: path.to_path_buf(), what };
    let metadata = footer(&file).map_err(|e| wrong(format!("not a whole Parquet file: {e}; {AGAIN}")))?;
    let table = Table::of(metadata.file_metadata().schema_descr()).map_err(wrong)?;
    let file = Arc::new(file);
    let mut number = 0;
    for group in 0..metadata.num_row_groups() {
        let mut columns = table.open(&file, &metadata, group).map_err(wrong)?;
        let mut left = usize::try_from(metadata.row_group(group).num_rows())
            .map_err(|_| wrong(format!("row group {}: a negative number of rows; {AGAIN}", group + 1)))?;
        while left > 0 {
            let rows = left.min(AT_ONCE);
            columns.iter_mut().try_for_each(|column| column.decode(rows)).map_err(wrong)?;
            for _ in 0..rows {
                number += 1;
                table.object(&mut columns).and_then(|object| row(number, &object)).map_err(|what| Error::Line {
                    path: path.to_path_buf(),
                    line: number,
                    what,
                })?;
            }
            left -= rows;
        }
    }
    Ok(())
}

/// What to do about a damaged file.
const AGAIN: &str = "fetch or write the file again";

/// What the file is said to hold, without the statistics of its columns.
fn footer(file: &File) -> Result<ParquetMetaData, ParquetError> {
    let options = ParquetMetaDataOptions::new()
        .with_column_stats_policy(ParquetStatisticsPolicy::SkipAll)
        .with_size_stats_policy(ParquetStatisticsPolicy::SkipAll)
        .with_encoding_stats_policy(ParquetStatisticsPolicy::SkipAll);
    caught(|| ParquetMetaDataReader::new().with_metadata_options(Some(options)).parse_and_finish(file))
}

/// The columns of a file.
struct Table {
    read: Vec<Plan>,
    /// Names of the others.
    unread: Vec<String>,
}

/// How a column is read.
struct Plan {
    name: String,
    shape: Shape,
    /// Of the file's primitive columns, those that it consists of.
    leaves: Vec<usize>,
}

impl Table {
    fn of(schema: &SchemaDescriptor) -> Result<Self, String> {
        let mut table = Self { read: Vec::new(), unread: Vec::new() };
        for (root, field) in schema.root_schema().get_fields().iter().enumerate() {
            let name = field.name().to_owned();
            if !COLUMNS.contains(&field.name()) {
                table.unread.push(name);
                continue;
            }
            let leaves: Vec<usize> =
                (0..schema.num_columns()).filter(|&leaf| schema.get_column_root_idx(leaf) == root).collect();
            let shape = Shape::of(field, leaves.len())?;
            for &leaf in &leaves {
                leaf::check(&schema.column(leaf))?;
            }
            table.read.push(Plan { name, shape, leaves });
        }
        Ok(table)
    }

    /// The columns in a group of rows.
    fn open<'a>(
        &'a self,
        file: &Arc<File>,
        metadata: &ParquetMetaData,
        group: usize,
    ) -> Result<Vec<Column<'a>>, String> {
        let chunks = metadata.row_group(group);
        let open = |plan: &'a Plan| {
            let leaf = |&leaf: &usize| Leaf::open(file, chunks, leaf).map_err(|what| in_group(&what, group));
            let leaves = plan.leaves.iter().map(leaf).collect::<Result<_, _>>()?;
            Ok(Column { plan, leaves, group })
        };
        self.read.iter().map(open).collect()
    }

    /// The next row.
    fn object(&self, columns: &mut [Column<'_>]) -> Result<Map<String, Value>, String> {
        let mut object = Map::new();
        for column in columns {
            object.insert(column.plan.name.clone(), column.plan.shape.next(&mut column.leaves)?);
        }
        object.extend(self.unread.iter().map(|name| (name.clone(), Value::Null)));
        Ok(object)
    }
}

/// A column in a group of rows.
struct Column<'a> {
    plan: &'a Plan,
    leaves: Vec<Leaf>,
    group: usize,
}

impl Column<'_> {
    /// Makes `rows` rows ready.
    fn decode(&mut self, rows: usize) -> Result<(), String> {
        let group = self.group;
        self.leaves.iter_mut().try_for_each(|leaf| leaf.decode(rows)).map_err(|what| in_group(&what, group))
    }
}

fn in_group(what: &str, group: usize) -> String {
    format!("row group {}, {what}", group + 1)
}
