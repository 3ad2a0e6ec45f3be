//! The engine of a city's verifiers, on NATS JetStream: whoever of them is told of a scan, it is one record.
//!
//! ```text
//! stream  CC_SCAN_KEYS          cc.scankey.v1.<day>           the day's keys, sealed under two secrets of the city
//! stream  CC_SCANS_<day>        cc.scan.v1.<day>.<writer>     ordinary scans, thousands a message
//! stream  CC_REGISTERED_<day>   cc.reg.v1.<day>.<bucket>      registrations, one a message
//! ```
//! All in an account of their own. Days are days of UTC, counted since 1970. The bytes stand in `message.rs`.
//!
//! A registration counts once the servers have acknowledged it, and expects the last message of its bucket, one of
//! 4,096 that (device, scan id) hash to, since a subject for each scan would cost the servers some 430 bytes of memory
//! each. A verifier follows the day's registrations, all verifiers' ones, and keeps eight bytes of each. A scan id is
//! remembered until the end of the day after its own: 24 to 48 hours. See `register.rs`.
//!
//! [`keeper::ScanKeeper`] makes each day's streams and key the day before, and destroys them at retention. A verifier
//! that finds none refuses registrations and says so in its health; ordinary scans wait as long as there is room.

pub mod archive;
mod chunks;
mod day;
mod days;
mod fold;
pub mod keeper;
mod message;
mod names;
mod register;
mod settings;

use std::sync::Arc;

use async_trait::async_trait;
use citycode_jetstream::Client;
use citycode_jetstream::api::{self, ApiError};
use citycode_jetstream::{ConnectError, Connection, SettingMismatch};
use citycode_service_kit::clock::Clock;
use citycode_service_kit::health::Component;
use citycode_vault::{FillRandom, HolderKey};
use data_encoding::HEXLOWER;
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

use crate::{RecordsError, Registered, ScanNote, ScanRecords, ShownBytes};
use chunks::{Chunks, Writer};
use days::Days;
use settings::Manifest;

/// Where the records are and what they must be.
#[derive(Debug, Clone)]
pub struct ScansConfig {
    /// Where the servers are, and who this client is to them.
    pub connection: Connection,
    /// How many servers keep a copy: 3, or 1 for a server that stands alone.
    pub replicas: u8,
    /// The log whose codes are scanned, for a caller that knows it.
    pub expected_log_id: Option<[u8; 16]>,
}

/// The secrets of who makes days and reads them all.
#[derive(Clone)]
pub struct KeeperSecrets {
    /// The one that verifiers have too: it opens the keys of registrations.
    pub records: Zeroizing<[u8; 32]>,
    /// The one that they have not: it opens the keys of ordinary scans.
    pub archive: Zeroizing<[u8; 32]>,
}

/// Why records could not be opened or made. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No server took the connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Nothing stands there.
    #[error("the servers keep no scan records; `provision` makes their streams")]
    NoRecords,
    /// The metadata is no manifest, or that of a newer format.
    #[error("the manifest of scan records cannot be read: {0}")]
    Manifest(String),
    /// They are of another log's codes.
    #[error(
        "the part `scans` belongs to another event log than the servers have: have its streams (CC_SCAN_KEYS, CC_SCANS_…, CC_REGISTERED_…) deleted, then \
         `citycode provision` makes new ones; or bring the log of these records back from its archive"
    )]
    OtherLog,
    /// They were made under another secret.
    #[error("the secret of scan records is not this city's")]
    OtherSecret,
    /// The stream of keys is set up so that one could be lost, or not be destroyed.
    #[error("the keys of scan records are not set up as they need to be: {}", citycode_jetstream::settings::list(.0))]
    WrongSettings(Vec<SettingMismatch>),
    /// A question was not answered.
    #[error("the servers cannot be asked about scan records: {0}")]
    Unanswered(ApiError),
}

impl OpenError {
    /// Whether trying again may help: servers that are not up yet, or records that are about to be made.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Connect(error) => !matches!(error, ConnectError::Seed),
            Self::NoRecords => true,
            Self::Unanswered(error) => error.may_pass(),
            _ => false,
        }
    }
}

