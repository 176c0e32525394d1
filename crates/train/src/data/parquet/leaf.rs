//! A primitive column of a group of rows: values with their levels, some rows at a time.

use std::fs::File;
use std::sync::Arc;

use parquet::basic::{ConvertedType, LogicalType, Type};
use parquet::column::reader::ColumnReaderImpl;
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, DoubleType, FloatType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::RowGroupMetaData;
use parquet::schema::types::ColumnDescriptor;
use serde_json::Value;

use super::AGAIN;
use super::caught::caught;
use super::pages::Pages;

/// What a primitive column holds, as far as rows of training data hold such.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Bool,
    Int32,
    Unsigned32,
    Int64,
    Unsigned64,
    Float,
    Double,
    Text,
}

impl Kind {
    fn of(column: &ColumnDescriptor) -> Option<Self> {
        let converted = column.converted_type();
        let signed = match column.logical_type_ref() {
            Some(LogicalType::Integer(int)) => Some(int.is_signed),
            // A column of nulls.
            Some(LogicalType::Unknown) => Some(true),
            Some(_) => None,
            None => match converted {
                ConvertedType::UINT_8 | ConvertedType::UINT_16 | ConvertedType::UINT_32 | ConvertedType::UINT_64 => {
                    Some(false)
                }
                ConvertedType::NONE
                | ConvertedType::INT_8
                | ConvertedType::INT_16
                | ConvertedType::INT_32
                | ConvertedType::INT_64 => Some(true),
                _ => None,
            },
        };
        let text = match column.logical_type_ref() {
            Some(LogicalType::String | LogicalType::Enum | LogicalType::Json | LogicalType::Unknown) => true,
            Some(_) => false,
            None => matches!(converted, ConvertedType::UTF8 | ConvertedType::ENUM | ConvertedType::JSON),
        };
        match (column.physical_type(), signed) {
            (Type::BYTE_ARRAY, _) if text => Some(Kind::Text),
            (Type::BOOLEAN, Some(true)) => Some(Kind::Bool),
            (Type::INT32, Some(true)) => Some(Kind::Int32),
            (Type::INT32, Some(false)) => Some(Kind::Unsigned32),
            (Type::INT64, Some(true)) => Some(Kind::Int64),
            (Type::INT64, Some(false)) => Some(Kind::Unsigned64),
            (Type::FLOAT, Some(true)) => Some(Kind::Float),
            (Type::DOUBLE, Some(true)) => Some(Kind::Double),
            _ => None,
        }
    }
}

/// Whether rows can be made of a column's values.
pub(super) fn check(column: &ColumnDescriptor) -> Result<(), String> {
    usable(column).map(drop)
}

fn usable(column: &ColumnDescriptor) -> Result<Kind, String> {
    Kind::of(column).ok_or_else(|| {
        let physical = column.physical_type();
        let annotated = match (column.logical_type_ref(), column.converted_type()) {
            (Some(logical), _) => format!(" ({logical:?})"),
            (None, ConvertedType::NONE) => String::new(),
            (None, converted) => format!(" ({converted})"),
        };
        format!(
            "column `{}` is of type {physical}{annotated}; expected texts, numbers, true or false, and lists and structs of them: \
             write it as one of these, or leave the column out",
            column.path().string()
        )
    })
}

/// A primitive column in a group of rows.
pub(super) struct Leaf {
    path: String,
    /// The definition level of a value that is there.
    there: i16,
    /// Empty if all are as they must be.
    definitions: Vec<i16>,
    repetitions: Vec<i16>,
    /// Entries decoded, and taken.
    entries: usize,
    taken: usize,
    values: Box<dyn Values>,
}

impl Leaf {
    /// Column `index` of the file in a group of rows.
    pub(super) fn open(file: &Arc<File>, group: &RowGroupMetaData, index: usize) -> Result<Self, String> {
        let (schema, columns) = (group.schema_descr(), group.columns());
        let (column, chunk) = (schema.column(index), columns.get(index));
        let path = column.path().string();
        let chunk = chunk.ok_or_else(|| format!("column `{path}` is missing; {AGAIN}"))?;
        let kind = usable(&column)?;
        let pages = Pages::open(file, chunk).map_err(|what| format!("column `{path}`: {what}"))?;
        let there = column.max_def_level();
        let values: Box<dyn Values> = match kind {
            Kind::Bool => Typed::<BoolType>::open(column, pages, |&x| Ok(Value::from(x))),
            Kind::Int32 => Typed::<Int32Type>::open(column, pages, |&x| Ok(Value::from(x))),
            Kind::Unsigned32 => Typed::<Int32Type>::open(column, pages, |&x| Ok(Value::from(x.cast_unsigned()))),
            Kind::Int64 => Typed::<Int64Type>::open(column, pages, |&x| Ok(Value::from(x))),
            Kind::Unsigned64 => Typed::<Int64Type>::open(column, pages, |&x| Ok(Value::from(x.cast_unsigned()))),
            Kind::Float => Typed::<FloatType>::open(column, pages, |&x| Ok(Value::from(x))),
            Kind::Double => Typed::<DoubleType>::open(column, pages, |&x| Ok(Value::from(x))),
            Kind::Text => Typed::<ByteArrayType>::open(column, pages, text),
        };
        let (definitions, repetitions) = (Vec::new(), Vec::new());
        Ok(Self { path, there, definitions, repetitions, entries: 0, taken: 0, values })
    }

