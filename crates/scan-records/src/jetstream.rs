//! The engine of a city's verifiers, on NATS JetStream: a scan is one record, whichever verifiers receive it.
//!
//! ```text
//! stream  CC_SCAN_KEYS          cc.scankey.v1.<day>           the day's keys, sealed under two secrets of the city
//! stream  CC_SCANS_<day>        cc.scan.v1.<day>.<writer>     ordinary scans, thousands per message
//! stream  CC_REGISTERED_<day>   cc.reg.v1.<day>.<bucket>      registrations, one per message
//! ```
//! The streams are in an account of their own. Days are UTC days, counted since 1970. `message.rs` documents
//! the bytes.
//!
//! A registration counts once the servers have acknowledged it. It expects the last message of its bucket, one
//! of 4,096 to which (device, scan id) hash, since a subject per scan would cost the servers some 430 bytes of
//! memory each. A verifier follows the day's registrations of all verifiers, and keeps eight bytes of each in
//! memory. A scan id is remembered until the end of the day after its own: 24 to 48 hours. See `register.rs`.
//!
//! [`keeper::ScanKeeper`] creates each day's streams and key one day ahead, and destroys them when retention
//! ends. A verifier without open streams refuses registrations and reports this in its health; ordinary scans
//! wait in the buffer.

pub mod archive;
mod chunks;
mod day;
mod days;
pub mod digests;
mod fold;
pub mod keeper;
mod message;
mod names;
mod register;
pub mod retention;
mod settings;
mod stored;

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

/// The location of the records and what they must be.
#[derive(Debug, Clone)]
pub struct ScansConfig {
    /// The servers, and the credentials of this client.
    pub connection: Connection,
    /// The number of replicas: 3, or 1 for a single server.
    pub replicas: u8,
    /// The log whose codes are scanned, if the caller knows it.
    pub expected_log_id: Option<[u8; 16]>,
}

/// The secrets of a service that creates days and reads all records.
#[derive(Clone)]
pub struct KeeperSecrets {
    /// The secret that verifiers have too: it decrypts the keys of registrations.
    pub records: Zeroizing<[u8; 32]>,
    /// The secret that verifiers do not have: it decrypts the keys of ordinary scans.
    pub archive: Zeroizing<[u8; 32]>,
}

/// Why records could not be opened or created. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No connection could be made.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The stream of keys does not exist.
    #[error("the servers have no scan records; `citycode provision` creates their streams")]
    NoRecords,
    /// The metadata is not a manifest, or has a newer format.
    #[error("the manifest of scan records cannot be read: {0}")]
    Manifest(String),
    /// They belong to another log.
    #[error(
        "the part `scans` belongs to another event log than the servers have: have its streams (CC_SCAN_KEYS, CC_SCANS_…, CC_REGISTERED_…) deleted and run \
         `citycode provision` to create new ones; or restore the log of these records from its archive"
    )]
    OtherLog,
    /// They were created under another secret.
    #[error("the secret of scan records is not this city's")]
    OtherSecret,
    /// The settings of the stream of keys allow a key to be lost, or not to be destroyed.
    #[error("the stream of keys of scan records has wrong settings: {}", citycode_jetstream::settings::list(.0))]
    WrongSettings(Vec<SettingMismatch>),
    /// A request was not answered.
    #[error("the scan records cannot be queried: {0}")]
    Unanswered(ApiError),
}

impl OpenError {
    /// Whether the error is transient: servers that are starting, or records that are about to be created.
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

/// The records of one verifier of a city. Calls may be concurrent.
pub struct JetStreamScanRecords {
    client: Client,
    days: Arc<Days>,
    chunks: Arc<Chunks>,
    random: FillRandom,
    /// A lock per bucket: with three servers, a second write to a bucket with one in flight is refused.
    locks: Vec<tokio::sync::Mutex<()>>,
    tasks: Vec<JoinHandle<()>>,
}

impl JetStreamScanRecords {
    /// Opens the records. `health` reports a day that cannot be written to.
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
        let (opening, written) = (Arc::clone(&days), Arc::clone(&chunks));
        let tasks = vec![
            tokio::spawn(async move { opening.keep_open(&*clock, &health).await }),
            tokio::spawn(async move { written.run(writer).await }),
        ];
        let locks = (0..manifest.buckets).map(|_| tokio::sync::Mutex::new(())).collect();
        Ok(Self {
            client,
            days,
            chunks,
            random,
            locks,
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

/// A connection to the expected records.
struct Opened {
    client: Client,
    manifest: Manifest,
    secret: HolderKey,
}

async fn open(config: &ScansConfig, secret: &[u8; 32]) -> Result<Opened, OpenError> {
    let client = citycode_jetstream::connect(&config.connection, |_| ()).await?;
    check(client, config, secret).await
}

/// Reads the manifest and checks that the records are the expected ones and were created under this secret.
async fn check(client: Client, config: &ScansConfig, secret: &[u8; 32]) -> Result<Opened, OpenError> {
    let secret = HolderKey::new(*secret);
    let manifest = manifest(&client, config).await?;
    if !manifest.is_under(&secret) {
        return Err(OpenError::OtherSecret);
    }
    Ok(Opened {
        client,
        manifest,
        secret,
    })
}

/// Reads the manifest and checks that it is of the expected log and that the stream of keys has the required settings.
async fn manifest(client: &Client, config: &ScansConfig) -> Result<Manifest, OpenError> {
    let info = api::stream_info(client, names::KEYS).await.map_err(|error| {
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
    Ok(manifest)
}

/// The archive's secret, if the records were created under it.
fn archive_secret(opened: &Opened, secrets: &KeeperSecrets) -> Result<HolderKey, OpenError> {
    let archive = HolderKey::new(*secrets.archive);
    if opened.manifest.is_archived_under(&archive) {
        Ok(archive)
    } else {
        Err(OpenError::OtherSecret)
    }
}
