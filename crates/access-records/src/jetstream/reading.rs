//! Reads records at the leader of a stream, which proves that it is one.
//!
//! A read of one record is repeated until its proof is young ([`ANSWERED_WITHIN`]). A list is not: it is as of the proof
//! with which it begins, so it is up to 8 s old when it is returned (the deadline of a list). Whoever acts on a record of a
//! list reads it again.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;
use citycode_jetstream::api;
use citycode_jetstream::publish::{Published, publish};
use data_encoding::HEXLOWER;
use serde::Deserialize;
use serde_json::json;

use super::message::Message;
use super::{Inner, PAUSE, PROVEN_FOR, stream_name};
use crate::{Record, Table, Unavailable};

/// A read and its proof take no longer than this, so that every portal refuses a session within two seconds of the
/// session's end.
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);
/// Records of a list that are read at the same time.
const READS_AT_ONCE: usize = 32;
/// The last token of the subject of proofs; keys are hex digits.
const NOW: &str = "now";

/// Most servers of a table's stream acknowledged a message.
#[derive(Clone, Copy)]
pub(super) struct Proof {
    /// When it was sent, by the monotonic clock.
    sent: Duration,
    /// The connection: how many were lost before it.
    connection: u64,
}

/// The last message of a record's subject.
pub(super) struct Stored {
    pub(super) sequence: u64,
    pub(super) message: Message,
}

impl Stored {
    pub(super) fn into_record(self) -> Record {
        Record {
            value: self.message.value,
            expires_at: self.message.expires_at,
            revision: self.sequence,
        }
    }
}

#[derive(Deserialize)]
struct Listing {
    #[serde(default)]
    total: u64,
    state: ListedSubjects,
}

#[derive(Deserialize)]
struct ListedSubjects {
    #[serde(default)]
    subjects: Option<BTreeMap<String, u64>>,
}

impl Inner {
    /// Makes sure that the stream of a table has a leader with most of its servers: at once if that was proven within
    /// [`PROVEN_FOR`] over this connection, else by a message that they acknowledge. Concurrent callers share one proof.
    pub(super) async fn prove(&self, table: Table) -> Result<Proof, Unavailable> {
        let proven = self.proofs.get(&table.number()).expect("every table has one");
        let mut proven = proven.lock().await;
        if let Some(proof) = proven.filter(|proof| self.is_within(PROVEN_FOR, proof)) {
            return Ok(proof);
        }
        loop {
            let proof = Proof {
                sent: (self.environment.monotonic)(),
                connection: self.lost_connections.load(Ordering::SeqCst),
            };
            match publish(&self.client, self.subject(table, NOW), HeaderMap::new(), Bytes::new()).await {
                Published::Written(_) | Published::Known(_) => {
                    *proven = Some(proof);
                    return Ok(proof);
                }
                Published::Refused(why) | Published::Unknown(why) => return Err(Unavailable::new(why)),
                // Also if no stream has this subject, because the records were created again.
                Published::NotNow(_) | Published::Unanswered | Published::InFlight(_) | Published::WrongRevision => {}
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Whether a proof is not older than `age`, and of the present connection: after a reconnection, another server may
    /// lead to a leader that was cut off.
    fn is_within(&self, age: Duration, proof: &Proof) -> bool {
        let now = (self.environment.monotonic)();
        now.saturating_sub(proof.sent) < age && proof.connection == self.lost_connections.load(Ordering::SeqCst)
    }

    /// The last message of a subject according to the leader, which is not proven.
    pub(super) async fn stored(&self, table: Table, subject: &str) -> Result<Option<Stored>, Unavailable> {
        let asked = json!({ "last_by_subj": subject });
        let found = api::get_from_leader(&self.client, &stream_name(table), &asked).await;
        let Some(found) = found.map_err(Unavailable::new)? else {
            return Ok(None);
        };
        let message = Message::parse(&found.payload).ok_or_else(|| Unavailable::new("a record cannot be read"))?;
        Ok(Some(Stored {
            sequence: found.sequence,
            message,
        }))
    }

    pub(super) async fn read(&self, table: Table, subject: &str) -> Result<Option<Stored>, Unavailable> {
        loop {
            let (proof, stored) = tokio::join!(self.prove(table), self.stored(table, subject));
            let (proof, stored) = (proof?, stored?);
            // The proof may be from before the read, which may have taken long.
            if self.is_within(ANSWERED_WITHIN, &proof) {
                return Ok(stored);
            }
        }
    }

    /// As of a proof that may be as old as the whole list takes.
    pub(super) async fn list(&self, table: Table, now: i64) -> Result<Vec<(Vec<u8>, Record)>, Unavailable> {
        self.prove(table).await?;
        let subjects = self.subjects(table).await?;
        let mut living = Vec::new();
        for some in subjects.chunks(READS_AT_ONCE) {
            let reads = some.iter().map(|(subject, _)| self.stored(table, subject));
            let found = futures::future::try_join_all(reads).await?;
            for ((_, key), stored) in some.iter().zip(found) {
                let record = stored.map(Stored::into_record);
                living.extend(
                    record
                        .filter(|record| record.expires_at > now)
                        .map(|record| (key.clone(), record)),
                );
            }
        }
        living.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(living)
    }

    /// The subject and the key of each record of a table.
    async fn subjects(&self, table: Table) -> Result<Vec<(String, Vec<u8>)>, Unavailable> {
        let mut subjects = Vec::new();
        loop {
            let body = json!({ "subjects_filter": self.subject(table, "*"), "offset": subjects.len() });
            let verb = format!("STREAM.INFO.{}", stream_name(table));
            let listing: Listing = api::ask(&self.client, &verb, &body).await.map_err(Unavailable::new)?;
            let before = subjects.len();
            subjects.extend(listing.state.subjects.unwrap_or_default().into_keys());
            if subjects.len() == before || subjects.len() as u64 >= listing.total {
                break;
            }
        }
        let prefix = self.subject(table, "");
        let keyed = subjects.into_iter().filter_map(|subject| {
            let key = HEXLOWER.decode(subject.strip_prefix(&prefix)?.as_bytes()).ok()?;
            Some((subject, key))
        });
        Ok(keyed.collect())
    }
}
