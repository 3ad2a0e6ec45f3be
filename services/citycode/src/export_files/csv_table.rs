//! A table as CSV (RFC 4180) with a header, in UTF-8 without a byte order mark.

use std::borrow::Cow;
use std::io::Write;

use citycode_residents_file::without_formula;
use serde_json::Value;

use super::{Column, ExportError, Kind, Table};

/// Writes a table.
pub(crate) struct CsvTable<W: Write> {
    table: &'static Table,
    writer: csv::Writer<W>,
}

impl<W: Write> CsvTable<W> {
    pub(crate) fn begin(table: &'static Table, sink: W) -> Result<Self, ExportError> {
        let mut writer = csv::WriterBuilder::new().from_writer(sink);
        let names = table.columns.iter().map(|column| column.name);
        writer.write_record(names).map_err(|error| encoding(&error))?;
        Ok(Self { table, writer })
    }

    pub(crate) fn add(&mut self, row: &Value) -> Result<(), ExportError> {
        for column in self.table.columns {
            let invalid = || ExportError::Row {
                table: self.table.name,
                column: column.name,
            };
            let cell = cell(column, row).ok_or_else(invalid)?;
            self.writer.write_field(&*cell).map_err(|error| encoding(&error))?;
        }
        let end = self.writer.write_record(None::<&[u8]>);
        end.map_err(|error| encoding(&error))
    }

    pub(crate) fn finish(self) -> Result<W, ExportError> {
        self.writer.into_inner().map_err(|error| encoding(error.error()))
    }
}

fn encoding(error: &dyn std::fmt::Display) -> ExportError {
    ExportError::Encoding(error.to_string())
}

/// The text of a cell; `None` if the row has no valid value. An optional column without a value is empty.
fn cell<'a>(column: &Column, row: &'a Value) -> Option<Cow<'a, str>> {
    let value = row.get(column.name).unwrap_or(&Value::Null);
    if value.is_null() {
        return column.optional.then_some(Cow::Borrowed(""));
    }
    Some(match column.kind {
        Kind::Text => without_formula(value.as_str()?),
        Kind::Instant => Cow::Owned(value.as_str()?.parse::<jiff::Timestamp>().ok()?.to_string()),
        Kind::Day => Cow::Owned(value.as_str()?.parse::<jiff::civil::Date>().ok()?.to_string()),
        Kind::Number => Cow::Owned(i64::try_from(value.as_u64()?).ok()?.to_string()),
        Kind::Flag => Cow::Borrowed(if value.as_bool()? { "true" } else { "false" }),
    })
}
