//! The files of an export, from their temporary names to the manifest.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Seek as _, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::csv_table::CsvTable;
use super::parquet_table::ParquetTable;
use super::{ExportError, TABLES, Table};

const MANIFEST: &str = "manifest.json";
const VERSION: u32 = 1;
/// The end of the names of files that are being written.
const PARTIAL: &str = "partial";

/// The format of the files.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// Apache Parquet, without compression.
    Parquet,
    /// CSV, RFC 4180.
    Csv,
}

impl Format {
    /// All formats.
    pub const ALL: [Self; 2] = [Self::Parquet, Self::Csv];

    /// Its name, which is also the extension of its files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Csv => "csv",
        }
    }
}

/// One file of a complete export.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ManifestFile {
    /// Its name in the folder.
    pub name: String,
    /// Rows, without the header of CSV.
    pub rows: u64,
    /// Its length.
    pub bytes: u64,
    /// SHA-256 of its bytes, 64 hex digits.
    pub sha256: String,
}

/// The content of `manifest.json`.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Manifest {
    /// The version of this format and of the tables.
    pub version: u32,
    /// The files.
    pub files: Vec<ManifestFile>,
    /// What the export is about, as its writer says it.
    pub about: Value,
}

/// A file that hashes what is written to it.
struct Hashed {
    file: BufWriter<File>,
    digest: Sha256,
    bytes: u64,
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.digest.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

enum Writer {
    Parquet(ParquetTable<Hashed>),
    Csv(CsvTable<Hashed>),
}

struct OpenTable {
    table: &'static Table,
    rows: u64,
    writer: Writer,
}

/// An export that is being written. Dropping it leaves files that end in `.partial`, and the earlier export in the
/// folder, if there was one.
pub struct Export {
    folder: PathBuf,
    format: Format,
    tables: Vec<OpenTable>,
    /// The file that becomes the manifest. It is locked as long as the export is written.
    manifest: File,
}

impl Export {
    /// Begins an export into a folder, which is created if it is missing. Only the owner can read the files.
    ///
    /// # Errors
    /// [`ExportError::Busy`], [`ExportError::File`].
    pub fn begin(folder: &Path, format: Format) -> Result<Self, ExportError> {
        std::fs::create_dir_all(folder).map_err(ExportError::file(folder))?;
        let manifest = lock(folder)?;
        let mut tables = Vec::new();
        for table in &TABLES {
            let path = partial(folder, &file_name(table, format));
            let file = create(&path).map_err(ExportError::file(&path))?;
            let sink = Hashed {
                file: BufWriter::new(file),
                digest: Sha256::new(),
                bytes: 0,
            };
            let writer = match format {
                Format::Parquet => Writer::Parquet(ParquetTable::begin(table, sink)?),
                Format::Csv => Writer::Csv(CsvTable::begin(table, sink)?),
            };
            tables.push(OpenTable { table, rows: 0, writer });
        }
        Ok(Self {
            folder: folder.to_owned(),
            format,
            tables,
            manifest,
        })
    }

    /// Adds a row to a table: an object with a member for each column.
    ///
    /// # Errors
    /// [`ExportError`].
    pub fn add(&mut self, table: &str, row: &Value) -> Result<(), ExportError> {
        let open = self.tables.iter_mut().find(|open| open.table.name == table);
        let open = open.ok_or_else(|| ExportError::Table(table.to_owned()))?;
        open.rows += 1;
        match &mut open.writer {
            Writer::Parquet(writer) => writer.add(row),
            Writer::Csv(writer) => writer.add(row),
        }
    }

    /// Completes the export; `about` is put into the manifest.
    ///
    /// # Errors
    /// [`ExportError`]; the folder then has no manifest, or still that of the earlier export.
    pub fn finish(self, about: Value) -> Result<Manifest, ExportError> {
        let Self {
            folder,
            format,
            tables,
            mut manifest,
        } = self;
        let mut files = Vec::new();
        for open in tables {
            let path = partial(&folder, &file_name(open.table, format));
            let sink = match open.writer {
                Writer::Parquet(writer) => writer.finish()?,
                Writer::Csv(writer) => writer.finish()?,
            };
            let file = sink.file.into_inner().map_err(std::io::IntoInnerError::into_error);
            let synced = file.and_then(|file| file.sync_all());
            synced.map_err(ExportError::file(&path))?;
            files.push(ManifestFile {
                name: file_name(open.table, format),
                rows: open.rows,
                bytes: sink.bytes,
                sha256: HEXLOWER.encode(&sink.digest.finalize()),
            });
        }
        // A crash up to here leaves the earlier export as it was; from here on, files without a manifest.
        remove(&folder, MANIFEST)?;
        for other in Format::ALL.into_iter().filter(|other| *other != format) {
            for table in &TABLES {
                remove(&folder, &file_name(table, other))?;
            }
        }
        sync(&folder)?;
        for file in &files {
            publish(&folder, &file.name)?;
        }
        sync(&folder)?;
        let complete = Manifest {
            version: VERSION,
            files,
            about,
        };
        let bytes = serde_json::to_vec_pretty(&complete).expect("a tree of strings and numbers");
        let path = partial(&folder, MANIFEST);
        let written = manifest
            .set_len(0)
            .and_then(|()| manifest.rewind())
            .and_then(|()| manifest.write_all(&[&bytes[..], b"\n"].concat()))
            .and_then(|()| manifest.sync_all());
        written.map_err(ExportError::file(&path))?;
        publish(&folder, MANIFEST)?;
        sync(&folder)?;
        Ok(complete)
    }
}

fn file_name(table: &Table, format: Format) -> String {
    format!("{}.{}", table.name, format.name())
}

fn partial(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.{PARTIAL}"))
}

/// Creates a file anew; what an interrupted export left is removed first, so that no link is followed.
fn create(path: &Path) -> std::io::Result<File> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Opens and locks the file that becomes the manifest.
fn lock(folder: &Path) -> Result<File, ExportError> {
    let path = partial(folder, MANIFEST);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    let file = options.open(&path).map_err(ExportError::file(&path))?;
    let busy = || ExportError::Busy(folder.to_owned());
    match file.try_lock() {
        Ok(()) => {}
        Err(std::fs::TryLockError::WouldBlock) => return Err(busy()),
        Err(std::fs::TryLockError::Error(error)) => return Err(ExportError::file(&path)(error)),
    }
    // Another export may have published the file between the opening and the lock.
    let own = file.metadata().map_err(ExportError::file(&path))?;
    match std::fs::symlink_metadata(&path) {
        Ok(found) if found.is_file() && (found.dev(), found.ino()) == (own.dev(), own.ino()) => Ok(file),
        _ => Err(busy()),
    }
}

fn publish(folder: &Path, name: &str) -> Result<(), ExportError> {
    let path = folder.join(name);
    std::fs::rename(partial(folder, name), &path).map_err(ExportError::file(&path))
}

fn remove(folder: &Path, name: &str) -> Result<(), ExportError> {
    let path = folder.join(name);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(ExportError::file(&path)(error)),
        _ => Ok(()),
    }
}

/// Makes the names in a folder durable.
fn sync(folder: &Path) -> Result<(), ExportError> {
    let synced = File::open(folder).and_then(|opened| opened.sync_all());
    synced.map_err(ExportError::file(folder))
}

#[cfg(test)]
mod tests;
