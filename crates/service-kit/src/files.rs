//! Files that are written atomically, and files that only their owner may read.
//!
//! All functions block; call them at startup or from a blocking task.

mod access;
mod lock;

pub use lock::{LOCK_PATIENCE, LockFile};

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::entropy::{Draw as _, Entropy};

/// Mode of files that hold secrets or personal data.
pub const PRIVATE_FILE_MODE: u32 = 0o600;
/// Mode of folders that hold such files.
pub const PRIVATE_DIR_MODE: u32 = 0o700;
/// Mode of files that every user of the machine may read.
pub const PUBLIC_FILE_MODE: u32 = 0o644;

/// Buffer of streamed files: few system calls, little memory.
const STREAM_BUFFER_BYTES: usize = 1 << 20;

/// Why a file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// An operation failed.
    #[error("cannot {doing} {path}")]
    Io {
        /// The operation, as a verb.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// Other users can read or write it.
    #[error("{path} may be read or changed by others (mode {mode:03o}); run: chmod go= {path}")]
    TooOpen {
        /// The file or folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It belongs to another user, who may change it and its mode at any time.
    #[error("{path} belongs to user {owner}, who may read and change it at any time; run: chown {user} {path}")]
    OtherOwner {
        /// The file or folder.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// The user of this process.
        user: u32,
    },
    /// A secret file whose length is not 32 bytes.
    #[error("{path} is not a secret of 32 bytes; put the right file there")]
    WrongLength {
        /// The file.
        path: PathBuf,
    },
    /// A secret with which other files were made does not exist.
    #[error(
        "{path} is missing, and other files were made with it, so that a new one cannot replace it; put it back from the backup"
    )]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// Another process holds the lock.
    #[error("{path} is in use by another process")]
    InUse {
        /// The lock file.
        path: PathBuf,
    },
    /// Another process held the lock during the whole wait.
    #[error(
        "the folder {folder} is in use by another process, which has not released it within {seconds} s; end that process, or use another folder"
    )]
    StillInUse {
        /// The folder that the lock protects.
        folder: PathBuf,
        /// The duration of the wait.
        seconds: u64,
    },
}

fn io_error<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> FileError + 'a {
    move |source| FileError::Io {
        doing,
        path: path.to_path_buf(),
        source,
    }
}

/// Replaces `path` by `bytes` so that a reader, also after a crash, sees either the old content or the new, never a
/// part. The new file has exactly `mode`. If two writers race, the content of one of them wins as a whole.
///
/// # Errors
/// [`FileError::Io`]; the old content then remains, and no temporary file is left unless removing it failed too.
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    let temporary = temporary_beside(path);
    let written = write_new(&temporary, bytes, mode)
        // A crash here leaves the old file and a temporary one, which is never read.
        .and_then(|()| std::fs::rename(&temporary, path).map_err(io_error("rename onto", path)));
    if let Err(error) = written {
        let _ = std::fs::remove_file(&temporary);
        return Err(error);
    }
    // After a crash before this call either content may be there; after it only the new one.
    sync_parent(path)
}

/// Replaces `path` by the output of `write`, for files too large for memory; one writer at a time. The new file has
/// mode 0600 and is durable before it replaces the old one; a crash leaves the old one and a temporary file, which
/// the next attempt overwrites.
///
/// # Errors
/// The error of `write` or of the file system; the old content then remains.
pub fn stream_private(path: &Path, write: impl FnOnce(&mut dyn io::Write) -> io::Result<()>) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let mut options = OpenOptions::new();
    let file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(PRIVATE_FILE_MODE)
        .open(&temporary)?;
    let mut out = io::BufWriter::with_capacity(STREAM_BUFFER_BYTES, file);
    write(&mut out)?;
    out.flush()?;
    out.get_ref().sync_all()?;
    std::fs::rename(&temporary, path)
}

