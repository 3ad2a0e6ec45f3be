//! Files of residents: reads one, and writes the file of rejected rows next to it.
//!
//! `citycode_residents_file` defines their content; this module handles paths, permissions and failures.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use citycode_residents_file::{Encoding, check_size, is_rejects, parse, rejects_header, rejects_row};

use crate::picture::PreparedFile;
use citycode_terminal::failure::Failure;

pub use citycode_residents_file::{BadRow, DecidedBy, Resident, ResidentsFile};

/// Reads a whole file; `encoding` is the one that the caller states.
///
/// # Errors
/// The file cannot be read, is too large, has an unknown encoding, or lacks the columns.
pub fn read(path: &Path, encoding: Option<&'static Encoding>) -> Result<ResidentsFile, Failure> {
    let size = std::fs::metadata(path)
        .map_err(|error| Failure::file("read", path, error))?
        .len();
    let refused = |why| {
        Failure::local(
            format_args!("cannot import {}", path.display()),
            why,
            "nothing was imported",
        )
    };
    check_size(size).map_err(refused)?;
    let bytes = std::fs::read(path).map_err(|error| Failure::file("read", path, error))?;
    parse(&bytes, encoding).map_err(refused)
}

/// The encoding that a label of the WHATWG Encoding Standard names (`gb18030`, `gbk`, `big5`, `utf-8`, …).
///
/// # Errors
/// No encoding has this label.
pub fn encoding(label: &str) -> Result<&'static Encoding, String> {
    Encoding::for_label_no_replacement(label.as_bytes()).ok_or_else(|| {
        "no encoding has this name; among others there are utf-8, gb18030, gbk, big5, shift_jis, euc-kr".into()
    })
}

/// The file of rejected rows next to an imported file: mode 0600, formulas neutralised.
pub struct Rejects {
    path: PathBuf,
    columns: Vec<String>,
    file: Option<std::fs::File>,
    /// How many rows were rejected.
    pub count: u64,
}

impl Rejects {
    /// `FILE.rejected.csv` next to `import`, with the same columns; created with the first rejected row.
    #[must_use]
    pub fn beside(import: &Path, columns: Vec<String>) -> Self {
        let mut name = import.file_stem().unwrap_or_default().to_owned();
        name.push(".rejected.csv");
        Self {
            path: import.with_file_name(name),
            columns,
            file: None,
            count: 0,
        }
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Checks that the file can be written, before rows are sent that may be rejected.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn try_place(&self) -> Result<(), Failure> {
        PreparedFile::beside(&self.path).map(drop)
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

    /// Ends a run. If it rejected nothing, the rejects of an earlier run are removed, because they are resolved.
    ///
    /// # Errors
    /// They cannot be removed.
    pub fn finish(&self) -> Result<(), Failure> {
        if self.count > 0 {
            return Ok(());
        }
        let mut head = [0; 64];
        let Ok(read) = std::fs::File::open(&self.path).and_then(|mut file| file.read(&mut head)) else {
            return Ok(());
        };
        if is_rejects(&head[..read]) {
            std::fs::remove_file(&self.path).map_err(|error| Failure::file("remove", &self.path, error))?;
        }
        Ok(())
    }

    fn try_add(&mut self, line: u64, reason: &str, fields: &[String]) -> std::io::Result<()> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                // The new file must not inherit wider permissions of an old one.
                let _ = std::fs::remove_file(&self.path);
                let mut file = std::fs::File::options()
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(&self.path)?;
                file.write_all(&rejects_header(&self.columns))?;
                self.file.insert(file)
            }
        };
        file.write_all(&rejects_row(line, reason, fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rejects(folder: &Path) -> Rejects {
        Rejects::beside(&folder.join("a.csv"), vec!["id_number".into(), "name".into()])
    }

    #[test]
    fn formulas_are_neutralised_and_the_file_is_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let mut rejects = rejects(folder.path());
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

    #[test]
    fn a_clean_run_removes_the_rejects_of_an_earlier_one_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        rejects(folder.path()).add(2, "no name", &[]).unwrap();
        let clean = rejects(folder.path());
        clean.finish().unwrap();
        assert!(!clean.path().exists());
        clean.finish().unwrap();
        std::fs::write(clean.path(), "id_number,name\n").unwrap();
        clean.finish().unwrap();
        assert!(clean.path().exists(), "a file that no import wrote stays");
    }
}
