//! Rejected rows, written so that a spreadsheet shows them and runs nothing of them, and so that the file can be
//! imported itself once its rows are corrected: its columns are those of the file that was imported, after `line`
//! and `reason`.

/// First characters that make a spreadsheet take a cell for a formula (OWASP, CSV injection).
const FORMULA_STARTS: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

/// What a file of rejects begins with: a mark, that tells spreadsheets that it is UTF-8, and the columns' names.
#[must_use]
pub fn rejects_header(columns: &[String]) -> Vec<u8> {
    let names = ["line", "reason"].into_iter().map(str::to_owned);
    let names = names.chain(columns.iter().map(|name| neutral(name)));
    [b"\xEF\xBB\xBF".to_vec(), record(names)].concat()
}

/// Whether bytes begin as a file of rejects does.
#[must_use]
pub fn is_rejects(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\xEF\xBB\xBFline,reason,")
}

/// One rejected row with its line end: where it stood, why, and its fields. No cell begins as a formula does.
#[must_use]
pub fn rejects_row(line: u64, reason: &str, fields: &[String]) -> Vec<u8> {
    let cells = [line.to_string(), neutral(reason)];
    record(cells.into_iter().chain(fields.iter().map(|field| neutral(field))))
}

fn record(cells: impl Iterator<Item = String>) -> Vec<u8> {
    let mut writer = csv::WriterBuilder::new().flexible(true).from_writer(Vec::new());
    writer
        .write_record(cells.collect::<Vec<_>>())
        .expect("a Vec takes every byte, rows of any length are allowed");
    writer.into_inner().expect("a Vec takes every byte")
}

/// A field that no spreadsheet takes for a formula.
fn neutral(field: &str) -> String {
    if field.starts_with(FORMULA_STARTS) {
        format!("'{field}")
    } else {
        field.to_owned()
    }
}

/// What [`neutral`] was given.
pub(crate) fn original(field: &str) -> &str {
    match field.strip_prefix('\'') {
        Some(rest) if rest.starts_with(FORMULA_STARTS) => rest,
        _ => field,
    }
}
