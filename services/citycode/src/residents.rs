//! CSV files of residents, as offices send them: UTF-8 with or without a mark, or GB18030 (GBK); quoted fields;
//! either line end. The first line names the columns: `id_number,name[,disability,group]`.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use encoding_rs::GB18030;

use crate::failure::Failure;

/// Largest file: some two million residents. Bigger ones are imported in parts.
const MAX_FILE_BYTES: u64 = 256 << 20;
/// First characters that make a spreadsheet take a cell for a formula (OWASP, CSV injection).
const FORMULA_STARTS: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

/// One row as it stands in the file; what it says is the server's to judge.
#[derive(Clone, PartialEq, Eq)]
pub struct Resident {
    /// Line of the file, from 1; the header is line 1.
    pub line: u64,
    /// The ID number.
    pub id_number: String,
    /// The name.
    pub name: String,
    /// The certificate column says so.
    pub disability: bool,
    /// The group column.
    pub group: Option<String>,
}

/// A row that cannot be read as one.
pub struct BadRow {
    /// Line of the file.
    pub line: u64,
    /// What is wrong with it.
    pub reason: String,
    /// Its fields as they stand.
    pub fields: Vec<String>,
}

/// Reads a whole file.
///
/// # Errors
/// The file cannot be read, is too large, in no known encoding, or without the columns.
pub fn read(path: &Path) -> Result<Vec<Result<Resident, BadRow>>, Failure> {
    let size = std::fs::metadata(path)
        .map_err(|error| Failure::file("read", path, error))?
        .len();
    if size > MAX_FILE_BYTES {
        return Err(Failure::file(
            "import",
            path,
            format_args!("it has {size} bytes; at most {MAX_FILE_BYTES} go at once"),
        ));
    }
    let bytes = std::fs::read(path).map_err(|error| Failure::file("read", path, error))?;
    let text = decode(&bytes).ok_or_else(|| Failure::file("read", path, "it is neither UTF-8 nor GB18030 text"))?;
    parse(&text).map_err(|why| Failure::file("import", path, why))
}

/// The text of bytes in UTF-8 or GB18030; none for anything else. The mark at the start is dropped.
fn decode(bytes: &[u8]) -> Option<String> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    match std::str::from_utf8(bytes) {
        Ok(text) => Some(text.to_owned()),
        Err(_) => GB18030
            .decode_without_bom_handling_and_without_replacement(bytes)
            .map(std::borrow::Cow::into_owned),
    }
}

fn parse(text: &str) -> Result<Vec<Result<Resident, BadRow>>, String> {
    // One kind of line end, so that lines are counted as people count them.
    let text = text.replace("\r\n", "\n");
    let mut reader = csv::ReaderBuilder::new()
        .flexible(true)
        .trim(csv::Trim::All)
        .from_reader(text.as_bytes());
    let header = reader.headers().map_err(|error| error.to_string())?.clone();
    let column = |name: &str| header.iter().position(|field| field.eq_ignore_ascii_case(name));
    let missing =
        |name: &str| format!("its first line names no column `{name}`; it must be id_number,name[,disability,group]");
    let id_number = column("id_number").ok_or_else(|| missing("id_number"))?;
    let name = column("name").ok_or_else(|| missing("name"))?;
    let (disability, group) = (column("disability"), column("group"));
    let mut rows = Vec::new();
    for (at, record) in reader.records().enumerate() {
        let record = record.map_err(|error| error.to_string())?;
        let line = record.position().map_or(at as u64 + 2, csv::Position::line);
        let field = |at: Option<usize>| at.and_then(|at| record.get(at)).unwrap_or_default();
        let bad = |reason: &str| BadRow {
            line,
            reason: reason.to_owned(),
            fields: record.iter().map(str::to_owned).collect(),
        };
        rows.push(match (record.len() == header.len(), flag(field(disability))) {
            (false, _) => Err(bad("the row has another number of fields than the first line")),
            (_, None) => Err(bad("disability is 1, yes, true, 是, or 0, no, false, 否, or empty")),
            (true, Some(disability)) => Ok(Resident {
                line,
                id_number: field(Some(id_number)).to_owned(),
                name: field(Some(name)).to_owned(),
                disability,
                group: Some(field(group)).filter(|group| !group.is_empty()).map(str::to_owned),
            }),
        });
    }
    Ok(rows)
}

