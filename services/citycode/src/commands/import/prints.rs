//! The prints of an import: one file per code, written once.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::picture::{IssuedCode, Painter};
use citycode_terminal::failure::Failure;

/// A folder of prints.
pub(super) struct Prints {
    folder: PathBuf,
    /// The folders that this import created, the innermost first.
    created: Vec<PathBuf>,
    painter: Painter,
    /// Codes that have a print; files are written atomically, so each is complete.
    printed: HashSet<String>,
    /// Valid codes whose print could not be written.
    pub(super) missing: u64,
    /// The first failure to write a print.
    pub(super) first_failure: Option<Failure>,
}

impl Prints {
    /// Opens or creates the folder, and checks that a print of this kind can be written into it.
    ///
    /// # Errors
    /// [`Failure`] if it cannot.
    pub(super) fn into_folder(folder: &Path, kind: &str, painter: Painter) -> Result<Self, Failure> {
        let missing = folder.ancestors();
        let missing = missing.take_while(|above| !above.as_os_str().is_empty() && !above.exists());
        let created = missing.map(Path::to_path_buf).collect();
        std::fs::create_dir_all(folder).map_err(|error| Failure::file("make", folder, error))?;
        let prints = Self {
            folder: folder.to_owned(),
            created,
            painter,
            printed: printed_codes(folder)?,
            missing: 0,
            first_failure: None,
        };
        match prints.painter.try_folder(folder, kind) {
            Ok(()) => Ok(prints),
            Err(failure) => {
                prints.abandon();
                Err(failure)
            }
        }
    }

    /// Writes the print of a code that has none. A failure is counted and does not stop the import, because the code is
    /// issued already and later answers must be processed.
    pub(super) fn write(&mut self, line: u64, code: &IssuedCode) {
        if self.printed.contains(&code.code_id) {
            return;
        }
        let format = self.painter.format_for(&code.kind);
        let name = format!("{line:07}-{}.{}", code.code_id, format.extension());
        match self.painter.write(&self.folder.join(name), format, code) {
            Ok(()) => {
                self.printed.insert(code.code_id.clone());
            }
            Err(failure) => {
                self.missing += 1;
                self.first_failure.get_or_insert(failure);
            }
        }
    }

    /// Removes the created folders of an import that failed before any row was answered.
    pub(super) fn abandon(&self) {
        for folder in &self.created {
            // This removes only an empty folder, so files of others are safe.
            let _ = std::fs::remove_dir(folder);
        }
    }
}

/// Ids of the codes with prints in a folder, from the file names.
fn printed_codes(folder: &Path) -> Result<HashSet<String>, Failure> {
    let failed = |error| Failure::file("read", folder, error);
    let mut codes = HashSet::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let code = name.to_str().and_then(|name| name.split_once('-')?.1.split_once('.'));
        if let Some((code, "pdf" | "png" | "svg")) = code {
            codes.insert(code.to_owned());
        }
    }
    Ok(codes)
}
