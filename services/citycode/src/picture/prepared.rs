//! A file that is tried before it is needed: what is written into it takes the old one's place at once, or not at all.
//!
//! The trial stands beside the file under a name of its own and holds the space; dropped it is gone.

use std::fs::Metadata;
use std::io::{Seek as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use citycode_terminal::failure::Failure;

/// The bit of a folder in which everybody renames and removes only what is theirs (`S_ISVTX`).
const STICKY: u32 = 0o1000;

/// A file that can be written.
#[derive(Debug)]
pub struct PreparedFile {
    path: PathBuf,
    temporary: NamedTempFile,
}

impl PreparedFile {
    /// Prepares to write the file at `path`, mode 0600.
    ///
    /// # Errors
    /// [`Failure`]: the folder takes no file, or what stands at `path` cannot be replaced.
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

    /// Takes the space for these bytes on the disk.
    ///
    /// # Errors
    /// [`Failure`] where there is none.
    pub fn reserve(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.write(bytes)
            .map_err(|error| Failure::file("write", &self.path, error))
    }

    /// Writes the file, durably, and puts it in the place of what stood there.
    ///
    /// # Errors
    /// [`Failure`]; the old file then still stands.
    pub fn finish(mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.reserve(bytes)?;
        self.temporary
            .persist(&self.path)
            .map(drop)
            .map_err(|error| Failure::file("write", &self.path, error.error))
    }

    /// Over what was reserved, whose space is given back only then.
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let file = self.temporary.as_file_mut();
        file.rewind()?;
        file.write_all(bytes)?;
        file.set_len(u64::try_from(bytes.len()).unwrap_or(u64::MAX))?;
        file.sync_all()
    }
}

/// A rename onto it would fail, or would destroy what is no file of the user's.
fn refuse_irreplaceable(path: &Path, old: &Metadata, folder: &Metadata, own: u32) -> Result<(), Failure> {
    if !old.is_file() && !old.is_symlink() {
        return Err(Failure::file("write", path, "it is no regular file"));
    }
    let theirs = own != 0 && old.uid() != own && folder.uid() != own;
    if folder.mode() & STICKY != 0 && theirs {
        return Err(Failure::file("write", path, "it belongs to somebody else"));
    }
    Ok(())
}
