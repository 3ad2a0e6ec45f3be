//! Reading the records of a day, for auditors and tests: on what a verdict was based (R26).

use citycode_jetstream::api;
use citycode_vault::HolderKey;
use serde_json::json;

use super::message::{ArchiveKey, DayKey, Message};
use super::{KeeperSecrets, OpenError, Opened, ScansConfig, names};
use crate::{RecordsError, ScanRecord, failed};

const BATCH: usize = 64;

/// The records of all retained days, for reading.
pub struct ScanArchive {
    opened: Opened,
    secret: HolderKey,
}

impl ScanArchive {
    /// Opens the records.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(config: &ScansConfig, secrets: &KeeperSecrets) -> Result<Self, OpenError> {
        let opened = super::open(config, &secrets.records).await?;
        let secret = super::archive_secret(&opened, secrets)?;
        Ok(Self { opened, secret })
    }

    /// The ordinary scans of a day; those of one verifier are in its order.
    ///
    /// # Errors
    /// [`RecordsError`], also if the day's key was destroyed, or a record was changed.
    pub async fn scans(&self, day: u32) -> Result<Vec<ScanRecord>, RecordsError> {
        let key = ArchiveKey::open(day, &self.secret, &self.keys(day).await?)?;
        let mut records = Vec::new();
        for payload in self.messages(&names::scans(day)).await? {
            records.extend(key.open_chunk(&payload)?);
        }
        Ok(records)
    }

    /// The registrations in a day's stream, in order. Around midnight some are of the day before.
    ///
    /// # Errors
    /// As [`ScanArchive::scans`].
    pub async fn registrations(&self, day: u32) -> Result<Vec<ScanRecord>, RecordsError> {
        let key = DayKey::open(day, &self.opened.secret, &self.keys(day).await?)?;
        let mut records = Vec::new();
        for payload in self.messages(&names::registered(day)).await? {
            if let Message::Registration { name, sealed } = Message::read(&payload) {
                records.push(key.open_registration(name, sealed)?);
            }
        }
        Ok(records)
    }

    async fn keys(&self, day: u32) -> Result<bytes::Bytes, RecordsError> {
        let body = json!({ "last_by_subj": names::key_subject(day) });
        let key = api::get_from_leader(&self.opened.client, names::KEYS, &body).await;
        let key = key.map_err(failed)?;
        key.map(|key| key.payload)
            .ok_or_else(|| failed(format!("day {day} has no key")))
    }

    /// Every message of a stream, up to the end that its leader reports.
    async fn messages(&self, stream: &str) -> Result<Vec<bytes::Bytes>, RecordsError> {
        let client = &self.opened.client;
        let last = api::stream_info(client, stream).await.map_err(failed)?.state.last_seq;
        let mut found = Vec::new();
        while (found.len() as u64) < last {
            let next = found.len() as u64 + 1;
            let body = json!({ "seq": next, "batch": BATCH });
            let mut batch = api::get_batch(client, stream, &body).await.map_err(failed)?;
            if batch.is_empty() {
                // The server that answered lags.
                let one = api::get_from_leader(client, stream, &json!({ "seq": next })).await;
                batch.extend(one.map_err(failed)?);
            }
            for message in batch {
                if message.sequence != found.len() as u64 + 1 {
                    return Err(failed(format!(
                        "{stream}: a message is missing before {}",
                        message.sequence
                    )));
                }
                found.push(message.payload);
            }
            if (found.len() as u64) < next {
                return Err(failed(format!("{stream}: message {next} is missing")));
            }
        }
        Ok(found)
    }
}
