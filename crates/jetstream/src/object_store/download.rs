//! Reading an object's chunks, in order and no faster than they are taken.

use bytes::Bytes;
use futures::StreamExt as _;
use serde_json::json;
use tokio::sync::mpsc;

use super::{ObjectInfo, ObjectStore};
use crate::Asks as _;
use crate::api::{self, API_TIMEOUT, ApiError, StoredMessage};

/// Chunks asked for at once: 4 MiB, so that questions cost little, and little waits in memory.
const BATCH: u64 = 32;
/// Chunks that may wait for whoever takes them; more are not asked for.
pub const CHUNKS_UNDER_WAY: usize = 32;

/// Why an object was not read to its end.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// The servers do not answer.
    #[error("the object cannot be read: {0}")]
    Unanswered(#[from] ApiError),
    /// A chunk is not there: it was replaced meanwhile, or lost.
    #[error("chunk {number} of {chunks} of the object is missing")]
    Missing {
        /// Which, from 1.
        number: u64,
        /// How many there should be.
        chunks: u64,
    },
    /// Nobody takes chunks any more.
    #[error("reading was given up")]
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
        taker: &mpsc::Sender<Bytes>,
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
            let question = format!("{}.DIRECT.GET.{}", self.client.api(), self.stream());
            let asked = self.client.publish_with_reply(question, inbox, body.into()).await;
            asked.map_err(|error| connection(&error))?;
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
                taker.send(message.payload).await.map_err(|_| DownloadError::Dropped)?;
            }
            if sent == before {
                // Whoever was asked lags, or says nothing: the leader knows.
                let message = self.next_from_leader(&subject, next).await?;
                let number = sent + 1;
                let message = message.ok_or(DownloadError::Missing { number, chunks })?;
                next = message.sequence + 1;
                sent += 1;
                taker.send(message.payload).await.map_err(|_| DownloadError::Dropped)?;
            }
        }
        Ok(())
    }

    async fn next_from_leader(&self, subject: &str, from: u64) -> Result<Option<StoredMessage>, ApiError> {
        let body = json!({ "seq": from, "next_by_subj": subject });
        api::get_from_leader(&self.client, &self.stream(), &body).await
    }
}
