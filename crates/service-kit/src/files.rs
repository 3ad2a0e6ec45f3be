//! Files that are whole or absent, and files that nobody else may read.
//!
//! Everything here blocks; call it at start-up or from a blocking task.

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
/// Mode of folders that hold them.
pub const PRIVATE_DIR_MODE: u32 = 0o700;
/// Mode of files that everybody on the machine may read.
pub const PUBLIC_FILE_MODE: u32 = 0o644;

/// Buffer of streamed files: few system calls, little memory.
const STREAM_BUFFER_BYTES: usize = 1 << 20;

/// Why a file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The operating system refused.
    #[error("cannot {doing} {path}")]
    Io {
        /// What was tried, as a verb.
        doing: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Others can read or write it.
    #[error("{path} may be read or changed by others (mode {mode:03o}); run: chmod go= {path}")]
    TooOpen {
        /// Which file or folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It belongs to another user, who may change it and its mode at any time.
    #[error("{path} belongs to user {owner}, who may read and change it at any time; run: chown {user} {path}")]
    OtherOwner {
        /// Which file or folder.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// The user of this process.
        user: u32,
    },
    /// A secret file of another length than its 32 bytes.
    #[error("{path} is not a secret of 32 bytes; put the right file there")]
    WrongLength {
        /// Which file.
        path: PathBuf,
    },
    /// A secret that other files were made with is not there.
    #[error(
        "{path} is missing, and what stands beside it was made with it, so that no new one does; put it back from the backup"
    )]
    Missing {
        /// Which file.
        path: PathBuf,
    },
    /// Another process holds the lock.
    #[error("{path} is in use by another process")]
    InUse {
        /// The lock file.
        path: PathBuf,
    },
    /// Another process holds the lock, and went on holding it.
    #[error(
        "the folder {folder} is in use by another process, which has not let go of it within {seconds} s; end that process, or use another folder"
    )]
    StillInUse {
        /// The folder that the lock is for.
        folder: PathBuf,
        /// How long was waited.
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

/// Replaces `path` by `bytes` so that a reader, also after a crash, sees the old content or the new, never
/// a part. The new file has exactly `mode`. Two writers at once: one of the two contents wins whole.
///
/// # Errors
/// [`FileError::Io`]; the old content then still stands, and no temporary file is left unless removing it
/// failed too.
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    let temporary = temporary_beside(path);
    let written = write_new(&temporary, bytes, mode)
        // A crash here leaves the old file and a temporary one, which nobody reads.
        .and_then(|()| std::fs::rename(&temporary, path).map_err(io_error("rename onto", path)));
    if let Err(error) = written {
        let _ = std::fs::remove_file(&temporary);
        return Err(error);
    }
    // A crash before this may show either content; after it only the new one.
    sync_parent(path)
}

/// Replaces `path` by what `write` streams out, for files too large for memory; one writer at a time. The new file has
/// mode 0600 and is durable before it takes the old one's place; a crash leaves the old one, and beside it one
/// temporary file, which the next attempt overwrites.
///
/// # Errors
/// What `write` or the file system says; the old content then still stands.
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

/// Creates a file with mode 0600 that must not exist yet (`O_EXCL`, so no planted file or link is followed)
/// and makes it durable.
///
/// # Errors
/// [`FileError::Io`], with `AlreadyExists` inside if it exists.
pub fn create_private(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    write_new(path, bytes, PRIVATE_FILE_MODE)?;
    sync_parent(path)
}

/// Makes a folder, and the missing ones above it, with mode 0700. One that exists must be private already, and this
/// user's or root's.
///
/// # Errors
/// [`FileError::TooOpen`] for an existing folder that others may enter; [`FileError::OtherOwner`]; [`FileError::Io`].
pub fn create_private_dir(path: &Path) -> Result<(), FileError> {
    DirBuilder::new()
        .recursive(true)
        .mode(PRIVATE_DIR_MODE)
        .create(path)
        .map_err(io_error("create the folder", path))?;
    refuse_wider_than_owner(path)
}

/// Refuses a file or folder that belongs to another user than this one or root, or on which another one has a right; see
/// [`read_private`] for the one exception.
///
/// # Errors
/// [`FileError::TooOpen`], [`FileError::OtherOwner`], [`FileError::Io`].
pub fn refuse_wider_than_owner(path: &Path) -> Result<(), FileError> {
    let opened = File::open(path).map_err(io_error("open", path))?;
    access::refuse_others(path, &opened)
}

/// Reads a secret, refusing one that others may read or change: it is this user's or root's, and on a read-only mount
/// alone a group may read it, too.
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

/// The secret of 32 bytes at `path`. Where there is none it is made, durably, from `first`, which is given only before
/// anything was made with the secret: one made anew later would be silently another.
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
    // The umask may have taken bits away that the caller asked for.
    file.set_permissions(Permissions::from_mode(mode))
        .and_then(|()| file.write_all(bytes))
        .and_then(|()| file.sync_all())
        .map_err(io_error("write", path))
}

fn temporary_beside(path: &Path) -> PathBuf {
    use std::sync::atomic::{AtomicU64, Ordering};
    // Unique among the threads of this process; processes differ by their id.
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

/// Makes durable which names stand in a folder, after one was made, changed or removed.
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
    fn an_atomic_write_replaces_whole_and_leaves_nothing_beside() {
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
    fn a_secret_that_others_may_read_is_refused_with_what_to_do() {
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
    fn a_secret_is_made_once_and_one_of_another_length_is_refused() {
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