/// Creates a file with mode 0600 that must not exist yet (no planted file or link is followed) and makes it durable. A
/// crash leaves the whole file or none, and possibly a temporary one, which is never read.
///
/// # Errors
/// [`FileError::Io`], with `AlreadyExists` inside if it exists.
pub fn create_private(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let temporary = temporary_beside(path);
    let written = write_new(&temporary, bytes, PRIVATE_FILE_MODE)
        .and_then(|()| name_new(&temporary, path).map_err(io_error("create", path)));
    let _ = std::fs::remove_file(&temporary);
    written?;
    sync_parent(path)
}

/// Gives a file another name that must be free. Unlike a rename, a link replaces nothing. On a file system without hard
/// links (link(2): EPERM), two processes that do this at the same moment are not detected.
fn name_new(file: &Path, name: &Path) -> io::Result<()> {
    use io::ErrorKind::{NotFound, PermissionDenied, Unsupported};
    match std::fs::hard_link(file, name) {
        Err(error) if matches!(error.kind(), PermissionDenied | Unsupported) => match std::fs::symlink_metadata(name) {
            Err(missing) if missing.kind() == NotFound => std::fs::rename(file, name),
            _ => Err(error),
        },
        linked => linked,
    }
}

/// Creates a folder, and its missing parents, with mode 0700. An existing folder must be private, and owned by this
/// user or root.
///
/// # Errors
/// [`FileError::TooOpen`] for an existing folder that other users may enter; [`FileError::OtherOwner`];
/// [`FileError::Io`].
pub fn create_private_dir(path: &Path) -> Result<(), FileError> {
    DirBuilder::new()
        .recursive(true)
        .mode(PRIVATE_DIR_MODE)
        .create(path)
        .map_err(io_error("create the folder", path))?;
    require_private(path)
}

/// Requires that a file or folder is owned by this user or root and that no other user has rights on it; see
/// [`read_private`] for the one exception.
///
/// # Errors
/// [`FileError::TooOpen`], [`FileError::OtherOwner`], [`FileError::Io`].
pub fn require_private(path: &Path) -> Result<(), FileError> {
    let opened = File::open(path).map_err(io_error("open", path))?;
    access::require_private(path, &opened)
}

/// Reads a secret. It must be owned by this user or root, and no other user may read or change it, except that the
/// group may read it on a read-only mount.
///
/// # Errors
/// [`FileError::TooOpen`], [`FileError::OtherOwner`], [`FileError::Io`].
pub fn read_private(path: &Path) -> Result<zeroize::Zeroizing<Vec<u8>>, FileError> {
    let mut file = access::open_private(path)?;
    let mut bytes = zeroize::Zeroizing::new(Vec::new());
    file.read_to_end(&mut bytes).map_err(io_error("read", path))?;
    Ok(bytes)
}

/// Reads a secret of 32 bytes.
///
/// # Errors
/// As [`read_private`], and [`FileError::WrongLength`].
pub fn read_secret(path: &Path) -> Result<zeroize::Zeroizing<[u8; 32]>, FileError> {
    let bytes = read_private(path)?;
    let wrong = |_| FileError::WrongLength {
        path: path.to_path_buf(),
    };
    bytes.as_slice().try_into().map(zeroize::Zeroizing::new).map_err(wrong)
}

/// Reads the secret of 32 bytes at `path`. If it does not exist, it is created durably from `first`, which the caller
/// passes only if nothing was made with the secret yet: a secret created later would silently differ.
///
/// # Errors
/// As [`read_secret`] and [`create_private`]; [`FileError::Missing`].
pub fn secret(path: &Path, first: Option<&dyn Entropy>) -> Result<zeroize::Zeroizing<[u8; 32]>, FileError> {
    if !path.exists() {
        let missing = || FileError::Missing {
            path: path.to_path_buf(),
        };
        let entropy = first.ok_or_else(missing)?;
        let fresh: zeroize::Zeroizing<[u8; 32]> = zeroize::Zeroizing::new(entropy.array());
        create_private(path, fresh.as_slice())?;
    }
    read_secret(path)
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .map_err(io_error("create", path))?;
    // The umask may have removed bits that the caller asked for.
    file.set_permissions(Permissions::from_mode(mode))
        .and_then(|()| file.write_all(bytes))
        .and_then(|()| file.sync_all())
        .map_err(io_error("write", path))
}

