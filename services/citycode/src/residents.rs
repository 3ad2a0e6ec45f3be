//! Files of residents on the disk: reading one, and the file of rejected rows beside it.
//!
//! What stands in them is `citycode_residents_file`'s; here are paths, rights and what a failure says.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use citycode_residents_file::{check_size, parse, rejects_header, rejects_row};

use crate::failure::Failure;
use crate::picture::PreparedFile;

pub use citycode_residents_file::{BadRow, Resident};

/// Reads a whole file.
///
/// # Errors
/// The file cannot be read, is too large, in no known encoding, or without the columns.
pub fn read(path: &Path) -> Result<Vec<Result<Resident, BadRow>>, Failure> {
    let size = std::fs::metadata(path)
        .map_err(|error| Failure::file("read", path, error))?
        .len();
    check_size(size).map_err(|why| Failure::file("import", path, why))?;
    let bytes = std::fs::read(path).map_err(|error| Failure::file("read", path, error))?;
    parse(&bytes).map_err(|why| Failure::file("import", path, why))
}

/// The file of rejected rows beside an import: mode 0600, formulas neutralised.
pub struct Rejects {
    path: PathBuf,
    file: Option<std::fs::File>,
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
            file: None,
            count: 0,
        }
    }

    /// Where it stands.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Tries whether the file could be written, before rows are sent that may be rejected.
    ///
    /// # Errors
    /// It could not.
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

    fn try_add(&mut self, line: u64, reason: &str, fields: &[String]) -> std::io::Result<()> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                // An old file with wider rights must not lend them to the new one.
                let _ = std::fs::remove_file(&self.path);
                let mut file = std::fs::File::options()
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(&self.path)?;
                file.write_all(&rejects_header())?;
                self.file.insert(file)
            }
        };
        file.write_all(&rejects_row(line, reason, fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
