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
//! [`PROVEN_FOR`] old when the read begins: a message that the servers acknowledged, which needs most of them. Portals write a proof for each
//! table that is read, once a second at most.
//!
//! **Expiry.** Portals compare a record's expiry with their own clock. The servers remove the message by its own lifetime
//! (`Nats-TTL`), [`KEPT_AFTER_EXPIRY`] later, so that clocks may differ.
//!
//! **Records that were lost** and created again do not know which sessions ended. Their id differs, and the key of the
//! pages' cookies is derived from it ([`JetStreamRecords::session_key`]), so that earlier sessions are not valid any
//! more. A portal that still has the earlier id writes its proofs to subjects without a stream.

mod message;
mod reading;
mod streams;
mod writing;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use citycode_jetstream::{Client, Connection};
use data_encoding::HEXLOWER;
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use crate::{AccessRecords, Entry, Record, Table, Unavailable, check};
use reading::{Proof, Stored};

pub use streams::{OpenError, SUBJECTS, is_subjects_of, provision, stream_name};

/// How long a proof of freshness counts.
pub const PROVEN_FOR: Duration = Duration::from_secs(1);
/// How long the servers keep a record after its expiry: the clocks of a city's machines may differ by so much.
pub const KEPT_AFTER_EXPIRY: Duration = Duration::from_secs(60);
/// Pause before another attempt.
const PAUSE: Duration = Duration::from_millis(50);

/// The location of the records.
#[derive(Debug, Clone)]
pub struct RecordsConfig {
    /// The servers, and the credentials of this portal.
    pub connection: Connection,
    /// The number of replicas.
    pub replicas: u8,
}

/// Fills a buffer with random bytes.
pub type FillRandom = Arc<dyn Fn(&mut [u8]) + Send + Sync>;

/// The clock and the source of randomness, as functions.
#[derive(Clone)]
pub struct Environment {
    /// Unix seconds.
    pub now: Arc<dyn Fn() -> i64 + Send + Sync>,
    /// A clock that never steps.
    pub monotonic: Arc<dyn Fn() -> Duration + Send + Sync>,
    /// Fills a buffer with random bytes.
    pub fill_random: FillRandom,
}

/// Limits that differ in tests.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most records of a table, if not [`Table::most_in_city`].
    pub most: Option<u64>,
    /// How long the servers keep a record after its expiry.
    pub kept_after_expiry: Duration,
    /// Deadline of a read: a person waits for the page.
    pub read_within: Duration,
    /// Deadline of a change; a whole request has 15 s.
    pub write_within: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            most: None,
            kept_after_expiry: KEPT_AFTER_EXPIRY,
            read_within: Duration::from_secs(4),
            write_within: Duration::from_secs(8),
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
    environment: Environment,
    limits: Limits,
    /// The newest proof of each table.
    proofs: BTreeMap<u8, Mutex<Option<Proof>>>,
    lost_connections: Arc<AtomicU64>,
}

impl std::fmt::Debug for JetStreamRecords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JetStreamRecords").finish_non_exhaustive()
    }
}

impl JetStreamRecords {
    /// Opens the records of a city whose session key this is.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(
        config: &RecordsConfig,
        session_key: &[u8; 32],
        environment: Environment,
    ) -> Result<Self, OpenError> {
        Self::with_limits(config, session_key, environment, Limits::default()).await
    }

    /// As [`JetStreamRecords::open`], with other limits.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn with_limits(
        config: &RecordsConfig,
        session_key: &[u8; 32],
        environment: Environment,
        limits: Limits,
    ) -> Result<Self, OpenError> {
        let lost_connections = Arc::<AtomicU64>::default();
        let losses = Arc::clone(&lost_connections);
        let client = citycode_jetstream::connect(&config.connection, move |event| {
            if matches!(event, async_nats::Event::Disconnected) {
                losses.fetch_add(1, Ordering::SeqCst);
            }
        })
        .await?;
        let id = streams::inspect(&client, config, session_key).await?;
        let proofs = Table::ALL.map(|table| (table.number(), Mutex::default()));
        Ok(Self(Arc::new(Inner {
            client,
            id,
            environment,
            limits,
            proofs: proofs.into(),
            lost_connections,
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
}

#[async_trait]
impl AccessRecords for JetStreamRecords {
    async fn create(&self, table: Table, key: &[u8], entry: Entry<'_>, now: i64) -> Result<bool, Unavailable> {
        check(key, entry.value)?;
        within(self.0.limits.write_within, self.0.create(table, key, entry, now)).await
    }

    async fn get(&self, table: Table, key: &[u8], now: i64) -> Result<Option<Record>, Unavailable> {
        let subject = self.0.key_subject(table, key);
        let stored = within(self.0.limits.read_within, self.0.read(table, &subject)).await?;
        Ok(stored.map(Stored::into_record).filter(|record| record.expires_at > now))
    }

    async fn replace(&self, table: Table, key: &[u8], revision: u64, entry: Entry<'_>) -> Result<bool, Unavailable> {
        check(key, entry.value)?;
        within(self.0.limits.write_within, self.0.replace(table, key, revision, entry)).await
    }

    async fn list(&self, table: Table, now: i64) -> Result<Vec<(Vec<u8>, Record)>, Unavailable> {
        within(self.0.limits.write_within, self.0.list(table, now)).await
    }
}

async fn within<T>(limit: Duration, answer: impl Future<Output = Result<T, Unavailable>>) -> Result<T, Unavailable> {
    let answered = tokio::time::timeout(limit, answer).await;
    answered.unwrap_or_else(|_| Err(Unavailable::new("no answer in time")))
}
