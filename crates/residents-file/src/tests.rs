use encoding_rs::{BIG5, GB18030, SHIFT_JIS};

use super::*;

fn names(bytes: &[u8]) -> Vec<String> {
    names_in(bytes, None)
}

fn names_in(bytes: &[u8], encoding: Option<&'static Encoding>) -> Vec<String> {
    parse(bytes, encoding)
        .unwrap()
        .rows
        .into_iter()
        .map(|row| row.map_or_else(|bad| format!("{}: {}", bad.line, bad.reason), |row| row.name))
        .collect()
}

fn refusal(bytes: &[u8]) -> String {
    parse(bytes, None).err().expect("a refusal").to_string()
}

fn lines(text: &str) -> Vec<u64> {
    let rows = parse(text.as_bytes(), None).unwrap().rows;
    rows.into_iter()
        .map(|row| row.map_or_else(|bad| bad.line, |row| row.line))
        .collect()
}

#[test]
fn utf_8_with_a_mark_gbk_utf_16_quotes_and_windows_line_ends_are_read() {
    let text = "id_number,name,disability,group\r\n1,\"张,三\",是,\r\n2,李四,0,veteran\r\n";
    let utf_16: Vec<u8> = "\u{FEFF}"
        .chars()
        .chain(text.chars())
        .flat_map(|c| (c as u16).to_le_bytes())
        .collect();
    let marked = [b"\xEF\xBB\xBF".as_slice(), text.as_bytes()].concat();
    for (bytes, decided_by) in [
        (marked, DecidedBy::Mark),
        (utf_16, DecidedBy::Mark),
        (GB18030.encode(text).0.into_owned(), DecidedBy::Content),
    ] {
        let file = parse(&bytes, None).unwrap();
        assert_eq!(file.decided_by, decided_by, "{}", file.encoding.name());
        assert_eq!(names(&bytes), ["张,三", "李四"]);
    }
    let rows = parse(text.as_bytes(), None).unwrap().rows;
    let first = rows[0].as_ref().ok().unwrap();
    assert!(first.disability && first.group.is_none() && first.line == 2);
}

#[test]
fn one_foreign_line_never_changes_how_the_others_are_read() {
    let chen = GB18030.encode("陈诚").0.into_owned();
    let marked = [
        b"\xEF\xBB\xBFid_number,name\n1,\xE5\x88\x98\xE5\xBE\xB7\n2,".as_slice(),
        &chen,
        b"\n",
    ]
    .concat();
    assert_eq!(names(&marked), ["刘德", "3: the line holds bytes that are not UTF-8"]);
    let unmarked = ["id_number,name\n1,刘备\n2,关羽\n3,".as_bytes(), &chen, b"\n"].concat();
    assert_eq!(
        names(&unmarked),
        ["刘备", "关羽", "4: the line holds bytes that are not UTF-8"]
    );
    let latin = ["id_number,name\n1,刘备\n2,张".as_bytes(), b"\xE9a\n"].concat();
    assert_eq!(names(&latin), ["刘备", "3: the line holds bytes that are not UTF-8"]);
    // Lines of two bytes a character may be valid in both encodings: such a file is refused.
    let either = ["id_number,name\n1,José\n".as_bytes(), b"2,Jos\xE9a\n"].concat();
    assert!(refusal(&either).starts_with("line 3 is not UTF-8 though other lines are"));
}

#[test]
fn an_encoding_that_is_named_is_taken_and_its_bad_lines_are_rejected() {
    let text = "id_number,name\n1,太郎\n2,次郎\n";
    let japanese = SHIFT_JIS.encode(text).0;
    assert_eq!(names_in(&japanese, Some(SHIFT_JIS)), ["太郎", "次郎"]);
    assert_eq!(names_in("id_number,name\n1,陳\n".as_bytes(), Some(BIG5)).len(), 1);
    let gbk = [
        GB18030.encode("id_number,name\n1,纽\n2,陈\n").0.as_ref(),
        b"3,\xFF\xFF\n",
    ]
    .concat();
    assert_eq!(
        names_in(&gbk, Some(GB18030)),
        ["纽", "陈", "4: the line holds bytes that are not gb18030"]
    );
}

