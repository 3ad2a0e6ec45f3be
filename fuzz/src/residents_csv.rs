//! A file of residents: every line of it comes out as a row or a reject, under its own number, and what goes back
//! into a spreadsheet is never a formula.

use citycode_residents_file::{decode, parse, rejects_header, rejects_row};

/// What begins a formula (OWASP, CSV injection).
const FORMULA_STARTS: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

/// Reads any bytes as `citycode import` would, and rejects every row of them.
///
/// The rows are held against a reader of our own below, which is slow and plain.
///
/// # Panics
/// When a row is lost, doubled, on another line or has other fields; or a reject's cell begins a formula.
pub fn run(input: &[u8]) {
    let Ok(rows) = parse(input) else {
        return;
    };
    let text = decode(input).expect("what was parsed is text");
    let mut expected = records(&text).into_iter();
    let (_, header) = expected.next().expect("a file without a header has no columns");
    let expected: Vec<Record> = expected.collect();
    assert_eq!(rows.len(), expected.len(), "rows lost or made up");
    let column = |name: &str| header.iter().position(|field| field.eq_ignore_ascii_case(name));
    let mut last_line = 0;
    for (row, (line, fields)) in rows.iter().zip(&expected) {
        let said = |name: &str| column(name).and_then(|at| fields.get(at)).map_or("", String::as_str);
        let (row_line, reason) = match row {
            Ok(resident) => {
                assert_eq!(fields.len(), header.len(), "a row of another shape was taken");
                assert_eq!(resident.id_number, said("id_number"), "another ID number");
                assert_eq!(resident.name, said("name"), "another name");
                assert_eq!(
                    resident.group.as_deref().unwrap_or_default(),
                    said("group"),
                    "another group"
                );
                (resident.line, "")
            }
            Err(bad) => {
                assert_eq!(&bad.fields, fields, "a reject with other fields");
                assert!(!bad.reason.is_empty(), "a reject without a reason");
                (bad.line, bad.reason.as_str())
            }
        };
        assert_eq!(row_line, *line, "a row on another line");
        assert!(row_line > last_line, "two rows on one line");
        last_line = row_line;
        rejected(row_line, reason, fields);
    }
    rejected(1, &text, std::slice::from_ref(&text));
}

/// Writes a reject and reads it as a spreadsheet would: the same cells, but for the mark before formulas.
fn rejected(line: u64, reason: &str, fields: &[String]) {
    let bytes = [rejects_header(), rejects_row(line, reason, fields)].concat();
    let text = std::str::from_utf8(&bytes).expect("written as UTF-8");
    let text = text.strip_prefix('\u{feff}').expect("begins with the mark");
    // Quoted cells keep their line ends, so nothing is replaced before reading.
    let read = untrimmed_records(text);
    assert_eq!(read.len(), 2, "a reject became several rows");
    let cells = &read[1].1;
    assert_eq!(cells[0], line.to_string());
    assert_eq!(cells.len(), fields.len() + 2, "a reject gained or lost cells");
    let given = std::iter::once(reason).chain(fields.iter().map(String::as_str));
    for (cell, given) in cells[1..].iter().zip(given) {
        assert!(!cell.starts_with(FORMULA_STARTS), "a formula");
        assert_eq!(cell.strip_prefix('\'').filter(|_| cell != given).unwrap_or(cell), given);
    }
}

/// The line on which a record begins, and its fields.
type Record = (u64, Vec<String>);

fn records(text: &str) -> Vec<Record> {
    let mut records = untrimmed_records(text);
    for (_, fields) in &mut records {
        for field in fields {
            *field = field.trim().to_owned();
        }
    }
    records
}

/// CSV as RFC 4180 has it, and where it is silent as the crate `csv` does: empty lines are skipped, a quote inside an
/// unquoted field is a character, what follows a closing quote belongs to the field, the file's end closes all.
fn untrimmed_records(text: &str) -> Vec<Record> {
    #[derive(PartialEq)]
    enum At {
        RecordStart,
        FieldStart,
        Plain,
        Quoted,
        ClosingQuote,
    }
    let (mut records, mut fields, mut field) = (Vec::new(), Vec::new(), String::new());
    let (mut at, mut line, mut began) = (At::RecordStart, 1, 1);
    for character in text.chars() {
        if at == At::RecordStart && character != '\n' {
            began = line;
            at = At::FieldStart;
        }
        at = match (at, character) {
            (At::RecordStart, _) => At::RecordStart,
            (At::FieldStart, '"') => At::Quoted,
            (At::Quoted, '"') => At::ClosingQuote,
            (At::Quoted, other) => {
                field.push(other);
                At::Quoted
            }
            (At::ClosingQuote, '"') => {
                field.push('"');
                At::Quoted
            }
            (_, ',') => {
                fields.push(std::mem::take(&mut field));
                At::FieldStart
            }
            (_, '\n') => {
                fields.push(std::mem::take(&mut field));
                records.push((began, std::mem::take(&mut fields)));
                At::RecordStart
            }
            (_, other) => {
                field.push(other);
                At::Plain
            }
        };
        line += u64::from(character == '\n');
    }
    if at != At::RecordStart {
        fields.push(field);
        records.push((began, fields));
    }
    records
}
