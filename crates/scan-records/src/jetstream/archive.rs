//! Reading the records of the retained days, for auditors and tests: on what a verdict was based (R26).
//!
//! A day has two streams. Each counts as one writer of batches ([`RecordStream::writer`]): a batch is a message, and its
//! number is the message's sequence. A message that is gone leaves a gap, and no other message can take its number.

use async_trait::async_trait;
use citycode_domain::ids::ScanWriterId;
use citycode_jetstream::api::StoredMessage;
use citycode_vault::HolderKey;
use tokio::sync::OnceCell;

use super::message::{ArchiveKey, DayKey, Message};
use super::{KeeperSecrets, OpenError, Opened, ScansConfig, names, stored};
use crate::archive::{Batch, Batches, RecordArchive};
use crate::{RecordsError, ScanRecord, failed};

/// Set in a place of reading ([`Batches::next`]) in the stream of registrations, which is read after that of ordinary
/// scans.
const IN_REGISTRATIONS: u64 = 1 << 63;

/// One of the two streams of a day.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RecordStream {
    /// Ordinary scans, thousands per message.
    Scans,
    /// Registrations, one per message.
    Registrations,
}

impl RecordStream {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Scans, Self::Registrations];

    /// The stream as a writer of batches. No writer of another engine has these ids: theirs are zero or random.
    #[must_use]
    pub const fn writer(self) -> ScanWriterId {
        match self {
            Self::Scans => ScanWriterId([0, 0, 0, 0, 0, 0, 0, 1]),
            Self::Registrations => ScanWriterId([0, 0, 0, 0, 0, 0, 0, 2]),
        }
    }

    /// Its name on the servers.
    pub(super) fn name(self, day: u32) -> String {
        match self {
            Self::Scans => names::scans(day),
            Self::Registrations => names::registered(day),
        }
    }
}

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
        self.all(day, RecordStream::Scans).await
    }

    /// The registrations in a day's stream, in order. Around midnight some are of the day before.
    ///
    /// # Errors
    /// As [`ScanArchive::scans`].
    pub async fn registrations(&self, day: u32) -> Result<Vec<ScanRecord>, RecordsError> {
        self.all(day, RecordStream::Registrations).await
    }

    async fn all(&self, day: u32, stream: RecordStream) -> Result<Vec<ScanRecord>, RecordsError> {
        let keys = self.keys(day).await?;
        keys.as_ref().map_err(Clone::clone)?;
        let (mut records, mut after) = (Vec::new(), 0);
        loop {
            let page = self.page(day, stream, after).await?;
            let Some(last) = page.last() else {
                return Ok(records);
            };
            if last.sequence != after + page.len() as u64 {
                return Err(failed(format!("{}: a message is missing", stream.name(day))));
            }
            after = last.sequence;
            for message in page {
                records.extend(open(&keys, stream, &message.payload)?);
            }
        }
    }

    async fn page(&self, day: u32, stream: RecordStream, after: u64) -> Result<Vec<StoredMessage>, RecordsError> {
        stored::page(&self.opened.client, &stream.name(day), after).await
    }

    /// The keys of a day; the inner error if they are destroyed or changed.
    async fn keys(&self, day: u32) -> Result<Result<Keys, RecordsError>, RecordsError> {
        let Some(message) = stored::keys(&self.opened.client, day).await? else {
            return Ok(Err(failed(format!("day {day} has no key"))));
        };
        let scans = ArchiveKey::open(day, &self.secret, &message);
        let registrations = DayKey::open(day, &self.opened.secret, &message);
        Ok(scans.and_then(|scans| registrations.map(|registrations| Keys { scans, registrations })))
    }
}

/// The keys of a day.
struct Keys {
    scans: ArchiveKey,
    registrations: DayKey,
}

/// The records of a message. A closed bucket of registrations has none.
fn open(
    keys: &Result<Keys, RecordsError>,
    stream: RecordStream,
    payload: &[u8],
) -> Result<Vec<ScanRecord>, RecordsError> {
    let keys = keys.as_ref().map_err(Clone::clone)?;
    match stream {
        RecordStream::Scans => keys.scans.open_chunk(payload),
        RecordStream::Registrations => match Message::read(payload) {
            Message::Registration { name, sealed } => Ok(vec![keys.registrations.open_registration(name, sealed)?]),
            Message::Closed => Ok(Vec::new()),
            Message::Unknown => Err(failed("a registration has an unknown format")),
        },
    }
}

#[async_trait]
impl RecordArchive for ScanArchive {
    async fn days(&self) -> Result<Vec<u32>, RecordsError> {
        let days = stored::days(&self.opened.client).await.map_err(failed)?;
        let mut days: Vec<u32> = days.into_iter().map(|(day, _)| day).collect();
        days.dedup();
        Ok(days)
    }

    async fn batches(&self, day: u32, from: u64) -> Result<Batches, RecordsError> {
        // A keeper creates the stream of registrations last and may be destroying a day now.
        let there = stored::days(&self.opened.client).await.map_err(failed)?;
        for (stream, bit) in [
            (RecordStream::Scans, 0),
            (RecordStream::Registrations, IN_REGISTRATIONS),
        ] {
            let is_read = bit < from & IN_REGISTRATIONS;
            if is_read || !there.contains(&(day, stream == RecordStream::Registrations)) {
                continue;
            }
            let after = if from & IN_REGISTRATIONS == bit { from ^ bit } else { 0 };
            let page = self.page(day, stream, after).await?;
            let Some(last) = page.last() else { continue };
            let next = last.sequence | bit;
            let keys = self.keys(day).await?;
            let batches = page.into_iter().map(|message| Batch {
                writer: stream.writer(),
                number: message.sequence,
                digest: *blake3::hash(&message.payload).as_bytes(),
                records: open(&keys, stream, &message.payload),
            });
            return Ok(Batches {
                batches: batches.collect(),
                next,
            });
        }
        Ok(Batches {
            batches: Vec::new(),
            next: from,
        })
    }
}

/// The same, opened at the first use, for a service that has other duties while the servers of records are unavailable.
pub struct ArchiveOnDemand {
    config: ScansConfig,
    secrets: KeeperSecrets,
    opened: OnceCell<ScanArchive>,
}

impl ArchiveOnDemand {
    /// Records that are opened later.
    #[must_use]
    pub fn new(config: ScansConfig, secrets: KeeperSecrets) -> Self {
        Self {
            config,
            secrets,
            opened: OnceCell::new(),
        }
    }

    async fn opened(&self) -> Result<&ScanArchive, RecordsError> {
        let open = || ScanArchive::open(&self.config, &self.secrets);
        self.opened.get_or_try_init(open).await.map_err(failed)
    }
}

#[async_trait]
impl RecordArchive for ArchiveOnDemand {
    async fn days(&self) -> Result<Vec<u32>, RecordsError> {
        self.opened().await?.days().await
    }

    async fn batches(&self, day: u32, from: u64) -> Result<Batches, RecordsError> {
        self.opened().await?.batches(day, from).await
    }
}
