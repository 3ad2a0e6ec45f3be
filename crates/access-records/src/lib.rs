//! Small durable records with an expiry that the web pages need: ended sessions, start links, pairing codes and paired
//! devices.
//!
//! Sessions themselves are sealed cookies, which any portal opens; only what must be remembered about them is a record.
//! A record has a table, a key and a value that this crate does not interpret. The whole contract is
//! create-if-absent and compare-and-replace, so that each start link is used once and each pairing code has one owner,
//! at whichever portal.
//!
//! Records contain no ID numbers: their writers use keyed hashes.
//!
//! Two engines: [`embedded`] for one process, [`jetstream`] for the portals of a city. One conformance suite
//! (`tests/conformance`) runs against both.

pub mod embedded;
pub mod jetstream;

use async_trait::async_trait;

/// Longest key in bytes.
pub const MAX_KEY_BYTES: usize = 64;
/// Longest value in bytes.
pub const MAX_VALUE_BYTES: usize = 4_096;

/// What a record is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub enum Table {
    /// Sessions that ended before their expiry.
    EndedSession,
    /// People all of whose sessions ended at some time.
    EndedPerson,
    /// Start links.
    StartLink,
    /// Codes that a device shows to be paired.
    Pairing,
    /// Paired devices.
    Device,
    /// Invitations of relatives.
    Invitation,
    /// Readings of ID cards that a kiosk used.
    CardReading,
}

impl Table {
    /// Every table.
    pub const ALL: [Self; 7] = [
        Self::EndedSession,
        Self::EndedPerson,
        Self::StartLink,
        Self::Pairing,
        Self::Device,
        Self::Invitation,
        Self::CardReading,
    ];

    /// Most records of this table in the folder of one program. Beyond it new ones are refused, and existing ones are
    /// kept. Anybody may ask for a pairing code, so that table has a small limit of its own and cannot take the room of
    /// others.
    #[must_use]
    pub fn most(self) -> u64 {
        match self {
            Self::EndedSession | Self::EndedPerson | Self::Device | Self::CardReading => 100_000,
            Self::Invitation => 20_000,
            Self::StartLink | Self::Pairing => 1_000,
        }
    }

    /// Most records of this table for a whole city on NATS servers, as [`Table::most`]. Each sign-out and each lost phone
    /// of a day leaves a record, and no resident may be refused one: 10 million records of some 200 bytes take 2 GB of
    /// disk at each server, and the servers' index of subjects takes about as much memory.
    #[must_use]
    pub fn most_in_city(self) -> u64 {
        match self {
            Self::EndedSession | Self::EndedPerson => 10_000_000,
            other => other.most(),
        }
    }

    /// Its permanent number in stored keys.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::EndedSession => 1,
            Self::EndedPerson => 2,
            Self::StartLink => 3,
            Self::Pairing => 4,
            Self::Device => 5,
            Self::Invitation => 6,
            Self::CardReading => 8,
        }
    }

    /// Its permanent name in the names and subjects of streams.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::EndedSession => "ended_sessions",
            Self::EndedPerson => "ended_people",
            Self::StartLink => "start_links",
            Self::Pairing => "pairings",
            Self::Device => "devices",
            Self::Invitation => "invitations",
            Self::CardReading => "card_readings",
        }
    }
}

/// One record.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// The value, as it was written.
    pub value: Vec<u8>,
    /// From this time on it does not exist any more, in Unix seconds.
    pub expires_at: i64,
    /// Grows with each replacement of the record; [`AccessRecords::replace`] names it.
    pub revision: u64,
}

/// `Debug` shows no value: it may be a secret.
impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Record")
            .field("expires_at", &self.expires_at)
            .field("revision", &self.revision)
            .finish_non_exhaustive()
    }
}

/// What a writer stores.
#[derive(Clone, Copy)]
pub struct Entry<'a> {
    /// The value, at most [`MAX_VALUE_BYTES`].
    pub value: &'a [u8],
    /// When the record ends, in Unix seconds.
    pub expires_at: i64,
}

/// The records cannot be read or written. A writer does not know whether its record was written; a reader must not
/// assume that a record is absent.
#[derive(Debug, thiserror::Error)]
#[error("the records of sessions and devices are unavailable: {0}")]
pub struct Unavailable(pub(crate) String);

impl Unavailable {
    fn new(why: impl std::fmt::Display) -> Self {
        Self(why.to_string())
    }
}

/// Checks the lengths of a record.
fn check(key: &[u8], value: &[u8]) -> Result<(), Unavailable> {
    if key.is_empty() || key.len() > MAX_KEY_BYTES || value.len() > MAX_VALUE_BYTES {
        return Err(Unavailable::new("a key or value is too long"));
    }
    Ok(())
}

/// The records of a city, or of one process.
#[async_trait]
pub trait AccessRecords: Send + Sync {
    /// Creates a record, unless one with this key exists that has not expired at `now` (Unix seconds). Returns whether
    /// it was created. The record is durable when this returns, and every later read finds it, at whichever portal.
    ///
    /// # Errors
    /// [`Unavailable`], also if the table is full, if key or value are too long, or if it is not known whether the record
    /// was created.
    async fn create(&self, table: Table, key: &[u8], entry: Entry<'_>, now: i64) -> Result<bool, Unavailable>;

    /// The record, unless it has expired. A record that was created or replaced at another portal more than two seconds
    /// ago is seen; an engine that cannot be sure of that returns an error.
    ///
    /// # Errors
    /// [`Unavailable`].
    async fn get(&self, table: Table, key: &[u8], now: i64) -> Result<Option<Record>, Unavailable>;

    /// Replaces a record if it still has this revision. Returns whether it did; of concurrent calls with one revision
    /// at most one does. A record is ended by replacing it with one that has expired.
    ///
    /// # Errors
    /// [`Unavailable`].
    async fn replace(&self, table: Table, key: &[u8], revision: u64, entry: Entry<'_>) -> Result<bool, Unavailable>;

    /// All records of a table that have not expired, in the order of their keys.
    ///
    /// # Errors
    /// [`Unavailable`].
    async fn list(&self, table: Table, now: i64) -> Result<Vec<(Vec<u8>, Record)>, Unavailable>;
}
