//! Creates the file of a redb database as a whole.
//!
//! redb creates a database in place: it extends the file, writes the header, and the magic number last. If the process
//! is killed in between, the file is neither empty nor a database, and every later start refuses it. So a database is
//! created under another name and then renamed: a crash leaves a whole file or none.
//!
//! The crate knows no tables, and nothing about the log.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{Database, DatabaseError, StorageError};

/// Only the owner may read a database.
const MODE: u32 = 0o600;

/// Opens the database at `path`. An absent or empty file is created first; see [`prepare`].
///
/// # Errors
/// The file cannot be created, or is no database.
pub fn create(path: &Path) -> Result<Database, DatabaseError> {
    prepare(path)?;
    Database::create(path)
}

/// If there is no file at `path`, or an empty one, puts an empty database there; it is durable on return. Any other file
/// is left as it is. Only one process at a time may call this for a path.
///
/// # Errors
/// The file cannot be created.
pub fn prepare(path: &Path) -> Result<(), DatabaseError> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.len() > 0 => return Ok(()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let temporary = temporary_of(path);
    // What a crash left is begun again.
    match std::fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true).mode(MODE);
    let file = options.open(&temporary).map_err(failed)?;
    drop(Database::builder().create_with_backend(FileBackend::new(file)?)?);
    File::open(&temporary)
        .and_then(|file| file.sync_all())
        .map_err(failed)?;
    std::fs::rename(&temporary, path).map_err(failed)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = File::open(folder.unwrap_or(Path::new(".")));
    folder.and_then(|folder| folder.sync_all()).map_err(failed)
}

fn temporary_of(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".new");
    path.with_file_name(name)
}

fn failed(error: io::Error) -> DatabaseError {
    DatabaseError::Storage(StorageError::Io(error))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use redb::{ReadableDatabase as _, TableDefinition};

    use super::*;

    const TABLE: TableDefinition<'_, u8, u8> = TableDefinition::new("table");

    #[test]
    fn an_interrupted_creation_is_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("some.redb");
        // What a kill leaves at any moment before the rename: a part of a file under the other name.
        for part in [0, 1, 4_096] {
            std::fs::write(temporary_of(&path), vec![0; part]).unwrap();
            // In place, redb would not open it again.
            assert_eq!(Database::create(temporary_of(&path)).is_err(), part > 0);
            create(&path).unwrap();
            let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().flatten().collect();
            assert_eq!(names.len(), 1, "no other file is left");
            assert_eq!(names[0].metadata().unwrap().permissions().mode() & 0o777, MODE);
            std::fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn an_empty_file_becomes_a_database_and_any_other_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("some.redb");
        File::create(&path).unwrap();
        let database = create(&path).unwrap();
        let transaction = database.begin_write().unwrap();
        transaction.open_table(TABLE).unwrap().insert(1, 2).unwrap();
        transaction.commit().unwrap();
        drop(database);
        let again = create(&path).unwrap();
        let table = again.begin_read().unwrap().open_table(TABLE).unwrap();
        assert_eq!(redb::ReadableTable::get(&table, 1).unwrap().unwrap().value(), 2);

        let other = folder.path().join("other");
        std::fs::write(&other, "no database").unwrap();
        assert!(create(&other).is_err());
        assert_eq!(std::fs::read(&other).unwrap(), b"no database");
    }
}