    /// Makes the next `rows` rows ready; those before must be taken.
    pub(super) fn decode(&mut self, rows: usize) -> Result<(), String> {
        self.definitions.clear();
        self.repetitions.clear();
        let path = &self.path;
        let decoded = caught(|| self.values.decode(rows, &mut self.definitions, &mut self.repetitions));
        let (found, entries) = decoded.map_err(|e| format!("column `{path}` cannot be decoded: {e}; {AGAIN}"))?;
        if found != rows {
            return Err(format!("column `{path}` ends before the last row; {AGAIN}"));
        }
        (self.entries, self.taken) = (entries, 0);
        Ok(())
    }

    /// The definition level of the next entry.
    pub(super) fn definition(&self) -> Result<i16, String> {
        if self.taken >= self.entries {
            return Err(self.disagrees());
        }
        Ok(self.definitions.get(self.taken).copied().unwrap_or(self.there))
    }

    /// The repetition level of the next entry, if there is one.
    pub(super) fn repetition(&self) -> Option<i16> {
        (self.taken < self.entries).then(|| self.repetitions.get(self.taken).copied().unwrap_or(0))
    }

    /// Whether the next entry belongs to the row of the one before.
    pub(super) fn goes_on(&self) -> bool {
        self.repetition().is_some_and(|level| level > 0)
    }

    /// The next value; null if it is not there.
    pub(super) fn take(&mut self) -> Result<Value, String> {
        let definition = self.definition()?;
        self.taken += 1;
        if definition < self.there {
            return Ok(Value::Null);
        }
        let value = self.values.next().ok_or_else(|| self.disagrees())?;
        value.map_err(|what| format!("column `{}`: {what}", self.path))
    }

    /// What is said of lengths that do not fit.
    pub(super) fn disagrees(&self) -> String {
        format!("column `{}` is damaged: its lists are not as long as those beside it; {AGAIN}", self.path)
    }
}

/// Values of one type.
trait Values {
    /// Decodes rows; how many were found, with how many entries.
    fn decode(
        &mut self,
        rows: usize,
        definitions: &mut Vec<i16>,
        repetitions: &mut Vec<i16>,
    ) -> Result<(usize, usize), ParquetError>;

    /// The next one as JSON; what is wrong with it.
    fn next(&mut self) -> Option<Result<Value, String>>;
}

struct Typed<T: DataType> {
    reader: ColumnReaderImpl<T>,
    values: Vec<T::T>,
    taken: usize,
    to_json: fn(&T::T) -> Result<Value, String>,
}

impl<T: DataType> Typed<T> {
    fn open(column: Arc<ColumnDescriptor>, pages: Pages, to_json: fn(&T::T) -> Result<Value, String>) -> Box<Self> {
        let reader = ColumnReaderImpl::new(column, Box::new(pages));
        Box::new(Self { reader, values: Vec::new(), taken: 0, to_json })
    }
}

impl<T: DataType> Values for Typed<T> {
    fn decode(
        &mut self,
        rows: usize,
        definitions: &mut Vec<i16>,
        repetitions: &mut Vec<i16>,
    ) -> Result<(usize, usize), ParquetError> {
        self.values.clear();
        self.taken = 0;
        let (rows, _, entries) =
            self.reader.read_records(rows, Some(definitions), Some(repetitions), &mut self.values)?;
        Ok((rows, entries))
    }

    fn next(&mut self) -> Option<Result<Value, String>> {
        let value = self.values.get(self.taken)?;
        self.taken += 1;
        Some((self.to_json)(value))
    }
}

fn text(bytes: &ByteArray) -> Result<Value, String> {
    let text = std::str::from_utf8(bytes.data());
    text.map(Value::from).map_err(|e| format!("not UTF-8 (byte {} of the text)", e.valid_up_to() + 1))
}
