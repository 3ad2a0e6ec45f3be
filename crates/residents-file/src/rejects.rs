//! Writes rejected rows to a CSV file that a spreadsheet program shows without running a formula, and that can itself
//! be imported once its rows are corrected. Its columns are `line` and `reason`, then those of the imported file.

use std::borrow::Cow;

/// The first characters of cells that spreadsheet programs interpret as formulas (OWASP, CSV Injection).
const FORMULA_STARTS: [char; 11] = ['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'];

/// The beginning of a file of rejects: the byte order mark of UTF-8, which spreadsheet programs need, and the names of
/// the columns.
#[must_use]
pub fn rejects_header(columns: &[String]) -> Vec<u8> {
    let names = ["line", "reason"].into_iter().map(str::to_owned);
    let names = names.chain(columns.iter().map(|name| without_formula(name).into_owned()));
    [b"\xEF\xBB\xBF".to_vec(), record(names)].concat()
}

/// Whether the bytes begin like a file of rejects.
#[must_use]
pub fn is_rejects(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\xEF\xBB\xBFline,reason,")
}

/// One rejected row with its line end: its line in the imported file, the reason, and its fields. No cell begins like a
/// formula.
#[must_use]
pub fn rejects_row(line: u64, reason: &str, fields: &[String]) -> Vec<u8> {
    let cells = [line.to_string(), without_formula(reason).into_owned()];
    record(
        cells
            .into_iter()
            .chain(fields.iter().map(|field| without_formula(field).into_owned())),
    )
}

fn record(cells: impl Iterator<Item = String>) -> Vec<u8> {
    let mut writer = csv::WriterBuilder::new().flexible(true).from_writer(Vec::new());
    writer
        .write_record(cells.collect::<Vec<_>>())
        .expect("writing to a Vec does not fail, and rows of any length are allowed");
    writer.into_inner().expect("writing to a Vec does not fail")
}

/// The field, with an apostrophe before it if a spreadsheet program would interpret it as a formula.
#[must_use]
pub fn without_formula(field: &str) -> Cow<'_, str> {
    if field.starts_with(FORMULA_STARTS) {
        Cow::Owned(format!("'{field}"))
    } else {
        Cow::Borrowed(field)
    }
}

/// The inverse of [`without_formula`].
pub(crate) fn original(field: &str) -> &str {
    match field.strip_prefix('\'') {
        Some(rest) if rest.starts_with(FORMULA_STARTS) => rest,
        _ => field,
    }
}
