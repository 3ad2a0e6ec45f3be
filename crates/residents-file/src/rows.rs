//! Parses text into rows.

use encoding_rs::Encoding;

use crate::quotes::open_quote;
use crate::rejects::original;
use crate::text::{DecidedBy, Text, read_text};
use crate::{BadRow, Resident, ResidentsFileError, check_size};

/// The bytes that may separate fields, in the order in which they are tried.
const SEPARATORS: [u8; 3] = [b',', b';', b'\t'];
/// Columns that a file of rejects has before those of the file that was imported.
const OF_REJECTS: [&str; 2] = ["line", "reason"];

/// A parsed file.
pub struct ResidentsFile {
    /// The names of the columns in the first line, without those that a file of rejects adds.
    pub columns: Vec<String>,
    /// Every row, in order. A line whose fields are all empty is not a row.
    pub rows: Vec<Result<Resident, BadRow>>,
    /// The encoding with which the file was decoded.
    pub encoding: &'static Encoding,
    /// How the encoding was determined.
    pub decided_by: DecidedBy,
}

/// Parses the bytes of a whole file: every row, in order, as a resident or a bad row. `encoding` is used unless the
/// file has a byte order mark; without either the encoding is determined from the content.
///
/// # Errors
/// [`ResidentsFileError`] if the file as a whole is refused.
pub fn parse(bytes: &[u8], encoding: Option<&'static Encoding>) -> Result<ResidentsFile, ResidentsFileError> {
    check_size(bytes.len() as u64)?;
    let mut text = read_text(bytes, encoding)?;
    let separator = take_separator(&mut text.text);
    let columns = Columns::of(&text, separator)?;
    if let Some(line) = open_quote(&text.text, columns.separator) {
        return Err(ResidentsFileError::OpenQuote { line });
    }
    let mut rows = Vec::new();
    let mut reader = reader(&text.text, columns.separator);
    for record in reader.records() {
        let record = record.map_err(not_csv)?;
        if record.iter().any(|field| !field.is_empty()) {
            let line = record.position().map_or(0, |position| line_of(&text.text, position));
            rows.push(columns.row(&record, line, &text));
        }
    }
    Ok(ResidentsFile {
        columns: columns.kept(columns.names.iter().map(String::as_str)),
        rows,
        encoding: text.encoding,
        decided_by: text.decided_by,
    })
}

fn reader(text: &str, separator: u8) -> csv::Reader<&[u8]> {
    csv::ReaderBuilder::new()
        .flexible(true)
        .trim(csv::Trim::All)
        .delimiter(separator)
        .from_reader(text.as_bytes())
}

#[expect(clippy::needless_pass_by_value, reason = "`map_err` passes the error by value")]
fn not_csv(error: csv::Error) -> ResidentsFileError {
    ResidentsFileError::Csv(error.to_string())
}

/// The separator that a first line such as `sep=;` names; some spreadsheet programs write it. The line is emptied but
/// kept, so that the numbers of the other lines do not change.
fn take_separator(text: &mut String) -> Option<u8> {
    let end = text.find('\n').unwrap_or(text.len());
    let named = text[..end].trim_matches('"').strip_prefix("sep=")?.as_bytes();
    let separator = SEPARATORS.into_iter().find(|separator| named == [*separator])?;
    text.replace_range(..end, "");
    Some(separator)
}

/// The indices of the columns that are read.
struct Columns {
    separator: u8,
    names: Vec<String>,
    id_number: usize,
    name: usize,
    disability: Option<usize>,
    group: Option<usize>,
    /// Whether the file has the columns of a file of rejects.
    of_rejects: bool,
}

impl Columns {
    fn of(text: &Text, named: Option<u8>) -> Result<Self, ResidentsFileError> {
        let tried = named.map_or(SEPARATORS.to_vec(), |separator| vec![separator]);
        let mut refused = None;
        for separator in tried {
            let header = reader(&text.text, separator).headers().map_err(not_csv)?.clone();
            match Self::named(&header, separator) {
                Ok(columns) => return Ok(columns),
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        Err(refused.unwrap_or(ResidentsFileError::MissingColumn("id_number")))
    }

    fn named(header: &csv::StringRecord, separator: u8) -> Result<Self, ResidentsFileError> {
        let column = |name: &str| header.iter().position(|field| field.eq_ignore_ascii_case(name));
        let needed = |name: &'static str| column(name).ok_or(ResidentsFileError::MissingColumn(name));
        Ok(Self {
            separator,
            names: header.iter().map(str::to_owned).collect(),
            id_number: needed("id_number")?,
            name: needed("name")?,
            disability: column("disability"),
            group: column("group"),
            of_rejects: OF_REJECTS.iter().all(|name| column(name).is_some()),
        })
    }

    /// The given values (of a row, or the names) without those of the columns that a file of rejects adds.
    fn kept<'a>(&self, values: impl Iterator<Item = &'a str>) -> Vec<String> {
        let added = |at: usize| {
            let name = self.names.get(at).map_or("", String::as_str);
            self.of_rejects && OF_REJECTS.iter().any(|added| name.eq_ignore_ascii_case(added))
        };
        let kept = values.enumerate().filter(|(at, _)| !added(*at));
        kept.map(|(_, value)| self.original(value).to_owned()).collect()
    }

    /// The value without the apostrophe that a file of rejects puts before what a spreadsheet would run as a formula.
    fn original<'a>(&self, value: &'a str) -> &'a str {
        if self.of_rejects { original(value) } else { value }
    }

    fn row(&self, record: &csv::StringRecord, line: u64, text: &Text) -> Result<Resident, BadRow> {
        let field = |at: Option<usize>| self.original(at.and_then(|at| record.get(at)).unwrap_or_default());
        let fields = self.kept(record.iter());
        let lines = line..=line
            + record
                .iter()
                .map(|field| field.matches('\n').count() as u64)
                .sum::<u64>();
        let disability = flag(field(self.disability));
        let reason = if text.bad_lines.range(lines.clone()).next().is_some() {
            format!("the line holds bytes that are not {}", text.encoding.name())
        } else if lines.clone().count() > 1 {
            format!(
                "a quoted field runs from line {} to line {}: a quote is missing or too many",
                lines.start(),
                lines.end()
            )
        } else if record.iter().skip(self.names.len()).any(|extra| !extra.is_empty()) {
            "the row has more fields than the first line names columns".to_owned()
        } else if record.len() <= self.id_number.max(self.name) {
            "the row ends before its ID number and its name".to_owned()
        } else if disability.is_none() {
            "disability is 1, yes, true, 是, or 0, no, false, 否, or empty".to_owned()
        } else {
            let group = Some(field(self.group)).filter(|group| !group.is_empty());
            return Ok(Resident {
                line,
                id_number: field(Some(self.id_number)).to_owned(),
                name: field(Some(self.name)).to_owned(),
                disability: disability.unwrap_or_default(),
                group: group.map(str::to_owned),
                fields,
            });
        };
        Err(BadRow { line, reason, fields })
    }
}

/// The line of a record's first character. The position that the CSV reader reports is before the empty lines that it
/// skipped.
fn line_of(text: &str, position: &csv::Position) -> u64 {
    let from = usize::try_from(position.byte()).unwrap_or(usize::MAX);
    let rest = text.as_bytes().get(from..).unwrap_or_default();
    let skipped = rest.iter().take_while(|byte| **byte == b'\n').count();
    position.line() + skipped as u64
}

fn flag(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "yes" | "true" | "y" | "是" => Some(true),
        "" | "0" | "no" | "false" | "n" | "否" => Some(false),
        _ => None,
    }
}
