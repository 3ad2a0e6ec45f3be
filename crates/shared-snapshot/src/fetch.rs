//! Fetching the current snapshot.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use bytes::Bytes;
use citycode_jetstream::api::ApiError;
use citycode_jetstream::object_store::{CHUNKS_IN_FLIGHT, DownloadError, ObjectInfo};
use citycode_projection::LogIdentity;
use citycode_projection::snapshot;
use data_encoding::BASE64;
use tokio::sync::mpsc;

use crate::publish::STATEMENT;
use crate::seal::{Segments, segments_of};
use crate::{Refusal, SharedSnapshots, Statement, object};

/// Files are readable by their owner only, because a snapshot is as confidential as the log.
const MODE: u32 = 0o600;

/// An object with a statement signed by revocation. Its bytes are not verified yet.
#[derive(Debug, Clone)]
pub struct Found {
    /// The signed statement.
    pub statement: Statement,
    object: ObjectInfo,
}

/// The content of a bucket.
#[derive(Debug)]
pub enum Published {
    /// The bucket is empty.
    Nothing,
    /// The object has no valid statement.
    Refused {
        /// The reason.
        why: Refusal,
        /// The sequence that a replacing writer must expect.
        sequence: u64,
    },
    /// The object is a signed snapshot.
    Signed {
        /// The snapshot.
        found: Box<Found>,
        /// The sequence that a replacing writer must expect.
        sequence: u64,
    },
}

impl Published {
    /// The sequence that a replacing writer must expect.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        match self {
            Self::Nothing => 0,
            Self::Refused { sequence, .. } | Self::Signed { sequence, .. } => *sequence,
        }
    }
}

/// Why a snapshot was not fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The object is not the signed one.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A request failed.
    #[error("the snapshot cannot be read from the servers: {0}")]
    Store(#[from] ApiError),
    /// The file cannot be written.
    #[error("{path} cannot be written: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// The error.
        source: io::Error,
    },
    /// The thread that opens segments ended early.
    #[error("opening was cancelled")]
    Aborted,
}

impl SharedSnapshots {
    /// The current content of the bucket. Checks the signature of the statement, but does not read the object.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn current(&self) -> Result<Published, ApiError> {
        let Some(current) = self.store.current(object(self.kind)).await? else {
            return Ok(Published::Nothing);
        };
        let sequence = current.sequence;
        let signed = |object: ObjectInfo| {
            let text = object.metadata.get(STATEMENT).ok_or(Refusal::Unreadable)?;
            let bytes = BASE64.decode(text.as_bytes()).map_err(|_| Refusal::Unreadable)?;
            let statement = Statement::read(&bytes, &self.keys.signers)?;
            Ok(Box::new(Found { statement, object }))
        };
        let found = current.info.ok_or(Refusal::Unreadable).and_then(signed);
        Ok(match found {
            Ok(found) => Published::Signed { found, sequence },
            Err(why) => Published::Refused { why, sequence },
        })
    }

    /// Whether the bucket has the signed number of chunks; does not read them.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn is_whole(&self, found: &Found) -> Result<bool, ApiError> {
        let chunks = self.store.chunks_of(&found.object).await?;
        Ok(segments_of(found.statement.length) == Some(chunks))
    }

    /// Streams the object into a temporary file beside `file`, checks that every byte is what was signed and that it is
    /// a snapshot of this log at the signed position, and only then renames it to `file`. It is not synced: if a crash
    /// damages the file, its checksum detects that and it is fetched again.
    ///
    /// # Errors
    /// [`FetchError`]; `file` is unchanged, and the temporary file is removed.
    pub async fn fetch(&self, found: &Found, identity: &LogIdentity, file: &Path) -> Result<(), FetchError> {
        let statement = &found.statement;
        let count = segments_of(statement.length).ok_or(Refusal::Truncated)?;
        let temporary = file.with_extension("shared");
        let opener = Opener {
            segments: Segments::new(&self.keys.seal, &statement.salt, self.kind, &statement.log_id, count),
            statement: statement.clone(),
            path: temporary.clone(),
        };
        let (sender, chunks) = mpsc::channel(CHUNKS_IN_FLIGHT);
        let written = tokio::task::spawn_blocking(move || opener.write(chunks));
        let downloaded = self.store.download(&found.object, count, &sender).await;
        drop(sender);
        let written = written.await.map_err(|_| FetchError::Aborted).flatten();
        let fetched = match (downloaded, written) {
            // If opening the segments failed, the download ended because of that.
            (Ok(()) | Err(DownloadError::Dropped), written) => written,
            (Err(DownloadError::Missing { .. }), _) => Err(Refusal::Truncated.into()),
            (Err(DownloadError::Unanswered(error)), _) => Err(error.into()),
        };
        let fetched = fetched.and_then(|()| self.check_and_rename(statement, identity, &temporary, file));
        if fetched.is_err() {
            // If this fails, the next attempt replaces the file.
            let _ = std::fs::remove_file(&temporary);
        }
        fetched
    }

    /// Checks the file's header against the statement, then renames the file.
    fn check_and_rename(
        &self,
        statement: &Statement,
        identity: &LogIdentity,
        temporary: &Path,
        file: &Path,
    ) -> Result<(), FetchError> {
        let opened = File::open(temporary).map_err(|source| in_file(temporary, source))?;
        let points = snapshot::points(self.kind, identity, opened);
        let points = points.map_err(|error| Refusal::OtherContent(error.to_string()))?;
        if !points
            .iter()
            .map(|point| point.sequence)
            .eq(statement.points.iter().copied())
        {
            return Err(Refusal::OtherContent("it has another position".into()).into());
        }
        std::fs::rename(temporary, file).map_err(|source| in_file(file, source))
    }
}

/// Opens the segments and writes them to a new file.
struct Opener {
    segments: Segments,
    statement: Statement,
    path: PathBuf,
}

impl Opener {
    fn write(mut self, mut chunks: mpsc::Receiver<Bytes>) -> Result<(), FetchError> {
        let failed = |source| in_file(&self.path, source);
        // Removes a file that a crash left or another user planted, so that this process creates and owns the file.
        let _ = std::fs::remove_file(&self.path);
        let mut options = OpenOptions::new();
        let opened = options.write(true).create_new(true).mode(MODE).open(&self.path);
        let mut out = opened.map_err(failed)?;
        let mut hash = digest::Context::new(&digest::SHA256);
        let (mut length, mut segment) = (0u64, Vec::new());
        while let Some(chunk) = chunks.blocking_recv() {
            hash.update(&chunk);
            segment.clear();
            segment.extend_from_slice(&chunk);
            drop(chunk);
            let plain = self.segments.open(&mut segment).map_err(|_| Refusal::Sealed)?;
            length += plain.len() as u64;
            if length > self.statement.length {
                return Err(Refusal::OtherBytes.into());
            }
            out.write_all(plain).map_err(failed)?;
        }
        if length < self.statement.length {
            return Err(Refusal::Truncated.into());
        }
        if hash.finish().as_ref() == self.statement.digest {
            Ok(())
        } else {
            Err(Refusal::OtherBytes.into())
        }
    }
}

fn in_file(path: &Path, source: io::Error) -> FetchError {
    FetchError::File {
        path: path.to_owned(),
        source,
    }
}
