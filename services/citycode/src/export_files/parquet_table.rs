//! A table as Parquet, in row groups of a bounded size. A file without its footer is refused by every reader.

use std::io::Write;
use std::sync::Arc;

use parquet::basic::{ConvertedType, LogicalType, Repetition, Type as Physical};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, Int32Type, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::types::Type;
use serde_json::Value;

use super::{Column, ExportError, Kind, Table};

/// Rows that are held in memory until they are written as one group.
const GROUP_ROWS: usize = 65_536;

/// The values of a column of one group.
enum Values {
    Text(Vec<ByteArray>),
    Number(Vec<i64>),
    Day(Vec<i32>),
    Flag(Vec<bool>),
}

struct Buffer {
    column: &'static Column,
    values: Values,
    /// 1 for each row with a value, 0 for each without; empty for required columns.
    levels: Vec<i16>,
}

/// Writes a table.
pub(crate) struct ParquetTable<W: Write + Send> {
    table: &'static Table,
    writer: SerializedFileWriter<W>,
    buffers: Vec<Buffer>,
    rows: usize,
}

impl<W: Write + Send> ParquetTable<W> {
    pub(crate) fn begin(table: &'static Table, sink: W) -> Result<Self, ExportError> {
        let fields = table.columns.iter().map(field).collect::<Result<Vec<_>, _>>();
        let schema = Type::group_type_builder(table.name)
            .with_fields(fields.map_err(|error| encoding(&error))?)
            .build()
            .map_err(|error| encoding(&error))?;
        // The name and the version of the library are not part of the content.
        let properties = WriterProperties::builder()
            .set_created_by("citycode".to_owned())
            .build();
        let writer = SerializedFileWriter::new(sink, Arc::new(schema), Arc::new(properties));
        Ok(Self {
            table,
            writer: writer.map_err(|error| encoding(&error))?,
            buffers: table.columns.iter().map(Buffer::of).collect(),
            rows: 0,
        })
    }

    pub(crate) fn add(&mut self, row: &Value) -> Result<(), ExportError> {
        for buffer in &mut self.buffers {
            buffer.push(row).ok_or(ExportError::Row {
                table: self.table.name,
                column: buffer.column.name,
            })?;
        }
        self.rows += 1;
        if self.rows == GROUP_ROWS {
            self.write_group()?;
        }
        Ok(())
    }

    pub(crate) fn finish(mut self) -> Result<W, ExportError> {
        if self.rows > 0 {
            self.write_group()?;
        }
        self.writer.into_inner().map_err(|error| encoding(&error))
    }

    fn write_group(&mut self) -> Result<(), ExportError> {
        let mut group = self.writer.next_row_group().map_err(|error| encoding(&error))?;
        for buffer in &mut self.buffers {
            let column = group.next_column().map_err(|error| encoding(&error))?;
            let column = column.expect("the schema has a column for each buffer");
            buffer.write(column).map_err(|error| encoding(&error))?;
        }
        group.close().map_err(|error| encoding(&error))?;
        self.rows = 0;
        Ok(())
    }
}

fn encoding(error: &dyn std::fmt::Display) -> ExportError {
    ExportError::Encoding(error.to_string())
}

/// The schema of a column, with the annotations of both generations, so that old readers see types too.
fn field(column: &Column) -> parquet::errors::Result<Arc<Type>> {
    let (physical, logical, converted) = match column.kind {
        Kind::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String), ConvertedType::UTF8),
        Kind::Number => (Physical::INT64, None, ConvertedType::NONE),
        Kind::Instant => {
            let unit = parquet::basic::TimeUnit::MILLIS;
            let instant = LogicalType::timestamp(true, unit);
            (Physical::INT64, Some(instant), ConvertedType::TIMESTAMP_MILLIS)
        }
        Kind::Day => (Physical::INT32, Some(LogicalType::Date), ConvertedType::DATE),
        Kind::Flag => (Physical::BOOLEAN, None, ConvertedType::NONE),
    };
    let repetition = if column.optional {
        Repetition::OPTIONAL
    } else {
        Repetition::REQUIRED
    };
    let field = Type::primitive_type_builder(column.name, physical)
        .with_logical_type(logical)
        .with_converted_type(converted)
        .with_repetition(repetition)
        .build()?;
    Ok(Arc::new(field))
}

impl Buffer {
    fn of(column: &'static Column) -> Self {
        let values = match column.kind {
            Kind::Text => Values::Text(Vec::new()),
            Kind::Number | Kind::Instant => Values::Number(Vec::new()),
            Kind::Day => Values::Day(Vec::new()),
            Kind::Flag => Values::Flag(Vec::new()),
        };
        Self {
            column,
            values,
            levels: Vec::new(),
        }
    }

    /// Adds the value of a row; `None` if it has no valid one.
    fn push(&mut self, row: &Value) -> Option<()> {
        let value = row.get(self.column.name).unwrap_or(&Value::Null);
        if value.is_null() {
            self.levels.push(0);
            return self.column.optional.then_some(());
        }
        match &mut self.values {
            Values::Text(values) => values.push(ByteArray::from(value.as_str()?)),
            Values::Number(values) if self.column.kind == Kind::Instant => {
                let instant: jiff::Timestamp = value.as_str()?.parse().ok()?;
                values.push(instant.as_millisecond());
            }
            Values::Number(values) => values.push(i64::try_from(value.as_u64()?).ok()?),
            Values::Day(values) => {
                let day: jiff::civil::Date = value.as_str()?.parse().ok()?;
                let start = jiff::civil::date(1970, 1, 1);
                values.push(day.since((jiff::Unit::Day, start)).ok()?.get_days());
            }
            Values::Flag(values) => values.push(value.as_bool()?),
        }
        if self.column.optional {
            self.levels.push(1);
        }
        Some(())
    }

    /// Writes and forgets the values.
    fn write(&mut self, mut column: SerializedColumnWriter<'_>) -> parquet::errors::Result<()> {
        let levels = self.column.optional.then_some(self.levels.as_slice());
        match &mut self.values {
            Values::Text(values) => {
                column.typed::<ByteArrayType>().write_batch(values, levels, None)?;
                values.clear();
            }
            Values::Number(values) => {
                column.typed::<Int64Type>().write_batch(values, levels, None)?;
                values.clear();
            }
            Values::Day(values) => {
                column.typed::<Int32Type>().write_batch(values, levels, None)?;
                values.clear();
            }
            Values::Flag(values) => {
                column.typed::<BoolType>().write_batch(values, levels, None)?;
                values.clear();
            }
        }
        self.levels.clear();
        column.close()
    }
}
