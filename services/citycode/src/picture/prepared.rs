//! A file whose creation is tested before its content exists. Its content atomically replaces an existing file.
//!
//! A temporary file in the same folder reserves the space; it is removed on drop.

use std::fs::Metadata;
use std::io::{Seek as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use citycode_terminal::failure::Failure;

/// The sticky bit (`S_ISVTX`): in such a folder only the owner of a file may rename or remove it.
const STICKY: u32 = 0o1000;

/// A file that was shown to be writable.
#[derive(Debug)]
pub struct PreparedFile {
    path: PathBuf,
    temporary: NamedTempFile,
}

impl PreparedFile {
    /// Prepares to write the file at `path`, mode 0600.
    ///
    /// # Errors
    /// [`Failure`] if no file can be created in the folder, or the file at `path` cannot be replaced.
    pub fn beside(path: &Path) -> Result<Self, Failure> {
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let failed = |error: std::io::Error| Failure::file("write", path, error);
        let temporary = NamedTempFile::new_in(folder).map_err(failed)?;
        if let Ok(old) = std::fs::symlink_metadata(path) {
            let own = temporary.as_file().metadata().map_err(failed)?;
            let around = std::fs::metadata(folder).map_err(failed)?;
            refuse_irreplaceable(path, &old, &around, own.uid())?;
        }
        Ok(Self {
            path: path.to_owned(),
            temporary,
        })
    }

    /// Reserves disk space for these bytes.
    ///
    /// # Errors
    /// [`Failure`] if there is not enough.
    pub fn reserve(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.write(bytes)
            .map_err(|error| Failure::file("write", &self.path, error))
    }

    /// Writes the content durably and replaces the file at the path.
    ///
    /// # Errors
    /// [`Failure`]; the old file is then unchanged.
    pub fn finish(mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.reserve(bytes)?;
        self.temporary
            .persist(&self.path)
            .map(drop)
            .map_err(|error| Failure::file("write", &self.path, error.error))
    }

    /// Overwrites the reserved space before the file is truncated, so that the space is never released in between.
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let file = self.temporary.as_file_mut();
        file.rewind()?;
        file.write_all(bytes)?;
        file.set_len(u64::try_from(bytes.len()).unwrap_or(u64::MAX))?;
        file.sync_all()
    }
}

/// Refuses a path onto which a rename would fail, or where it would destroy something other than the user's file.
fn refuse_irreplaceable(path: &Path, old: &Metadata, folder: &Metadata, own: u32) -> Result<(), Failure> {
    if !old.is_file() && !old.is_symlink() {
        return Err(Failure::file("write", path, "it is not a regular file"));
    }
    let foreign = own != 0 && old.uid() != own && folder.uid() != own;
    if folder.mode() & STICKY != 0 && foreign {
        return Err(Failure::file("write", path, "it belongs to another user"));
    }
    Ok(())
}