fn flag(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "yes" | "true" | "y" | "是" => Some(true),
        "" | "0" | "no" | "false" | "n" | "否" => Some(false),
        _ => None,
    }
}

/// The file of rejected rows beside an import: mode 0600, formulas neutralised.
pub struct Rejects {
    path: PathBuf,
    writer: Option<csv::Writer<std::fs::File>>,
    /// How many rows were rejected.
    pub count: u64,
}

impl Rejects {
    /// `FILE.rejected.csv` beside `import`; made with the first rejected row.
    #[must_use]
    pub fn beside(import: &Path) -> Self {
        let mut name = import.file_stem().unwrap_or_default().to_owned();
        name.push(".rejected.csv");
        Self {
            path: import.with_file_name(name),
            writer: None,
            count: 0,
        }
    }

    /// Where it stands.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds a row.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn add(&mut self, line: u64, reason: &str, fields: &[String]) -> Result<(), Failure> {
        self.try_add(line, reason, fields)
            .map_err(|error| Failure::file("write", &self.path, error))?;
        self.count += 1;
        Ok(())
    }

    fn try_add(&mut self, line: u64, reason: &str, fields: &[String]) -> std::io::Result<()> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let writer = match &mut self.writer {
            Some(writer) => writer,
            None => {
                // An old file with wider rights must not lend them to the new one.
                let _ = std::fs::remove_file(&self.path);
                let mut file = std::fs::File::options()
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(&self.path)?;
                // The mark tells spreadsheets that it is UTF-8.
                file.write_all(b"\xEF\xBB\xBF")?;
                let mut writer = csv::WriterBuilder::new().flexible(true).from_writer(file);
                writer.write_record(["line", "reason", "row"])?;
                self.writer.insert(writer)
            }
        };
        let row = [line.to_string(), neutral(reason)]
            .into_iter()
            .chain(fields.iter().map(|field| neutral(field)));
        writer.write_record(row)?;
        writer.flush()
    }
}

/// A field that no spreadsheet takes for a formula.
fn neutral(field: &str) -> String {
    if field.starts_with(FORMULA_STARTS) {
        format!("'{field}")
    } else {
        field.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        parse(text)
            .unwrap()
            .into_iter()
            .map(|row| row.map_or_else(|bad| bad.reason, |row| row.name))
            .collect()
    }

    #[test]
    fn utf_8_with_a_mark_gbk_quotes_and_windows_line_ends_are_read() {
        let text = "id_number,name,disability,group\r\n1,\"张,三\",是,\r\n2,李四,0,veteran\r\n";
        for bytes in [
            [b"\xEF\xBB\xBF".as_slice(), text.as_bytes()].concat(),
            GB18030.encode(text).0.into_owned(),
        ] {
            let decoded = decode(&bytes).unwrap();
            assert_eq!(names(&decoded), ["张,三", "李四"]);
        }
        let rows = parse(text).unwrap();
        let first = rows[0].as_ref().ok().unwrap();
        assert!(first.disability && first.group.is_none() && first.line == 2);
    }

    #[test]
    fn a_row_of_another_shape_is_rejected_alone() {
        let rows = parse("id_number,name\n1,a\n2\n3,c,d\n4,d\n").unwrap();
        assert_eq!(rows.iter().filter(|row| row.is_err()).count(), 2);
        assert!(parse("number,name\n").is_err());
    }

    #[test]
    fn formulas_are_neutralised_and_the_file_is_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let mut rejects = Rejects::beside(&folder.path().join("a.csv"));
        rejects
            .add(2, "no name", &["=cmd()".into(), "@x".into(), "ok".into()])
            .unwrap();
        let text = std::fs::read_to_string(rejects.path()).unwrap();
        assert!(
            text.contains("'=cmd()") && text.contains("'@x") && text.contains(",ok"),
            "{text}"
        );
        assert_eq!(
            std::fs::metadata(rejects.path()).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert!(rejects.path().ends_with("a.rejected.csv"));
    }
}