fn temporary_beside(path: &Path) -> PathBuf {
    use std::sync::atomic::{AtomicU64, Ordering};
    // The counter is unique among the threads of this process; processes differ by their id.
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    name.push(format!(".{}-{count}.tmp", std::process::id()));
    path.with_file_name(name)
}

fn sync_parent(path: &Path) -> Result<(), FileError> {
    sync_folder(match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    })
}

/// Makes the entries of a folder durable after one was created, renamed or removed.
///
/// # Errors
/// [`FileError::Io`].
pub fn sync_folder(path: &Path) -> Result<(), FileError> {
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(io_error("make durable", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn an_atomic_write_replaces_the_whole_file_and_leaves_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list");
        write_atomic(&path, b"one, a long one", PUBLIC_FILE_MODE).unwrap();
        write_atomic(&path, b"two", PRIVATE_FILE_MODE).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(mode(&path), 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_atomic_write_leaves_the_old_content_and_no_temporary() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("folder");
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("inside"), b"x").unwrap();
        let error = write_atomic(&path, b"new", PUBLIC_FILE_MODE).unwrap_err();
        assert!(
            matches!(
                error,
                FileError::Io {
                    doing: "rename onto",
                    ..
                }
            ),
            "{error}"
        );
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    /// A key of which a kill left a part would be refused at every later start.
    #[test]
    fn a_private_file_has_its_name_only_once_it_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let (seen, bytes) = (path.clone(), vec![7u8; 4 << 20]);
        let done = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let stop = std::sync::Arc::clone(&done);
        let watcher = std::thread::spawn(move || {
            while !stop.load(std::sync::atomic::Ordering::Acquire) {
                if let Ok(found) = std::fs::metadata(&seen) {
                    assert_eq!(found.len(), 4 << 20);
                }
            }
        });
        create_private(&path, &bytes).unwrap();
        done.store(true, std::sync::atomic::Ordering::Release);
        watcher.join().unwrap();
        assert_eq!(
            std::fs::read_dir(dir.path()).unwrap().count(),
            1,
            "no temporary is left"
        );
    }

    #[test]
    fn a_private_file_is_0600_and_is_never_overwritten_nor_followed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        create_private(&path, b"secret").unwrap();
        assert_eq!(mode(&path), 0o600);
        assert!(create_private(&path, b"other").is_err());
        assert_eq!(&*read_private(&path).unwrap(), b"secret");
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path().join("planted"), &link).unwrap();
        assert!(create_private(&link, b"secret").is_err());
        assert!(!dir.path().join("planted").exists());
    }

    #[test]
    fn a_secret_that_others_may_read_is_refused_with_a_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        for wide in [0o640, 0o604, 0o620, 0o601] {
            create_private(&path, b"secret").unwrap();
            std::fs::set_permissions(&path, Permissions::from_mode(wide)).unwrap();
            let error = read_private(&path).unwrap_err();
            assert!(matches!(error, FileError::TooOpen { mode, .. } if mode == wide));
            assert!(error.to_string().contains("chmod go= "), "{error}");
            std::fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn a_secret_is_created_once_and_one_of_another_length_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("some.key");
        let entropy = crate::entropy::SeededEntropy::new(1);
        let missing = secret(&path, None);
        assert!(matches!(missing, Err(FileError::Missing { .. })), "{missing:?}");
        let first = secret(&path, Some(&entropy)).unwrap();
        assert_eq!(secret(&path, Some(&entropy)).unwrap(), first);
        assert_eq!(secret(&path, None).unwrap(), first);
        let short = dir.path().join("short.key");
        create_private(&short, &[7; 31]).unwrap();
        assert!(matches!(
            secret(&short, Some(&entropy)),
            Err(FileError::WrongLength { .. })
        ));
    }

    #[test]
    fn a_private_folder_is_0700_and_an_open_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        create_private_dir(&path).unwrap();
        create_private_dir(&path).unwrap();
        assert_eq!(mode(&path), 0o700);
        std::fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        assert!(matches!(create_private_dir(&path), Err(FileError::TooOpen { .. })));
    }
}
