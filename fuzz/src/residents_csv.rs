//! Files of residents: every record becomes a row or a reject with its line number, and no cell of a file of rejects is
//! a formula.

use citycode_residents_file::{parse, read_text, rejects_header, rejects_row};

/// The first characters of formulas (OWASP, CSV Injection).
const FORMULA_STARTS: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

/// The characters that may separate fields, in the order in which they are tried.
const SEPARATORS: [char; 3] = [',', ';', '\t'];

/// Parses any bytes as `citycode import` does, and writes every row as a reject. The rows are compared with those of a
/// simple reader of CSV below.
///
/// # Panics
/// If a row is lost, duplicated, on another line or has other fields, or if a cell of a reject begins like a formula.
pub fn run(input: &[u8]) {
    let Ok(file) = parse(input, None) else {
        return;
    };
    let text = read_text(input, None).expect("the file was parsed, so it is text").text;
    let (header, expected) = expected(&text);
    let column = |name: &str| header.iter().position(|field| field.eq_ignore_ascii_case(name));
    let of_rejects = column("line").is_some() && column("reason").is_some();
    let added = |at: usize| {
        let name = header.get(at).map_or("", String::as_str);
        of_rejects && (name.eq_ignore_ascii_case("line") || name.eq_ignore_ascii_case("reason"))
    };
    assert_eq!(file.rows.len(), expected.len(), "the number of rows differs");
    let mut last_line = 0;
    for (row, (line, fields)) in file.rows.iter().zip(&expected) {
        let fields: Vec<String> = fields.iter().map(|field| value(field, of_rejects)).collect();
        let said = |name: &str| column(name).and_then(|at| fields.get(at)).map_or("", String::as_str);
        let kept = fields.iter().enumerate().filter(|(at, _)| !added(*at));
        let kept: Vec<String> = kept.map(|(_, field)| field.clone()).collect();
        let (row_line, reason, row_fields) = match row {
            Ok(resident) => {
                assert!(
                    fields.iter().skip(header.len()).all(String::is_empty),
                    "a row with too many fields was accepted"
                );
                assert!(
                    !fields.iter().any(|field| field.contains('\n')),
                    "a field of several lines was accepted"
                );
                assert_eq!(resident.id_number, said("id_number"), "the ID number differs");
                assert_eq!(resident.name, said("name"), "the name differs");
                assert_eq!(
                    resident.group.as_deref().unwrap_or_default(),
                    said("group"),
                    "the group differs"
                );
                (resident.line, "", &resident.fields)
            }
            Err(bad) => {
                assert!(!bad.reason.is_empty(), "a reject without a reason");
                (bad.line, bad.reason.as_str(), &bad.fields)
            }
        };
        assert_eq!(row_fields, &kept, "the fields differ");
        assert_eq!(row_line, *line, "the line differs");
        assert!(row_line > last_line, "two rows on one line");
        last_line = row_line;
        rejected(row_line, reason, &fields);
    }
    rejected(1, &text, std::slice::from_ref(&text));
}

/// The header, and every record after it that has a field which is not empty.
fn expected(text: &str) -> (Vec<String>, Vec<Record>) {
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    let named = first.trim_matches('"').strip_prefix("sep=");
    let named = SEPARATORS
        .into_iter()
        .find(|separator| named == Some(&separator.to_string()));
    let text = if named.is_some() {
        format!("\n{rest}")
    } else {
        text.to_owned()
    };
    for separator in SEPARATORS
        .into_iter()
        .filter(|separator| named.is_none_or(|named| named == *separator))
    {
        let mut records = records(&text, separator).into_iter();
        let (_, header) = records.next().expect("a parsed file has a header");
        let has = |name: &str| header.iter().any(|field| field.eq_ignore_ascii_case(name));
        if has("id_number") && has("name") {
            let rows = records.filter(|(_, fields)| fields.iter().any(|field| !field.is_empty()));
            return (header, rows.collect());
        }
    }
    panic!("a file without the required columns was parsed");
}

/// The field without the apostrophe that a file of rejects puts before formulas.
fn value(field: &str, of_rejects: bool) -> String {
    match field.strip_prefix('\'') {
        Some(rest) if of_rejects && rest.starts_with(FORMULA_STARTS) => rest.to_owned(),
        _ => field.to_owned(),
    }
}

/// Writes a reject and reads it as a spreadsheet program does: the cells are the same, except for the apostrophe before
/// formulas.
fn rejected(line: u64, reason: &str, fields: &[String]) {
    let bytes = [rejects_header(&[]), rejects_row(line, reason, fields)].concat();
    let text = std::str::from_utf8(&bytes).expect("it is written as UTF-8");
    let text = text
        .strip_prefix('\u{feff}')
        .expect("it begins with the byte order mark");
    // Line ends inside quoted cells are part of the cell, so they are not normalised here.
    let read = untrimmed_records(text, ',');
    assert_eq!(read.len(), 2, "a reject became several rows");
    let cells = &read[1].1;
    assert_eq!(cells[0], line.to_string());
    assert_eq!(cells.len(), fields.len() + 2, "a reject gained or lost cells");
    let given = std::iter::once(reason).chain(fields.iter().map(String::as_str));
    for (cell, given) in cells[1..].iter().zip(given) {
        assert!(!cell.starts_with(FORMULA_STARTS), "a cell begins like a formula");
        assert_eq!(cell.strip_prefix('\'').filter(|_| cell != given).unwrap_or(cell), given);
    }
}

/// The line on which a record begins, and its fields.
type Record = (u64, Vec<String>);

fn records(text: &str, separator: char) -> Vec<Record> {
    let mut records = untrimmed_records(text, separator);
    for (_, fields) in &mut records {
        for field in fields {
            *field = field.trim().to_owned();
        }
    }
    records
}

/// Reads CSV by RFC 4180, and like the crate `csv` where the RFC says nothing: empty lines are skipped, a quote inside
/// an unquoted field is a character, text after a closing quote belongs to the field, and the end of the file closes a
/// quoted field.
fn untrimmed_records(text: &str, separator: char) -> Vec<Record> {
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
            (_, other) if other == separator => {
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
