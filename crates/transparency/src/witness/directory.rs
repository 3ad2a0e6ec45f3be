//! A memory in a folder: for each log one file with the checkpoint that was cosigned last.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use data_encoding::HEXLOWER;

use super::{Remembered, WitnessMemory};
use crate::checkpoint::{CheckpointInvalid, SignedCheckpoint};
use crate::hash::sha256;

/// A memory of one witness in a folder, which only one process can open.
///
/// The name of a log's file is the SHA-256 of its origin in hex, as in the monitoring interface of C2SP tlog-witness, and
/// its content is a signed note, so that a web server can publish the folder. A file is replaced by a rename after its
/// content is durable: a crash leaves the earlier checkpoint or the later one.
#[derive(Debug)]
pub struct DirectoryMemory {
    folder: PathBuf,
    /// Locked as long as the memory is open.
    _lock: File,
    /// One replacement at a time.
    writing: Mutex<()>,
}

/// Why the memory cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// The folder cannot be used.
    #[error("the memory of the witness cannot be read or written")]
    Io(#[from] io::Error),
    /// Another process has opened the folder.
    #[error("another process uses the memory of this witness")]
    Locked,
    /// A file is not a checkpoint of the log whose name it has. A witness must not guess what it cosigned.
    #[error("{0} is not a checkpoint of its log")]
    Damaged(PathBuf, #[source] Option<CheckpointInvalid>),
}

impl DirectoryMemory {
    /// Opens a folder, and creates it if necessary.
    ///
    /// # Errors
    /// If the folder cannot be used, or another process uses it.
    pub fn open(folder: &Path) -> Result<Self, MemoryError> {
        fs::create_dir_all(folder)?;
        let lock = File::create(folder.join("lock"))?;
        match rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(error) if error == rustix::io::Errno::WOULDBLOCK => return Err(MemoryError::Locked),
            Err(error) => return Err(MemoryError::Io(error.into())),
        }
        Ok(Self {
            folder: folder.to_owned(),
            _lock: lock,
            writing: Mutex::new(()),
        })
    }

    /// The file of a log, which exists once a checkpoint of it was cosigned.
    #[must_use]
    pub fn file_of(&self, origin: &str) -> PathBuf {
        self.folder.join(HEXLOWER.encode(&sha256(&[origin.as_bytes()]).0))
    }

    fn write(&self, origin: &str, checkpoint: &[u8]) -> io::Result<()> {
        let draft = self.folder.join("draft");
        let mut file = File::create(&draft)?;
        file.write_all(checkpoint)?;
        file.sync_all()?;
        fs::rename(draft, self.file_of(origin))?;
        File::open(&self.folder)?.sync_all()
    }
}

impl WitnessMemory for DirectoryMemory {
    type Error = MemoryError;

    fn last(&self, origin: &str) -> Result<Option<Remembered>, MemoryError> {
        let path = self.file_of(origin);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(MemoryError::Io(error)),
        };
        match SignedCheckpoint::parse(&bytes) {
            Ok(signed) if signed.unverified().origin() == origin => Ok(Some(Remembered {
                head: signed.unverified().head(),
                checkpoint: bytes,
            })),
            Ok(_) => Err(MemoryError::Damaged(path, None)),
            Err(invalid) => Err(MemoryError::Damaged(path, Some(invalid))),
        }
    }

    fn replace(&self, origin: &str, expected: u64, next: Remembered) -> Result<Result<(), u64>, MemoryError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.last(origin)?.map_or(0, |remembered| remembered.head.size);
        if current != expected {
            return Ok(Err(current));
        }
        self.write(origin, &next.checkpoint)?;
        Ok(Ok(()))
    }
}
