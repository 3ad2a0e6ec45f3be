//! The records of a city, on NATS JetStream: every portal sees what any of them wrote.
//!
//! ```text
//! stream    CC_ACCESS_<TABLE>   one for each table, such as CC_ACCESS_ENDED_SESSIONS
//! subjects  cc.access.v1.<records: 32 hex digits>.<table>.<key, as hex>   one message: the record (see `message`)
//!           cc.access.v1.<records: 32 hex digits>.<table>.now             proofs of freshness: one empty message
//! metadata  citycode.access.format   1
//!           citycode.access.id       <32 hex digits: id of these records, random>
//!           citycode.access.check    <32 hex digits: identifies the city's session.key>
//! ```
//! **Writing.** A message is expected to follow a certain one of its subject, or none; its revision is its sequence, which
//! no later message has again. Each write contains random bytes, by which its writer recognises it if the answer was
//! lost. If it cannot be told whether a write was stored, the result is an error.
//!
//! **Reading.** Only the leader of a stream is asked. A leader that was cut off from the other servers does not notice for
//! some 20 s and would not know of a session's end. Therefore a read is returned only beside a proof, at most
//! [`PROVEN_FOR`] old: a message that the servers acknowledged, which needs most of them. Portals write a proof for each
//! table that is read, once a second at most.
//!
//! **Expiry.** Portals compare a record's expiry with their own clock. The servers remove the message by its own lifetime
//! (`Nats-TTL`), [`KEPT_AFTER_EXPIRY`] later, so that clocks may differ.
//!
//! **Records that were lost** and created again do not know which sessions ended. Their id differs, and the key of the
//! pages' cookies is derived from it ([`JetStreamRecords::session_key`]), so that earlier sessions are not valid any
//! more. A portal that still has the earlier id writes its proofs to subjects without a stream.

mod message;
mod streams;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_nats::HeaderMap;
use async_trait::async_trait;
use bytes::Bytes;
use citycode_jetstream::api;
use citycode_jetstream::publish::{Published, publish};
use citycode_jetstream::{Client, Connection};
use data_encoding::HEXLOWER;
use futures::{StreamExt as _, TryStreamExt as _};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use crate::{AccessRecords, Entry, Record, Table, Unavailable, check};
use message::Message;

pub use streams::{OpenError, SUBJECTS, is_subjects_of, provision, stream_name};

/// How long a proof of freshness counts.
pub const PROVEN_FOR: Duration = Duration::from_secs(1);
/// How long the servers keep a record after its expiry: the clocks of a city's machines may differ by so much.
pub const KEPT_AFTER_EXPIRY: Duration = Duration::from_secs(60);
/// Deadline of a read: a person waits for the page.
const READ_WITHIN: Duration = Duration::from_secs(4);
/// Deadline of a change; a whole request has 15 s.
const WRITE_WITHIN: Duration = Duration::from_secs(8);
/// Pause before another attempt.
const PAUSE: Duration = Duration::from_millis(50);
/// Records of a list that are read at the same time.
const READS_AT_ONCE: usize = 32;
/// The last token of the subject of proofs; keys are hex digits.
const NOW: &str = "now";
const EXPECTED: &str = "Nats-Expected-Last-Subject-Sequence";
const LIFETIME: &str = "Nats-TTL";

/// The location of the records.
#[derive(Debug, Clone)]
pub struct RecordsConfig {
    /// The servers, and the credentials of this portal.
    pub connection: Connection,
    /// The number of replicas.
    pub replicas: u8,
}

/// Time and chance, as functions.
#[derive(Clone)]
pub struct Surroundings {
    /// Unix seconds.
    pub now: Arc<dyn Fn() -> i64 + Send + Sync>,
    /// A clock that never steps.
    pub monotonic: Arc<dyn Fn() -> Duration + Send + Sync>,
    /// Fills a buffer with random bytes.
    pub fill_random: Arc<dyn Fn(&mut [u8]) + Send + Sync>,
}

/// Limits that differ in tests.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most records of a table, if it is not the table's own.
    pub most: Option<u64>,
    /// How long the servers keep a record after its expiry.
    pub kept_after_expiry: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            most: None,
            kept_after_expiry: KEPT_AFTER_EXPIRY,
        }
    }
}

/// The records of a city. Clones share the connection.
#[derive(Clone)]
pub struct JetStreamRecords(Arc<Inner>);

struct Inner {
    client: Client,
    /// The id of the records.
    id: [u8; 16],
    surroundings: Surroundings,
    limits: Limits,
    /// When the newest proof of each table was sent, by the monotonic clock.
    proofs: BTreeMap<u8, Mutex<Option<Duration>>>,
}

impl std::fmt::Debug for JetStreamRecords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JetStreamRecords").finish_non_exhaustive()
    }
}

/// What a write did.
enum Written {
    Done,
    /// The expectation does not hold. `doubtful`: an earlier attempt of this write may have been stored.
    Refused { doubtful: bool },
}

/// The last message of a record's subject.
struct Stored {
    sequence: u64,
    message: Message,
}