/// The records of one verifier among a city's. Any number of calls at the same time.
pub struct JetStreamScanRecords {
    client: Client,
    days: Arc<Days>,
    chunks: Arc<Chunks>,
    random: FillRandom,
    /// By bucket: on three servers a second write to a bucket with one in flight is refused.
    turns: Vec<tokio::sync::Mutex<()>>,
    tasks: Vec<JoinHandle<()>>,
}

impl JetStreamScanRecords {
    /// Opens the records. Which day cannot be written to is told in `health`.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(
        config: &ScansConfig,
        secret: &Zeroizing<[u8; 32]>,
        random: FillRandom,
        clock: Arc<dyn Clock>,
        health: Component,
    ) -> Result<Self, OpenError> {
        let Opened {
            client,
            manifest,
            secret,
        } = open(config, secret).await?;
        let days = Arc::new(Days::new(client.clone(), manifest, secret, config.replicas));
        let chunks = Arc::new(Chunks::new());
        let mut name = [0; 8];
        random(&mut name);
        let writer = Writer {
            client: client.clone(),
            days: Arc::clone(&days),
            random: Arc::clone(&random),
            name: HEXLOWER.encode(&name),
            last: Default::default(),
        };
        let (kept, written) = (Arc::clone(&days), Arc::clone(&chunks));
        let tasks = vec![
            tokio::spawn(async move { kept.keep(&*clock, &health).await }),
            tokio::spawn(async move { written.run(writer).await }),
        ];
        let turns = (0..manifest.buckets).map(|_| tokio::sync::Mutex::new(())).collect();
        Ok(Self {
            client,
            days,
            chunks,
            random,
            turns,
            tasks,
        })
    }
}

impl Drop for JetStreamScanRecords {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

#[async_trait]
impl ScanRecords for JetStreamScanRecords {
    fn note(&self, note: &ScanNote<&str>) {
        self.chunks.note(note);
    }

    async fn register(&self, note: &ScanNote<&str>, shown: ShownBytes) -> Result<Registered, RecordsError> {
        self.register_scan(note, &shown).await
    }

    async fn registered(&self, note: &ScanNote<&str>, shown: &ShownBytes) -> Result<Option<Registered>, RecordsError> {
        self.find_scan(note, shown).await
    }

    async fn flush(&self) {
        self.chunks.flush().await;
    }
}

/// A connection to records that are what was asked for.
struct Opened {
    client: Client,
    manifest: Manifest,
    secret: HolderKey,
}

async fn open(config: &ScansConfig, secret: &[u8; 32]) -> Result<Opened, OpenError> {
    let client = citycode_jetstream::connect(&config.connection, |_| ()).await?;
    check(client, config, secret).await
}

/// What stands there, if it is what is asked for.
async fn check(client: Client, config: &ScansConfig, secret: &[u8; 32]) -> Result<Opened, OpenError> {
    let secret = HolderKey::new(*secret);
    let info = api::stream_info(&client, names::KEYS).await.map_err(|error| {
        if names::is_absent(&error) {
            OpenError::NoRecords
        } else {
            OpenError::Unanswered(error)
        }
    })?;
    let manifest = Manifest::from_metadata(&info.metadata()).map_err(OpenError::Manifest)?;
    if config
        .expected_log_id
        .is_some_and(|expected| expected != manifest.log_id)
    {
        return Err(OpenError::OtherLog);
    }
    let mismatches = settings::compare(&settings::of_keys(config.replicas), &info.config);
    if !mismatches.is_empty() {
        return Err(OpenError::WrongSettings(mismatches));
    }
    if !manifest.is_under(&secret) {
        return Err(OpenError::OtherSecret);
    }
    Ok(Opened {
        client,
        manifest,
        secret,
    })
}

/// The archive's secret, if it is these records'.
fn archive_secret(opened: &Opened, secrets: &KeeperSecrets) -> Result<HolderKey, OpenError> {
    let archive = HolderKey::new(*secrets.archive);
    if opened.manifest.is_archived_under(&archive) {
        Ok(archive)
    } else {
        Err(OpenError::OtherSecret)
    }
}
