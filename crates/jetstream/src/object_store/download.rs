//! Reads an object's chunks in order, and no faster than the receiver takes them.

use bytes::Bytes;
use futures::StreamExt as _;
use serde_json::json;
use tokio::sync::mpsc;

use super::{ObjectInfo, ObjectStore};
use crate::ApiClient as _;
use crate::api::{self, API_TIMEOUT, ApiError, StoredMessage};

/// Chunks of one request: 4 MiB, so that the cost of requests is small and little memory is used.
const BATCH: u64 = 32;
/// The capacity of the receiver's queue; while it is full no more chunks are requested.
pub const CHUNKS_IN_FLIGHT: usize = 32;

/// Why an object was not read to its end.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// A request failed.
    #[error("the object cannot be read: {0}")]
    Unanswered(#[from] ApiError),
    /// A chunk does not exist: the object was replaced meanwhile, or the chunk was lost.
    #[error("chunk {number} of {chunks} of the object is missing")]
    Missing {
        /// The chunk's number, from 1.
        number: u64,
        /// The expected number of chunks.
        chunks: u64,
    },
    /// The receiver was dropped.
    #[error("reading was cancelled")]
    Dropped,
}

impl ObjectStore {
    /// Sends an object's first `chunks` chunks in order.
    ///
    /// # Errors
    /// [`DownloadError`].
    pub async fn download(
        &self,
        object: &ObjectInfo,
        chunks: u64,
        receiver: &mpsc::Sender<Bytes>,
    ) -> Result<(), DownloadError> {
        let subject = self.chunk_subject(&object.nuid);
        let (mut next, mut sent) = (1, 0);
        while sent < chunks {
            let before = sent;
            let batch = BATCH.min(chunks - sent);
            let body = json!({ "seq": next, "batch": batch, "next_by_subj": subject }).to_string();
            let inbox = self.client.new_inbox();
            let connection = |error: &dyn std::fmt::Display| ApiError::Connection(error.to_string());
            let mut answers = self
                .client
                .subscribe(inbox.clone())
                .await
                .map_err(|error| connection(&error))?;
            let request = format!("{}.DIRECT.GET.{}", self.client.api(), self.stream());
            let sent_request = self.client.publish_with_reply(request, inbox, body.into()).await;
            sent_request.map_err(|error| connection(&error))?;
            while let Ok(Some(answer)) = tokio::time::timeout(API_TIMEOUT, answers.next()).await {
                if answer.status == Some(async_nats::StatusCode::NO_RESPONDERS) {
                    return Err(ApiError::NoResponders.into());
                }
                let Some(message) = api::direct(answer)? else {
                    break;
                };
                if message.subject != subject || message.sequence < next {
                    return Err(ApiError::Malformed("a chunk of another object".into()).into());
                }
                next = message.sequence + 1;
                sent += 1;
                receiver
                    .send(message.payload)
                    .await
                    .map_err(|_| DownloadError::Dropped)?;
            }
            if sent == before {
                // The server that answered lags, or did not answer; the leader has the next chunk if it exists.
                let message = self.next_from_leader(&subject, next).await?;
                let number = sent + 1;
                let message = message.ok_or(DownloadError::Missing { number, chunks })?;
                next = message.sequence + 1;
                sent += 1;
                receiver
                    .send(message.payload)
                    .await
                    .map_err(|_| DownloadError::Dropped)?;
            }
        }
        Ok(())
    }

    async fn next_from_leader(&self, subject: &str, from: u64) -> Result<Option<StoredMessage>, ApiError> {
        let body = json!({ "seq": from, "next_by_subj": subject });
        api::get_from_leader(&self.client, &self.stream(), &body).await
    }
}
