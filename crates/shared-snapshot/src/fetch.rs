//! Fetching a snapshot.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use bytes::Bytes;
use citycode_jetstream::api::ApiError;
use citycode_jetstream::object_store::{CHUNKS_UNDER_WAY, DownloadError, ObjectInfo};
use citycode_projection::LogIdentity;
use citycode_projection::snapshot;
use data_encoding::BASE64;
use tokio::sync::mpsc;

use crate::publish::STATEMENT;
use crate::seal::{Segments, segments_of};
use crate::{Refusal, SharedSnapshots, Statement, object};

/// Only their owner's: a snapshot says what the log says.
const MODE: u32 = 0o600;

/// An object whose statement revocation signed. Its bytes were not looked at.
#[derive(Debug, Clone)]
pub struct Found {
    /// What revocation says of it.
    pub statement: Statement,
    object: ObjectInfo,
}

/// What stands in a bucket.
#[derive(Debug)]
pub enum Published {
    /// Nothing yet.
    Nothing,
    /// Something that revocation did not sign.
    Refused {
        /// Why.
        why: Refusal,
        /// What replaces it must expect this.
        sequence: u64,
    },
    /// A snapshot that it signed.
    Signed {
        /// Which.
        found: Box<Found>,
        /// What replaces it must expect this.
        sequence: u64,
    },
}

impl Published {
    /// What a writer who replaces it must expect.
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
    /// It is not what was signed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The servers do not answer.
    #[error("the servers do not give it: {0}")]
    Store(#[from] ApiError),
    /// The file cannot be written.
    #[error("{path} cannot be written: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The thread that opens ended.
    #[error("opening was given up")]
    Aborted,
}

impl SharedSnapshots {
    /// What stands there now; the signature of its statement is checked, and no byte of the object asked for.
    ///
    /// # Errors
    /// What came instead of an answer.
    pub async fn standing(&self) -> Result<Published, ApiError> {
        let Some(standing) = self.store.standing(object(self.kind)).await? else {
            return Ok(Published::Nothing);
        };
        let sequence = standing.sequence;
        let signed = |object: ObjectInfo| {
            let text = object.metadata.get(STATEMENT).ok_or(Refusal::Unreadable)?;
            let bytes = BASE64.decode(text.as_bytes()).map_err(|_| Refusal::Unreadable)?;
            let statement = Statement::read(&bytes, &self.keys.signers)?;
            Ok(Box::new(Found { statement, object }))
        };
        let found = standing.info.ok_or(Refusal::Unreadable).and_then(signed);
        Ok(match found {
            Ok(found) => Published::Signed { found, sequence },
            Err(why) => Published::Refused { why, sequence },
        })
    }

    /// Whether as many chunks stand there as were signed for; their bytes are not looked at.
    ///
    /// # Errors
    /// What came instead of an answer.
    pub async fn is_whole(&self, found: &Found) -> Result<bool, ApiError> {
        let chunks = self.store.chunks_of(&found.object).await?;
        Ok(segments_of(found.statement.length) == Some(chunks))
    }

    /// Streams the object into a file beside `file`, checks that every byte is what was signed and that it is a
    /// snapshot of this log at the signed point, and only then lets it take `file`'s place. Durability is left to the
    /// system: a file that a crash spoils is found out by its checksum, and fetched again.
    ///
    /// # Errors
    /// [`FetchError`]; `file` is as it was, and nothing is left beside it.
    pub async fn fetch(&self, found: &Found, identity: &LogIdentity, file: &Path) -> Result<(), FetchError> {
        let statement = &found.statement;
        let count = segments_of(statement.length).ok_or(Refusal::Truncated)?;
        let beside = file.with_extension("shared");
        let opening = Opening {
            segments: Segments::new(&self.keys.seal, &statement.salt, self.kind, &statement.log_id, count),
            statement: statement.clone(),
            path: beside.clone(),
        };
        let (sender, chunks) = mpsc::channel(CHUNKS_UNDER_WAY);
        let written = tokio::task::spawn_blocking(move || opening.write(chunks));
        let downloaded = self.store.download(&found.object, count, &sender).await;
        drop(sender);
        let written = written.await.map_err(|_| FetchError::Aborted).flatten();
        let fetched = match (downloaded, written) {
            // What is wrong with the bytes tells more than that reading them ended early.
            (Ok(()) | Err(DownloadError::Dropped), written) => written,
            (Err(DownloadError::Missing { .. }), _) => Err(Refusal::Truncated.into()),
            (Err(DownloadError::Unanswered(error)), _) => Err(error.into()),
        };
        let fetched = fetched.and_then(|()| self.take(statement, identity, &beside, file));
        if fetched.is_err() {
            // Where even that fails the next attempt writes over it.
            let _ = std::fs::remove_file(&beside);
        }
        fetched
    }

    /// The header says of itself what the statement says of it: then the file gets its name.
    fn take(
        &self,
        statement: &Statement,
        identity: &LogIdentity,
        beside: &Path,
        file: &Path,
    ) -> Result<(), FetchError> {
        let opened = File::open(beside).map_err(|source| in_file(beside, source))?;
        let points = snapshot::points(self.kind, identity, opened);
        let points = points.map_err(|error| Refusal::OtherContent(error.to_string()))?;
        if !points
            .iter()
            .map(|point| point.sequence)
            .eq(statement.points.iter().copied())
        {
            return Err(Refusal::OtherContent("it is of another point".into()).into());
        }
        std::fs::rename(beside, file).map_err(|source| in_file(file, source))
    }
}

/// Opens segments into a file of its own.
struct Opening {
    segments: Segments,
    statement: Statement,
    path: PathBuf,
}

impl Opening {
    fn write(mut self, mut chunks: mpsc::Receiver<Bytes>) -> Result<(), FetchError> {
        let failed = |source| in_file(&self.path, source);
        // Whatever a crash left, or somebody planted, goes; what is then made is this process' own.
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
