use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::record::RowAccessor as _;
use serde_json::json;

use super::*;

fn event(sequence: u64, role: &str) -> Value {
    json!({
        "partition": 3, "sequence": sequence, "ordinal": 0, "decided_at": "2022-09-01T00:00:00Z",
        "event": "CodeIssued", "actor_role": role, "code": sequence, "kind": null,
        "expires_at": "2022-09-02T00:00:00Z", "supersedes": null,
    })
}

fn write(folder: &Path, format: Format, roles: &[&str]) -> Manifest {
    let mut export = Export::begin(folder, format).expect("begun");
    for (sequence, role) in (1..).zip(roles) {
        export.add("events", &event(sequence, role)).expect("a row");
    }
    let day = json!({"day": "2022-09-01", "event": "CodeIssued", "count": null});
    export.add("daily", &day).expect("a row");
    export
        .finish(json!({"from": "2022-09-01T00:00:00Z"}))
        .expect("complete")
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let mut names: Vec<_> = entries
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
        .collect();
    names.sort();
    names
}

#[test]
fn the_manifest_has_the_digest_and_the_rows_of_each_file() {
    for format in Format::ALL {
        let folder = tempfile::tempdir().expect("a folder");
        let manifest = write(folder.path(), format, &["officer"; 5]);
        let extension = format.name();
        assert_eq!(
            names(folder.path()),
            [
                format!("daily.{extension}"),
                format!("events.{extension}"),
                "manifest.json".to_owned(),
                format!("verdicts.{extension}"),
            ]
        );
        assert_eq!(
            manifest.files.iter().map(|file| file.rows).collect::<Vec<_>>(),
            [5, 0, 1]
        );
        let stored = std::fs::read(folder.path().join(MANIFEST)).expect("a manifest");
        let stored: Value = serde_json::from_slice(&stored).expect("JSON");
        assert_eq!(stored, serde_json::to_value(&manifest).expect("JSON"));
        for file in &manifest.files {
            let bytes = std::fs::read(folder.path().join(&file.name)).expect("a file");
            assert_eq!(bytes.len() as u64, file.bytes);
            assert_eq!(HEXLOWER.encode(&Sha256::digest(&bytes)), file.sha256);
        }
    }
}

#[test]
fn parquet_has_the_rows_with_their_types() {
    let folder = tempfile::tempdir().expect("a folder");
    let roles: Vec<String> = (0..70_000).map(|number| format!("channel:{number}")).collect();
    write(
        folder.path(),
        Format::Parquet,
        &roles.iter().map(String::as_str).collect::<Vec<_>>(),
    );
    let file = File::open(folder.path().join("events.parquet")).expect("a file");
    let reader = SerializedFileReader::new(file).expect("a Parquet file");
    assert_eq!(reader.num_row_groups(), 2, "a group is bounded");
    let rows: Vec<_> = reader
        .get_row_iter(None)
        .expect("rows")
        .map(|row| row.expect("a row"))
        .collect();
    assert_eq!(rows.len(), roles.len());
    let last = rows.last().expect("a row");
    assert_eq!(last.get_long(1).expect("a number"), 70_000);
    assert_eq!(last.get_timestamp_millis(3).expect("an instant"), 1_661_990_400_000);
    assert_eq!(last.get_string(5).expect("a text"), "channel:69999");
    assert!(last.get_string(7).is_err(), "null");
    let file = File::open(folder.path().join("daily.parquet")).expect("a file");
    let daily = SerializedFileReader::new(file).expect("a Parquet file");
    let row = daily
        .get_row_iter(None)
        .expect("rows")
        .next()
        .expect("a row")
        .expect("a row");
    let (_, day) = row.get_column_iter().next().expect("a column");
    assert_eq!(*day, parquet::record::Field::Date(19_236));
}

#[test]
fn no_cell_of_csv_begins_like_a_formula() {
    let folder = tempfile::tempdir().expect("a folder");
    let attacks = [
        "=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1", "a,\"=1\"",
    ];
    write(folder.path(), Format::Csv, &attacks);
    let mut reader = csv::Reader::from_path(folder.path().join("events.csv")).expect("CSV");
    let roles: Vec<String> = reader.records().map(|row| row.expect("a row")[5].to_owned()).collect();
    for (role, attack) in roles.iter().zip(attacks) {
        assert!(role.ends_with(attack), "nothing is lost: {role}");
        assert!(
            !role.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝']),
            "{role}"
        );
    }
}

#[test]
fn an_interrupted_export_leaves_the_earlier_one_and_is_replaced_by_the_next() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = write(folder.path(), Format::Csv, &["officer"]);
    let before = std::fs::read(folder.path().join(MANIFEST)).expect("a manifest");
    let mut interrupted = Export::begin(folder.path(), Format::Parquet).expect("begun");
    interrupted.add("events", &event(9, "officer")).expect("a row");
    let busy = Export::begin(folder.path(), Format::Csv).err();
    assert!(matches!(busy, Some(ExportError::Busy(_))), "{busy:?}");
    drop(interrupted);
    assert_eq!(std::fs::read(folder.path().join(MANIFEST)).expect("a manifest"), before);
    let second = write(folder.path(), Format::Csv, &["officer"]);
    assert_eq!(second, first);
    let partial = names(folder.path())
        .into_iter()
        .filter(|name| name.ends_with(".partial"));
    assert_eq!(
        partial.collect::<Vec<_>>(),
        [
            "daily.parquet.partial",
            "events.parquet.partial",
            "verdicts.parquet.partial"
        ]
    );
    write(folder.path(), Format::Parquet, &["officer"]);
    assert_eq!(
        names(folder.path()),
        ["daily.parquet", "events.parquet", "manifest.json", "verdicts.parquet"]
    );
}

#[test]
fn a_row_without_a_required_value_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    for format in Format::ALL {
        let mut export = Export::begin(folder.path(), format).expect("begun");
        for (column, value) in [
            ("sequence", json!(-1)),
            ("decided_at", json!("yesterday")),
            ("event", Value::Null),
        ] {
            let mut row = event(1, "officer");
            row[column] = value;
            let refused = export.add("events", &row);
            assert!(
                matches!(refused, Err(ExportError::Row { column: named, .. }) if named == column),
                "{refused:?}"
            );
        }
    }
}
