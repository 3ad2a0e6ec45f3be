//! Objects in a NATS bucket, in the standard layout (ADR-20 of the NATS architecture), so that any client can list and
//! read them.
//!
//! ```text
//! stream   OBJ_<bucket>
//! chunk    $O.<bucket>.C.<nuid>                  the object's bytes, in the order of the stream
//! meta     $O.<bucket>.M.<name in base64url>     JSON, one message for each name: each rolls up the previous one
//! ```
//! An object exists once its meta message does. The meta message expects the one that it replaces, so of two concurrent
//! writers exactly one succeeds. A crash leaves chunks without a meta message; [`ObjectStore::sweep`] removes them, and
//! the chunks of replaced objects.

mod download;
mod sweep;
mod upload;

pub use download::{CHUNKS_IN_FLIGHT, DownloadError};
pub use upload::{Committed, Upload};

use std::collections::BTreeMap;

use data_encoding::BASE64URL;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::Client;
use crate::api::{self, ApiError};
use crate::settings::{self, SettingMismatch};
use crate::{ConnectError, Connection};

/// Bytes of a chunk except the last: the default of NATS clients, far below a server's limit of 1 MB.
pub const CHUNK_BYTES: usize = 128 * 1024;

/// A bucket of objects. Cheap to clone.
#[derive(Clone)]
pub struct ObjectStore {
    client: Client,
    bucket: &'static str,
}

/// An object's meta message. It is untrusted: any client that may write to the bucket can write it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectInfo {
    /// Its name in the bucket.
    pub name: String,
    /// The writer's metadata.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    /// The size of its chunks.
    #[serde(default)]
    options: Options,
    bucket: String,
    /// The id in the subject of its chunks.
    pub nuid: String,
    /// Its length in bytes.
    pub size: u64,
    /// The time at which it was written, by its writer's clock (RFC 3339).
    #[serde(default)]
    mtime: String,
    /// The number of its chunks.
    pub chunks: u64,
    /// `SHA-256=` and the digest in base64url.
    #[serde(default)]
    pub digest: String,
    /// It was deleted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    deleted: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Options {
    #[serde(default)]
    max_chunk_size: usize,
}

/// The current object of a name.
#[derive(Debug, Clone)]
pub struct CurrentObject {
    /// Its meta message; `None` if that is invalid, or the object was deleted.
    pub info: Option<ObjectInfo>,
    /// Sequence of the meta message, which a writer who replaces the object must expect.
    pub sequence: u64,
}

/// Why a bucket cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BucketError {
    /// A request failed.
    #[error("the bucket {bucket} cannot be created: {source}")]
    Refused {
        /// The bucket.
        bucket: &'static str,
        /// The error.
        source: ApiError,
    },
    /// The bucket's stream exists with other settings.
    #[error("the bucket {bucket} has wrong settings: {}", settings::list(mismatches))]
    WrongSettings {
        /// The bucket.
        bucket: &'static str,
        /// Each wrong setting with both values.
        mismatches: Vec<SettingMismatch>,
    },
}

impl BucketError {
    /// Whether a retry may succeed.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Refused { source, .. } if source.may_pass())
    }
}

/// Why a bucket was not created.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// No server accepted the connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The bucket cannot be used.
    #[error(transparent)]
    Bucket(#[from] BucketError),
}

impl ProvisionError {
    /// Whether a retry may succeed.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Connect(error) => !matches!(error, ConnectError::Seed),
            Self::Bucket(error) => error.may_pass(),
        }
    }
}

/// Creates a bucket, or checks an existing one.
///
/// # Errors
/// [`ProvisionError`].
pub async fn provision(connection: &Connection, bucket: &'static str, replicas: u8) -> Result<(), ProvisionError> {
    let store = ObjectStore::connect(connection, bucket).await?;
    Ok(store.provision(replicas).await?)
}

impl ObjectStore {
    /// A bucket with a separate connection, so that large objects do not delay other messages.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect(connection: &Connection, bucket: &'static str) -> Result<Self, ConnectError> {
        let client = crate::connect(connection, |_| ()).await?;
        Ok(Self { client, bucket })
    }

    /// Creates the bucket's stream if it does not exist, and checks an existing one.
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
                api::create_stream(&self.client, &stream, &Value::Object(request)).await
            }
            answer => answer,
        };
        let mismatches = settings::compare(&wanted, &info.map_err(refused)?.config);
        if mismatches.is_empty() {
            Ok(())
        } else {
            Err(BucketError::WrongSettings { bucket, mismatches })
        }
    }

    /// Whether the bucket's stream exists.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn exists(&self) -> Result<bool, ApiError> {
        match api::stream_info(&self.client, &self.stream()).await {
            Err(error) if error.has_code(api::code::STREAM_NOT_FOUND) => Ok(false),
            answer => answer.map(|_| true),
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

    /// The object of that name according to the bucket's leader; `None` if there never was one.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn current(&self, name: &str) -> Result<Option<CurrentObject>, ApiError> {
        let body = json!({ "last_by_subj": self.meta_subject(name) });
        let message = api::get_from_leader(&self.client, &self.stream(), &body).await?;
        Ok(message.map(|message| {
            let info = serde_json::from_slice::<ObjectInfo>(&message.payload).ok();
            CurrentObject {
                info: info.filter(|info| !info.deleted && info.name == name && is_token(&info.nuid)),
                sequence: message.sequence,
            }
        }))
    }
}

/// Whether this is a valid token of a subject and not a wildcard.
fn is_token(nuid: &str) -> bool {
    !nuid.is_empty() && nuid.len() <= 64 && nuid.bytes().all(|byte| byte.is_ascii_alphanumeric())
}
