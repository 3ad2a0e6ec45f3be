//! The lock of a folder that only one process at a time may use.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use super::{FileError, PRIVATE_FILE_MODE, io_error};

/// How long a starting process waits until the previous one releases the folder. Supervisors restart a process at once,
/// and the kernel frees the memory of a killed process before it closes its files.
pub const LOCK_PATIENCE: Duration = Duration::from_secs(10);
/// Pause between two attempts.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// A lock that is held while this process uses a folder. The operating system releases it when the process ends, in
/// whatever way.
#[derive(Debug)]
pub struct LockFile {
    _file: File,
}

impl LockFile {
    /// Takes the lock at `path` and creates the file (0600) if absent. The file stays; only the lock counts.
    ///
    /// # Errors
    /// [`FileError::InUse`] if another process, or another `LockFile` of this one, holds it.
    pub fn take(path: &Path) -> Result<Self, FileError> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(PRIVATE_FILE_MODE)
            .open(path)
            .map_err(io_error("open the lock file", path))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(FileError::InUse {
                path: path.to_path_buf(),
            }),
            Err(TryLockError::Error(source)) => Err(io_error("lock", path)(source)),
        }
    }

    /// Takes the lock at `path` as [`LockFile::take`] does. If another process holds it, it logs that once and waits
    /// up to `patience`. The future may be dropped while it waits.
    ///
    /// # Errors
    /// [`FileError::StillInUse`] with the folder of the lock.
    pub async fn take_when_free(path: &Path, patience: Duration) -> Result<Self, FileError> {
        match Self::take(path) {
            Err(FileError::InUse { .. }) => {}
            taken => return taken,
        }
        let folder = path.parent().unwrap_or(path);
        let seconds = patience.as_secs();
        tracing::warn!(folder = %folder.display(), seconds, "the folder is in use by another process: waiting until it ends");
        let waiting = async {
            loop {
                tokio::time::sleep(RETRY_INTERVAL).await;
                match Self::take(path) {
                    Err(FileError::InUse { .. }) => {}
                    taken => return taken,
                }
            }
        };
        let still = |_| FileError::StillInUse {
            folder: folder.to_path_buf(),
            seconds,
        };
        let lock = tokio::time::timeout(patience, waiting).await.map_err(still)??;
        // A process that ends closes its files one after the other, and this lock is the first of them.
        tokio::time::sleep(RETRY_INTERVAL).await;
        Ok(lock)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_has_one_holder_and_is_released_on_drop() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = LockFile::take(&path).unwrap();
        assert!(matches!(LockFile::take(&path), Err(FileError::InUse { .. })));
        drop(held);
        LockFile::take(&path).unwrap();
    }

    #[tokio::test]
    async fn a_lock_that_is_released_meanwhile_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = LockFile::take(&path).unwrap();
        let mut waiting = std::pin::pin!(LockFile::take_when_free(&path, LOCK_PATIENCE));
        let looked = futures::poll!(&mut waiting);
        assert!(looked.is_pending(), "{looked:?}");
        drop(held);
        waiting.await.unwrap();
    }

    #[tokio::test]
    async fn the_error_for_a_lock_that_is_not_released_names_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let _held = LockFile::take(&path).unwrap();
        let patience = Duration::from_millis(250);
        let refused = LockFile::take_when_free(&path, patience).await.unwrap_err();
        assert!(matches!(&refused, FileError::StillInUse { folder, .. } if folder == dir.path()));
        assert!(refused.to_string().contains("in use by another process"), "{refused}");
    }
}