impl Stored {
    fn into_record(self) -> Record {
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

impl JetStreamRecords {
    /// Opens the records of a city whose session key this is.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(
        config: &RecordsConfig,
        session_key: &[u8; 32],
        surroundings: Surroundings,
    ) -> Result<Self, OpenError> {
        Self::with_limits(config, session_key, surroundings, Limits::default()).await
    }

    /// As [`JetStreamRecords::open`], with other limits.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn with_limits(
        config: &RecordsConfig,
        session_key: &[u8; 32],
        surroundings: Surroundings,
        limits: Limits,
    ) -> Result<Self, OpenError> {
        let client = citycode_jetstream::connect(&config.connection, |_| ()).await?;
        let id = streams::inspect(&client, config, session_key).await?;
        let proofs = Table::ALL.map(|table| (table.number(), Mutex::default()));
        Ok(Self(Arc::new(Inner {
            client,
            id,
            surroundings,
            limits,
            proofs: proofs.into(),
        })))
    }

    /// The key of the pages' cookies and names: derived from the city's session key and the id of these records. The
    /// sessions of records that were lost are not valid with the records that replace them.
    #[must_use]
    pub fn session_key(&self, city_key: &[u8; 32]) -> Zeroizing<[u8; 32]> {
        streams::derived(city_key, b"citycode page sessions v1 ", &self.0.id)
    }
}

impl Inner {
    fn subject(&self, table: Table, last: &str) -> String {
        streams::subject(&self.id, table, last)
    }

    fn key_subject(&self, table: Table, key: &[u8]) -> String {
        self.subject(table, &HEXLOWER.encode(key))
    }

    /// The message to write now, and its headers without the expectation.
    fn message(&self, entry: Entry<'_>) -> (Message, HeaderMap) {
        let mut write = [0; 16];
        (self.surroundings.fill_random)(&mut write);
        let message = Message {
            write,
            expires_at: entry.expires_at,
            value: entry.value.to_vec(),
        };
        let left = entry.expires_at.saturating_sub((self.surroundings.now)());
        let kept = u64::try_from(left)
            .unwrap_or(0)
            .saturating_add(self.limits.kept_after_expiry.as_secs())
            .max(1);
        let mut headers = HeaderMap::new();
        headers.insert(LIFETIME, kept.to_string());
        (message, headers)
    }