#[test]
fn what_is_no_csv_is_named() {
    assert!(refusal(b"PK\x03\x04\x14\x00").contains("xlsx workbook"));
    assert!(refusal(b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1").contains("xls workbook"));
    assert!(refusal(b"i\0d\0_\0").contains("--encoding utf-16le"));
    assert!(refusal(b"number,name\n").contains("no column `id_number`"));
    let open = "id_number,name\n1,周丙\n2,\"周丁\n3,周戊\n4,周己\n";
    assert_eq!(
        refusal(open.as_bytes()),
        "the quote that opens on line 3 is never closed; close it, or remove it"
    );
    let closed_late = "id_number,name\n1,周丙\n2,\"周丁\n3,周戊\"\n4,周己\n";
    assert_eq!(
        names(closed_late.as_bytes()),
        [
            "周丙",
            "3: a quoted field runs from line 3 to line 4: a quote is missing or too many",
            "周己"
        ]
    );
}

#[test]
fn semicolons_tabs_and_a_named_separator_are_read() {
    for text in [
        "id_number;name\n1;a,b\n",
        "id_number\tname\n1\ta,b\n",
        "sep=;\nid_number;name\n1;a,b\n",
        "\"sep=;\"\nid_number;name\n1;a,b\n",
        "sep=,\nid_number,name\n1,\"a,b\"\n",
    ] {
        assert_eq!(names(text.as_bytes()), ["a,b"], "{text}");
    }
    assert_eq!(lines("sep=;\nid_number;name\n1;a\n"), [3]);
}

#[test]
fn optional_fields_may_be_missing_empty_fields_too_many_and_empty_rows_are_none() {
    let text = "id_number,name,disability,group\n1,a\n2,b,\n3,c,0\n4,d,,\n5,e,,,\n6,f,,,,x\n,,,\n7\n,,\n8,g,maybe\n";
    assert_eq!(
        names(text.as_bytes()),
        [
            "a",
            "b",
            "c",
            "d",
            "e",
            "7: the row has more fields than the first line names columns",
            "9: the row ends before its ID number and its name",
            "11: disability is 1, yes, true, 是, or 0, no, false, 否, or empty",
        ]
    );
}

#[test]
fn a_row_has_the_line_on_which_it_begins_whatever_ends_the_lines() {
    for end in ["\n", "\r\n", "\r"] {
        let text = "id_number,name\n1,a\n\n\n2,\"b\nb\"\n3,c\n".replace('\n', end);
        assert_eq!(lines(&text), [2, 5, 7], "{end:?}");
    }
}

#[test]
fn a_file_of_rejects_has_every_column_and_is_imported_once_it_is_corrected() {
    let text = "group,id_number,name,remark\n,1,a,=1+1\nveteran,2,b,kept\n";
    let file = parse(text.as_bytes(), None).unwrap();
    let mut rejects = rejects_header(&file.columns);
    for row in file.rows.iter().map(|row| row.as_ref().ok().unwrap()) {
        rejects.extend(rejects_row(row.line, "of no matter", &row.fields));
    }
    assert!(is_rejects(&rejects));
    assert!(std::str::from_utf8(&rejects).unwrap().contains("'=1+1"));
    let again = parse(&rejects, None).unwrap();
    assert_eq!(again.columns, ["group", "id_number", "name", "remark"]);
    let rows: Vec<_> = again.rows.into_iter().map(|row| row.ok().unwrap()).collect();
    assert_eq!(rows[0].fields, ["", "1", "a", "=1+1"]);
    assert_eq!(
        (rows[1].group.as_deref(), rows[1].name.as_str()),
        (Some("veteran"), "b")
    );
}
