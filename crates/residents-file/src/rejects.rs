//! Rejected rows, written so that a spreadsheet shows them and runs nothing of them.

/// First characters that make a spreadsheet take a cell for a formula (OWASP, CSV injection).
const FORMULA_STARTS: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

/// What a file of rejects begins with: a mark, that tells spreadsheets that it is UTF-8, and the columns' names.
#[must_use]
pub fn rejects_header() -> Vec<u8> {
    [b"\xEF\xBB\xBF".as_slice(), b"line,reason,row\n"].concat()
}

/// One rejected row with its line end: where it stood, why, and its fields. No cell begins as a formula does.
#[must_use]
pub fn rejects_row(line: u64, reason: &str, fields: &[String]) -> Vec<u8> {
    let mut writer = csv::WriterBuilder::new().flexible(true).from_writer(Vec::new());
    let cells = [line.to_string(), neutral(reason)]
        .into_iter()
        .chain(fields.iter().map(|field| neutral(field)));
    writer
        .write_record(cells)
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