    /// Publishes until the servers acknowledge or refuse it.
    async fn write(&self, subject: &str, message: &Bytes, mut headers: HeaderMap, expected: u64) -> Result<Written, Unavailable> {
        headers.insert(EXPECTED, expected.to_string());
        let mut doubtful = false;
        loop {
            let published = publish(&self.client, subject.to_owned(), headers.clone(), message.clone()).await;
            match published {
                // The message is durable: a crash from here on leaves it.
                Published::Written(_) | Published::Known(_) => return Ok(Written::Done),
                Published::WrongRevision => return Ok(Written::Refused { doubtful }),
                // It may have been stored; the repeat with the same expectation is refused then.
                Published::Unanswered | Published::InFlight(_) => doubtful = true,
                Published::NotNow(why) => tracing::debug!(why, "a record is written again"),
                Published::Refused(why) | Published::Unknown(why) => return Err(Unavailable::new(why)),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Makes sure that the stream of a table has a leader with most of its servers: at once if that was proven within
    /// the last second, else by a message that they acknowledge. Concurrent callers share one proof.
    async fn prove(&self, table: Table) -> Result<(), Unavailable> {
        let proof = self.proofs.get(&table.number()).expect("every table has one");
        let mut proven = proof.lock().await;
        let now = (self.surroundings.monotonic)();
        if proven.is_some_and(|sent| now.saturating_sub(sent) < PROVEN_FOR) {
            return Ok(());
        }
        loop {
            let sent = (self.surroundings.monotonic)();
            match publish(&self.client, self.subject(table, NOW), HeaderMap::new(), Bytes::new()).await {
                Published::Written(_) | Published::Known(_) => {
                    *proven = Some(sent);
                    return Ok(());
                }
                Published::Refused(why) | Published::Unknown(why) => return Err(Unavailable::new(why)),
                // Also if no stream has this subject, because the records were created again.
                Published::NotNow(_) | Published::Unanswered | Published::InFlight(_) | Published::WrongRevision => {}
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// The last message of a subject according to the leader, which is not proven.
    async fn stored(&self, table: Table, subject: &str) -> Result<Option<Stored>, Unavailable> {
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

    async fn read(&self, table: Table, subject: &str) -> Result<Option<Stored>, Unavailable> {
        // The order does not matter: the proof was sent at most a second before the answer.
        let (proven, stored) = tokio::join!(self.prove(table), self.stored(table, subject));
        proven?;
        stored
    }

    async fn create(&self, table: Table, key: &[u8], entry: Entry<'_>, now: i64) -> Result<bool, Unavailable> {
        self.check_room(table).await?;
        let subject = self.key_subject(table, key);
        let (message, headers) = self.message(entry);
        let bytes = Bytes::from(message.to_bytes());
        let (mut expected, mut doubtful) = (0, false);
        loop {
            let written = self.write(&subject, &bytes, headers.clone(), expected).await?;
            let Written::Refused { doubtful: now_doubtful } = written else {
                return Ok(true);
            };
            doubtful |= now_doubtful;
            // The servers removed the message that was expected, or another writer was first.
            let Some(stored) = self.read(table, &subject).await? else {
                expected = 0;
                continue;
            };
            if stored.message.write == message.write {
                return Ok(true);
            }
            if doubtful {
                return Err(unknown());
            }
            if stored.message.expires_at > now {
                return Ok(false);
            }
            expected = stored.sequence;
        }
    }

    async fn replace(&self, table: Table, key: &[u8], revision: u64, entry: Entry<'_>) -> Result<bool, Unavailable> {
        // No record has the revision 0, with which a message would be expected to be the first of its subject.
        if revision == 0 {
            return Ok(false);
        }
        let subject = self.key_subject(table, key);
        let (message, headers) = self.message(entry);
        let bytes = Bytes::from(message.to_bytes());
        let Written::Refused { doubtful } = self.write(&subject, &bytes, headers, revision).await? else {
            return Ok(true);
        };
        let stored = self.read(table, &subject).await?;
        match stored {
            Some(stored) if stored.message.write == message.write => Ok(true),
            _ if doubtful => Err(unknown()),
            _ => Ok(false),
        }
    }

    /// Refuses new records of a full table. Portals that create records at the same moment may exceed the limit by a few;
    /// the stream's own limit is higher, because existing records are replaced and freshness is proven in a full table too.
    async fn check_room(&self, table: Table) -> Result<(), Unavailable> {
        // One message is the proof of freshness.
        self.prove(table).await?;
        let info = api::stream_info(&self.client, &stream_name(table)).await;
        let messages = info.map_err(Unavailable::new)?.state.messages;
        let most = self.limits.most.unwrap_or(table.most());
        if messages > most {
            return Err(Unavailable::new("there are too many records of this kind"));
        }
        Ok(())
    }

    async fn list(&self, table: Table, now: i64) -> Result<Vec<(Vec<u8>, Record)>, Unavailable> {
        self.prove(table).await?;
        let subjects = self.subjects(table).await?;
        let prefix = self.subject(table, "");
        let keys = subjects.iter().filter_map(|subject| {
            let key = subject.strip_prefix(&prefix)?;
            Some((subject.as_str(), HEXLOWER.decode(key.as_bytes()).ok()?))
        });
        let reads = keys.map(|(subject, key)| async move {
            let stored = self.stored(table, subject).await?;
            Ok::<_, Unavailable>(stored.map(|stored| (key, stored.into_record())))
        });
        let found: Vec<_> = futures::stream::iter(reads)
            .buffered(READS_AT_ONCE)
            .try_collect()
            .await?;
        let mut living: Vec<_> = found
            .into_iter()
            .flatten()
            .filter(|(_, record)| record.expires_at > now)
            .collect();
        living.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(living)
    }

    /// The subjects of all messages of a table.
    async fn subjects(&self, table: Table) -> Result<Vec<String>, Unavailable> {
        let mut subjects = Vec::new();
        loop {
            let body = json!({ "subjects_filter": self.subject(table, "*"), "offset": subjects.len() });
            let verb = format!("STREAM.INFO.{}", stream_name(table));
            let listing: Listing = api::ask(&self.client, &verb, &body).await.map_err(Unavailable::new)?;
            let before = subjects.len();
            subjects.extend(listing.state.subjects.unwrap_or_default().into_keys());
            if subjects.len() == before || subjects.len() as u64 >= listing.total {
                return Ok(subjects);
            }
        }
    }
}

#[async_trait]
impl AccessRecords for JetStreamRecords {
    async fn create(&self, table: Table, key: &[u8], entry: Entry<'_>, now: i64) -> Result<bool, Unavailable> {
        check(key, entry.value)?;
        within(WRITE_WITHIN, self.0.create(table, key, entry, now)).await
    }

    async fn get(&self, table: Table, key: &[u8], now: i64) -> Result<Option<Record>, Unavailable> {
        let subject = self.0.key_subject(table, key);
        let stored = within(READ_WITHIN, self.0.read(table, &subject)).await?;
        Ok(stored.map(Stored::into_record).filter(|record| record.expires_at > now))
    }

    async fn replace(&self, table: Table, key: &[u8], revision: u64, entry: Entry<'_>) -> Result<bool, Unavailable> {
        check(key, entry.value)?;
        within(WRITE_WITHIN, self.0.replace(table, key, revision, entry)).await
    }

    async fn list(&self, table: Table, now: i64) -> Result<Vec<(Vec<u8>, Record)>, Unavailable> {
        within(WRITE_WITHIN, self.0.list(table, now)).await
    }
}

async fn within<T>(limit: Duration, answer: impl Future<Output = Result<T, Unavailable>>) -> Result<T, Unavailable> {
    let answered = tokio::time::timeout(limit, answer).await;
    answered.unwrap_or_else(|_| Err(Unavailable::new("no answer in time")))
}

fn unknown() -> Unavailable {
    Unavailable::new("it is not known whether the record was written")
}
