//! Removes chunks that belong to no current object: those of replaced objects, and those that a crash left.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{ObjectInfo, ObjectStore};
use crate::api::{self, ApiError};

#[derive(Deserialize)]
struct Listing {
    /// The server's clock.
    ts: Timestamp,
    state: ListingState,
}

#[derive(Deserialize)]
struct ListingState {
    #[serde(default)]
    subjects: Option<BTreeMap<String, u64>>,
}

impl ObjectStore {
    /// Removes the chunks that do not belong to the object `name`, the only one of the bucket, once neither they nor
    /// the object have changed for `keep` by the servers' clock. Until then readers of a replaced object can finish,
    /// and the chunks may belong to an object that is being written.
    ///
    /// # Errors
    /// [`ApiError`]; the next sweep continues.
    pub async fn sweep(&self, name: &str, keep: Duration) -> Result<u64, ApiError> {
        let listing = self.list(">").await?;
        // Read after the listing, so that the chunks of an object that was committed in between are kept.
        let meta = self.last_of(&self.meta_subject(name)).await?;
        let (current, meta_time) = meta.unwrap_or_default();
        let needed = current
            .get("nuid")
            .and_then(Value::as_str)
            .map(|nuid| self.chunk_subject(nuid));
        let is_old = |time: Option<Timestamp>| {
            time.is_none_or(|time| Duration::try_from(listing.ts.duration_since(time)).is_ok_and(|age| age >= keep))
        };
        let mut removed = 0;
        for (subject, _) in listing.state.subjects.unwrap_or_default() {
            if Some(&subject) == needed.as_ref() || !is_old(meta_time) {
                continue;
            }
            let newest = self.newest_time(&subject).await?;
            let nuid = subject.rsplit('.').next().unwrap_or_default();
            if is_old(newest) && super::is_token(nuid) {
                self.purge_chunks(nuid).await?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Removes the chunks with this id if none of them changed for `keep` by the servers' clock. They must belong to no
    /// object.
    ///
    /// # Errors
    /// [`ApiError`]; another call continues.
    pub async fn remove_abandoned(&self, nuid: &str, keep: Duration) -> Result<bool, ApiError> {
        let listing = self.list(nuid).await?;
        let newest = self.newest_time(&self.chunk_subject(nuid)).await?;
        let age = newest.and_then(|time| Duration::try_from(listing.ts.duration_since(time)).ok());
        let is_abandoned = age.is_some_and(|age| age >= keep);
        if is_abandoned {
            self.purge_chunks(nuid).await?;
        }
        Ok(is_abandoned)
    }

    /// The number of the object's chunks in the bucket.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn chunks_of(&self, object: &ObjectInfo) -> Result<u64, ApiError> {
        let subjects = self.list(&object.nuid).await?.state.subjects.unwrap_or_default();
        Ok(subjects.values().sum())
    }

    async fn list(&self, nuid: &str) -> Result<Listing, ApiError> {
        let body = json!({ "subjects_filter": self.chunk_subject(nuid) });
        api::ask(&self.client, &format!("STREAM.INFO.{}", self.stream()), &body).await
    }

    /// The last message of a subject as JSON, and the server's time at which it was stored.
    async fn last_of(&self, subject: &str) -> Result<Option<(Value, Option<Timestamp>)>, ApiError> {
        let body = json!({ "last_by_subj": subject });
        let message = api::get_from_leader(&self.client, &self.stream(), &body).await?;
        Ok(message.map(|message| {
            let time = message.time.as_deref().and_then(|time| time.parse().ok());
            (serde_json::from_slice(&message.payload).unwrap_or_default(), time)
        }))
    }

    async fn newest_time(&self, subject: &str) -> Result<Option<Timestamp>, ApiError> {
        Ok(self.last_of(subject).await?.and_then(|(_, time)| time))
    }
}
