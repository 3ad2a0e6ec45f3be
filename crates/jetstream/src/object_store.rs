//! Objects in a bucket of NATS, in the standard layout (ADR-20 of NATS' architecture), so that any client lists and
//! reads them.
//!
//! ```text
//! stream   OBJ_<bucket>
//! chunk    $O.<bucket>.C.<nuid>                  the object's bytes, in the order of the stream
//! meta     $O.<bucket>.M.<name in base64url>     JSON, one message a name: each rolls up the one before
//! ```
//! An object is there once its meta is. The meta expects the one that it replaces, so of two writers one wins whole.
//! What a crash leaves are chunks that no meta names; [`ObjectStore::sweep`] removes those together with the chunks of
//! objects that were replaced.

mod download;
mod sweep;
mod upload;

pub use download::{CHUNKS_UNDER_WAY, DownloadError};
pub use upload::{Committed, Upload};

use std::collections::BTreeMap;

use data_encoding::BASE64URL;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::Client;
use crate::api::{self, ApiError};
use crate::settings::{self, SettingMismatch};
use crate::{ConnectError, Connection};

/// Bytes of a chunk, the last one apart: what clients of NATS write by default, far below a server's limit of 1 MB.
pub const CHUNK_BYTES: usize = 128 * 1024;

/// A bucket of objects. Cheap to clone.
#[derive(Clone)]
pub struct ObjectStore {
    client: Client,
    bucket: &'static str,
}

/// An object as its meta message has it. Nothing of it is to be trusted: whoever may write to the bucket wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectInfo {
    /// Its name in the bucket.
    pub name: String,
    /// What its writer said of it.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    /// How it was cut.
    #[serde(default)]
    options: Options,
    bucket: String,
    /// Names its chunks.
    pub nuid: String,
    /// Its length in bytes.
    pub size: u64,
    /// When it was written, by its writer's clock (RFC 3339).
    #[serde(default)]
    mtime: String,
    /// How many chunks.
    pub chunks: u64,
    /// `SHA-256=` and the digest in base64url.
    #[serde(default)]
    pub digest: String,
    /// It was taken away.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    deleted: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Options {
    #[serde(default)]
    max_chunk_size: usize,
}

/// An object that stands in a bucket.
#[derive(Debug, Clone)]
pub struct StandingObject {
    /// As its meta has it; `None` where that cannot be read, or says that the object was taken away.
    pub info: Option<ObjectInfo>,
    /// Sequence of the meta message: what a writer who replaces it must expect.
    pub sequence: u64,
}

/// Why there is no bucket to use.
#[derive(Debug, thiserror::Error)]
pub enum BucketError {
    /// A question was not answered, or refused.
    #[error("the bucket {bucket} cannot be made: {source}")]
    Refused {
        /// Which bucket.
        bucket: &'static str,
        /// What the server said.
        source: ApiError,
    },
    /// A stream of that name stands there with other settings.
    #[error("the bucket {bucket} is not set up as it must be: {}", settings::list(mismatches))]
    WrongSettings {
        /// Which bucket.
        bucket: &'static str,
        /// Each wrong setting with both values.
        mismatches: Vec<SettingMismatch>,
    },
}

impl BucketError {
    /// Whether trying again may help.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Refused { source, .. } if source.may_pass())
    }
}

impl ObjectStore {
    /// A bucket over a connection of its own, so that its bulk stands before nobody else's messages.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect(connection: &Connection, bucket: &'static str) -> Result<Self, ConnectError> {
        let client = crate::connect(connection, |_| ()).await?;
        Ok(Self { client, bucket })
    }

    /// Makes the bucket's stream if there is none, and checks one that stands.
    ///
    /// # Errors
    /// [`BucketError`].
    pub async fn provision(&self, replicas: u8) -> Result<(), BucketError> {
        let (bucket, stream) = (self.bucket, self.stream());
        let refused = |source| BucketError::Refused { bucket, source };
        let wanted = self.settings(replicas);
        let info = match api::stream_info(&self.client, &stream).await {
            Err(error) if error.has_code(api::code::STREAM_NOT_FOUND) => {
                let mut request = wanted.clone();
                request.insert("name".into(), json!(stream));
                api::make_stream(&self.client, &stream, &Value::Object(request)).await
            }
            asked => asked,
        };
        let mismatches = settings::compare(&wanted, &info.map_err(refused)?.config);
        if mismatches.is_empty() {
            Ok(())
        } else {
            Err(BucketError::WrongSettings { bucket, mismatches })
        }
    }

    fn settings(&self, replicas: u8) -> Map<String, Value> {
        let settings = json!({
            "subjects": [self.chunk_subject(">"), format!("$O.{}.M.>", self.bucket)],
            "retention": "limits",
            "discard": "new",
            "storage": "file",
            "num_replicas": replicas,
            "max_consumers": -1,
            "max_msgs": -1,
            "max_bytes": -1,
            "max_age": 0,
            "max_msgs_per_subject": -1,
            "max_msg_size": -1,
            "duplicate_window": 120_000_000_000_u64,
            "allow_rollup_hdrs": true,
            "allow_direct": true,
        });
        match settings {
            Value::Object(map) => map,
            _ => Map::new(),
        }
    }

    fn stream(&self) -> String {
        format!("OBJ_{}", self.bucket)
    }

    fn chunk_subject(&self, nuid: &str) -> String {
        format!("$O.{}.C.{nuid}", self.bucket)
    }

    fn meta_subject(&self, name: &str) -> String {
        format!("$O.{}.M.{}", self.bucket, BASE64URL.encode(name.as_bytes()))
    }

    /// The object of that name, as the bucket's leader has it; `None` where there never was one.
    ///
    /// # Errors
    /// The refusal, or what came instead of an answer.
    pub async fn standing(&self, name: &str) -> Result<Option<StandingObject>, ApiError> {
        let body = json!({ "last_by_subj": self.meta_subject(name) });
        let message = api::get_from_leader(&self.client, &self.stream(), &body).await?;
        Ok(message.map(|message| {
            let info = serde_json::from_slice::<ObjectInfo>(&message.payload).ok();
            StandingObject {
                info: info.filter(|info| !info.deleted && info.name == name && is_token(&info.nuid)),
                sequence: message.sequence,
            }
        }))
    }
}

/// Whether this may stand as one token of a subject and be no wildcard.
fn is_token(nuid: &str) -> bool {
    !nuid.is_empty() && nuid.len() <= 64 && nuid.bytes().all(|byte| byte.is_ascii_alphanumeric())
}
