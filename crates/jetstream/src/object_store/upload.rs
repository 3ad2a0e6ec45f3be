//! Writes an object: its chunks in order, then its meta message.

use async_nats::HeaderMap;
use bytes::Bytes;
use data_encoding::BASE64URL;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

use super::{CHUNK_BYTES, ObjectInfo, ObjectStore, Options};
use crate::api::{self, ApiError};

const EXPECTED: &str = "Nats-Expected-Last-Subject-Sequence";
const ROLLUP: &str = "Nats-Rollup";

#[derive(Deserialize)]
struct Stored {
    seq: u64,
}

/// An object that is being written; it is invisible before [`Upload::commit`].
pub struct Upload {
    store: ObjectStore,
    nuid: String,
    last: u64,
    chunks: u64,
    size: u64,
}

/// The outcome of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Committed {
    /// The object is now the current one.
    Now,
    /// Another writer replaced the expected object; this one was removed.
    Conflict,
}

impl ObjectStore {
    /// Starts an object whose chunks have this id: letters and digits that were never used before.
    #[must_use]
    pub fn upload(&self, nuid: String) -> Upload {
        Upload {
            store: self.clone(),
            nuid,
            last: 0,
            chunks: 0,
            size: 0,
        }
    }
}

impl Upload {
    /// Writes the next chunk: [`CHUNK_BYTES`], or fewer for the last one. Chunks are written one at a time, so that
    /// other writes to the same servers are not delayed, and each expects the previous one, so that a suspended writer
    /// detects that its chunks were swept.
    ///
    /// # Errors
    /// [`ApiError`]; abort the object then.
    pub async fn push(&mut self, chunk: Bytes) -> Result<(), ApiError> {
        let (subject, len) = (self.store.chunk_subject(&self.nuid), chunk.len() as u64);
        let mut headers = HeaderMap::new();
        headers.insert(EXPECTED, self.last.to_string());
        let answer = api::request(&self.store.client, subject, Some(headers), chunk).await?;
        self.last = api::parse::<Stored>(&answer.payload)?.seq;
        self.chunks += 1;
        self.size += len;
        Ok(())
    }

    /// Makes the object the current one of this name, if the meta message of the previous one has the sequence
    /// `expected` (0 if there is none). A crash before that leaves the old object, and chunks that a sweep removes.
    ///
    /// # Errors
    /// [`ApiError`]; the outcome is then unknown.
    pub async fn commit(
        self,
        name: &str,
        digest: &[u8; 32],
        modified: String,
        metadata: BTreeMap<String, String>,
        expected: u64,
    ) -> Result<Committed, ApiError> {
        let info = ObjectInfo {
            name: name.to_owned(),
            metadata,
            options: Options {
                max_chunk_size: CHUNK_BYTES,
            },
            bucket: self.store.bucket.to_owned(),
            nuid: self.nuid.clone(),
            size: self.size,
            mtime: modified,
            chunks: self.chunks,
            digest: format!("SHA-256={}", BASE64URL.encode(digest)),
            deleted: false,
        };
        let mut headers = HeaderMap::new();
        headers.insert(ROLLUP, "sub");
        headers.insert(EXPECTED, expected.to_string());
        let meta = serde_json::to_vec(&info).map_err(|error| ApiError::Malformed(error.to_string()))?;
        let subject = self.store.meta_subject(name);
        let answer = api::request(&self.store.client, subject, Some(headers), meta.into()).await?;
        match api::parse::<Stored>(&answer.payload) {
            Ok(_) => Ok(Committed::Now),
            Err(error) if error.has_code(api::code::WRONG_LAST_SEQUENCE) => {
                self.abort().await;
                Ok(Committed::Conflict)
            }
            Err(error) => Err(error),
        }
    }

    /// Removes the written chunks; if that fails, a sweep does it later.
    pub async fn abort(self) {
        let removed = self.store.purge_chunks(&self.nuid).await;
        if let Err(error) = removed {
            tracing::debug!(%error, "unused chunks remain until the next sweep");
        }
    }
}

impl ObjectStore {
    pub(super) async fn purge_chunks(&self, nuid: &str) -> Result<(), ApiError> {
        let body = json!({ "filter": self.chunk_subject(nuid) });
        let purged: Result<Value, _> = api::ask(&self.client, &format!("STREAM.PURGE.{}", self.stream()), &body).await;
        purged.map(drop)
    }
}
