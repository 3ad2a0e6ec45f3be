//! Publishing a snapshot.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek as _};
use std::time::Duration;

use aws_lc_rs::digest;
use bytes::Bytes;
use citycode_jetstream::api::ApiError;
use citycode_jetstream::object_store::Committed;
use citycode_projection::snapshot;
use citycode_projection::{LoadError, LogIdentity};
use citycode_token::SigningKey;
use data_encoding::{BASE64, HEXLOWER};
use tokio::sync::mpsc;

use crate::seal::{SEGMENT_BYTES, Segments, segments_of};
use crate::{SharedSnapshots, Statement, object};

/// The key of the signed statement, in base64, in an object's metadata.
pub(crate) const STATEMENT: &str = "citycode-statement";
/// Sealed segments that wait to be written; the disk is faster than servers that flush.
const QUEUED_SEGMENTS: usize = 4;

/// A snapshot to publish.
pub struct NewSnapshot<'a> {
    /// The opened snapshot file, which must not be written any more.
    pub file: File,
    /// The log that the snapshot must be of.
    pub identity: LogIdentity,
    /// The key that signs the statement.
    pub signing: &'a SigningKey,
    /// Random and never used before; the object's key is derived from it, and it is the id of its chunks.
    pub salt: [u8; 16],
    /// The current time in seconds since 1970.
    pub made_at: i64,
    /// Sequence of the meta message of the object to replace; 0 if there is none.
    pub replaces: u64,
}

/// Why a snapshot was not published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The file is not a complete snapshot of this log, so it is not signed.
    #[error("the snapshot file is not a valid snapshot of this log: {0}")]
    File(#[from] LoadError),
    /// Reading the file failed later.
    #[error("the snapshot file cannot be read: {0}")]
    Read(#[from] io::Error),
    /// A request failed.
    #[error("the snapshot cannot be written to the servers: {0}")]
    Store(#[from] ApiError),
    /// The thread that seals segments ended early.
    #[error("sealing was cancelled")]
    Aborted,
}

impl SharedSnapshots {
    /// Seals a snapshot file, writes it as a new object, and makes that the current one unless another writer has
    /// replaced the old object. A crash at any moment leaves the old object and, until the next sweep, unused chunks.
    ///
    /// # Errors
    /// [`PublishError`]; the old object remains the current one.
    pub async fn publish(&self, new: NewSnapshot<'_>) -> Result<(Committed, Statement), PublishError> {
        let (kind, identity) = (self.kind, new.identity);
        let mut file = new.file;
        let (sender, mut segments) = mpsc::channel(QUEUED_SEGMENTS);
        let (salt, key) = (new.salt, self.keys.seal.clone());
        let sealing = tokio::task::spawn_blocking(move || {
            // The file is verified before it is signed, so that damage on this disk is not distributed.
            let points = snapshot::check(kind, &identity, &mut file)?;
            file.rewind()?;
            let format = snapshot::format_of(&mut file)?;
            let length = file.metadata()?.len();
            let count = segments_of(length).ok_or(LoadError::Truncated)?;
            let sealing = Segments::new(&key, &salt, kind, &identity.log_id, count);
            let digest = seal_all(file, sealing, &sender)?;
            Ok::<_, PublishError>((points, format, length, digest))
        });
        let mut upload = self.store.upload(HEXLOWER.encode(&salt));
        while let Some(segment) = segments.recv().await {
            if let Err(error) = upload.push(segment).await {
                upload.abort().await;
                return Err(error.into());
            }
        }
        let (points, format, length, digest) = match sealing.await.map_err(|_| PublishError::Aborted).flatten() {
            Ok(sealed) => sealed,
            Err(error) => {
                upload.abort().await;
                return Err(error);
            }
        };
        let statement = Statement {
            projection: kind as u8,
            log_id: identity.log_id,
            points: points.iter().map(|point| point.sequence).collect(),
            format,
            salt,
            length,
            digest,
            made_at: new.made_at,
        };
        let signed = BASE64.encode(&statement.sign(new.signing));
        let metadata = BTreeMap::from([(STATEMENT.to_owned(), signed)]);
        let modified = jiff::Timestamp::from_second(new.made_at)
            .unwrap_or_default()
            .to_string();
        let committed = upload
            .commit(object(kind), &digest, modified, metadata, new.replaces)
            .await?;
        Ok((committed, statement))
    }

    /// Removes chunks of replaced objects and of crashes once nothing has changed for `keep`.
    ///
    /// # Errors
    /// [`ApiError`]; the next sweep continues.
    pub async fn sweep(&self, keep: Duration) -> Result<u64, ApiError> {
        self.store.sweep(object(self.kind), keep).await
    }
}

/// Sends every sealed segment; returns the SHA-256 of all of them.
fn seal_all(mut file: File, mut sealing: Segments, sender: &mpsc::Sender<Bytes>) -> Result<[u8; 32], PublishError> {
    file.rewind()?;
    let mut hash = digest::Context::new(&digest::SHA256);
    loop {
        let mut segment = Vec::with_capacity(SEGMENT_BYTES + 16);
        (&mut file).take(SEGMENT_BYTES as u64).read_to_end(&mut segment)?;
        if segment.is_empty() {
            let digest = hash.finish();
            return Ok(digest.as_ref().try_into().expect("SHA-256 gives 32 bytes"));
        }
        sealing.seal(&mut segment);
        hash.update(&segment);
        sender
            .blocking_send(segment.into())
            .map_err(|_| PublishError::Aborted)?;
    }
}
