//! The engine of a city, on NATS JetStream: one stream of queries for all services, and one of their secrets.
//!
//! ```text
//! stream   CC_QUERIES         cc.query.v1               records; nobody can delete or purge
//! stream   CC_QUERY_KEYS      cc.querykey.v1.<name>     one secret per message, sealed under the city's secret; erasable
//! metadata citycode.queries.format    1                 (of CC_QUERIES)
//!          citycode.queries.log_id    <32 hex digits>
//!          citycode.queries.check     <32 hex digits: identifies the city's secret>
//! ```
//! Both streams are in an account of their own, so that the credentials with which services append queries reach nothing
//! else. A record has a random message id: it is sent again until the servers acknowledge it, and is stored once. A secret
//! is created by a message that expects its subject to be empty; of two instances one is refused and reads what the other
//! wrote. It is destroyed by an erasure, for which every server with a replica overwrites the bytes of the message. What
//! decision 12 says of the servers' replication log and of backups applies here too.

use std::time::Duration;

use async_nats::HeaderMap;
use async_trait::async_trait;
use bytes::Bytes;
use citycode_jetstream::api::{self, ApiError, StoredMessage, code};
use citycode_jetstream::publish::{Published, publish};
use citycode_jetstream::{Client, ConnectError, Connection, SettingMismatch, settings};
use citycode_vault::{FillRandom, HolderKey};
use data_encoding::HEXLOWER;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use crate::{MAX_RECORD_BYTES, QueriesError, QueryStore, Secret, SecretName, Stored};

/// The stream of records.
pub const STREAM: &str = "CC_QUERIES";
/// Its subject.
pub const SUBJECT: &str = "cc.query.v1";
/// The stream of secrets.
pub const KEYS: &str = "CC_QUERY_KEYS";
/// The subjects of all secrets.
pub const KEY_SUBJECTS: &str = "cc.querykey.v1.*";
const KEY_SUBJECT: &str = "cc.querykey.v1";

const FORMAT: &str = "1";
/// Messages that are read at once.
const BATCH: usize = 128;
/// Deadline of one call; a whole request has 15 s.
const WITHIN: Duration = Duration::from_secs(8);
/// Pause before another attempt.
const PAUSE: Duration = Duration::from_millis(50);
/// Size of a sealed secret, and of headers around a record.
const AROUND_BYTES: usize = 1_024;

/// The location of the stream, and what it must be.
#[derive(Debug, Clone)]
pub struct QueriesConfig {
    /// The servers, and the credentials of this service.
    pub connection: Connection,
    /// The number of replicas.
    pub replicas: u8,
    /// The log of the city.
    pub log_id: [u8; 16],
}

/// Why the stream cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No connection could be made.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A stream does not exist.
    #[error("the servers have no stream of queries: run `citycode provision`")]
    NoStream,
    /// The metadata is not a manifest, or has a newer format.
    #[error("the manifest of the stream of queries cannot be read: `citycode.queries.{0}`")]
    Manifest(&'static str),
    /// It belongs to another log.
    #[error("the stream of queries belongs to another event log")]
    OtherLog,
    /// It was created under another secret.
    #[error("the stream of queries was created under another `queries.key`")]
    OtherSecret,
    /// The settings allow a record to be lost, or a secret not to be destroyed.
    #[error("the streams of queries have wrong settings: {}", settings::list(.0))]
    WrongSettings(Vec<SettingMismatch>),
    /// A request was not answered.
    #[error("the stream of queries cannot be inspected: {0}")]
    Unanswered(ApiError),
}

impl OpenError {
    /// Whether the error is transient.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Connect(error) => !matches!(error, ConnectError::Seed),
            Self::Unanswered(error) => error.may_pass(),
            _ => false,
        }
    }
}

/// Creates the streams if there are none.
///
/// # Errors
/// [`OpenError`].
pub async fn provision(config: &QueriesConfig, secret: &Zeroizing<[u8; 32]>) -> Result<(), OpenError> {
    let client = citycode_jetstream::connect(&config.connection, |_| ()).await?;
    let secret = HolderKey::new(**secret);
    let mut records = of_records(config.replicas);
    let metadata = json!({
        "citycode.queries.format": FORMAT,
        "citycode.queries.log_id": HEXLOWER.encode(&config.log_id),
        "citycode.queries.check": check(&secret, &config.log_id),
    });
    records.insert("metadata".into(), metadata);
    // The stream of records comes last: services open it only once both exist.
    for (name, request) in [(KEYS, of_keys(config.replicas)), (STREAM, records)] {
        match api::stream_info(&client, name).await {
            Ok(_) => {}
            Err(error) if error.has_code(code::STREAM_NOT_FOUND) => {
                let made = api::create_stream(&client, name, &Value::Object(request)).await;
                made.map_err(OpenError::Unanswered)?;
            }
            Err(error) => return Err(OpenError::Unanswered(error)),
        }
    }
    inspect(&client, config, &secret).await
}

/// The stream of a city.
pub struct JetStreamQueryStore {
    client: Client,
    secret: HolderKey,
    log_id: [u8; 16],
    random: FillRandom,
}

impl JetStreamQueryStore {
    /// Opens the stream.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(
        config: &QueriesConfig,
        secret: &Zeroizing<[u8; 32]>,
        random: FillRandom,
    ) -> Result<Self, OpenError> {
        let client = citycode_jetstream::connect(&config.connection, |_| ()).await?;
        let secret = HolderKey::new(**secret);
        inspect(&client, config, &secret).await?;
        Ok(Self {
            client,
            secret,
            log_id: config.log_id,
            random,
        })
    }

    fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        (self.random)(&mut bytes);
        bytes
    }

    fn context(&self, name: SecretName) -> Vec<u8> {
        [
            b"citycode-query-secret-v1 ",
            self.log_id.as_slice(),
            name.to_string().as_bytes(),
        ]
        .concat()
    }

    fn opened(&self, name: SecretName, message: &StoredMessage) -> Result<Secret, QueriesError> {
        let plain = self.secret.open(&self.context(name), &message.payload);
        let plain = plain.map_err(|_| QueriesError::new(format_args!("the secret {name} cannot be opened")))?;
        let secret: [u8; 32] = plain.as_slice().try_into().map_err(QueriesError::new)?;
        Ok(Zeroizing::new(secret))
    }

    /// The message of a secret, from the leader.
    async fn message(&self, name: SecretName) -> Result<Option<StoredMessage>, QueriesError> {
        let asked = json!({ "last_by_subj": subject_of(name) });
        let found = api::get_from_leader(&self.client, KEYS, &asked).await;
        found.map_err(QueriesError::new)
    }

    /// Records from a sequence on, up to the first missing one, which is returned with them.
    async fn records(&self, from: u64, limit: usize) -> Result<(Vec<Stored>, Option<u64>), QueriesError> {
        let info = api::stream_info(&self.client, STREAM)
            .await
            .map_err(QueriesError::new)?;
        let (mut next, last) = (from.max(1), info.state.last_seq);
        let mut found = Vec::new();
        while next <= last && found.len() < limit {
            let body = json!({ "seq": next, "batch": BATCH.min(limit - found.len()) });
            let mut batch = api::get_batch(&self.client, STREAM, &body)
                .await
                .map_err(QueriesError::new)?;
            if batch.is_empty() {
                // The server that answered lags.
                let one = api::get_from_leader(&self.client, STREAM, &json!({ "seq": next })).await;
                batch.extend(one.map_err(QueriesError::new)?);
            }
            let before = next;
            for message in batch {
                if message.sequence != next {
                    break;
                }
                next += 1;
                found.push((message.sequence, message.payload.to_vec()));
            }
            if next == before {
                return Ok((found, Some(next)));
            }
        }
        Ok((found, None))
    }

    /// The sequence of the first record after a missing one, from the leader.
    async fn next_present(&self, missing: u64) -> Result<Option<u64>, QueriesError> {
        let body = json!({ "seq": missing, "next_by_subj": SUBJECT });
        let found = api::get_from_leader(&self.client, STREAM, &body).await;
        Ok(found.map_err(QueriesError::new)?.map(|message| message.sequence))
    }

    /// Publishes until the servers acknowledge or refuse it; `None` if the expectation does not hold.
    async fn published(&self, subject: &str, headers: HeaderMap, bytes: Vec<u8>) -> Result<Option<u64>, QueriesError> {
        let bytes = Bytes::from(bytes);
        let publishing = async {
            loop {
                match publish(&self.client, subject.to_owned(), headers.clone(), bytes.clone()).await {
                    Published::Written(sequence) | Published::Known(sequence) => return Ok(Some(sequence)),
                    Published::WrongRevision => return Ok(None),
                    Published::NotNow(_) | Published::InFlight(_) | Published::Unanswered => {}
                    Published::Refused(why) | Published::Unknown(why) => return Err(QueriesError::new(why)),
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        let published = tokio::time::timeout(WITHIN, publishing).await;
        published.unwrap_or_else(|_| Err(QueriesError::new("no answer in time")))
    }
}

#[async_trait]
impl QueryStore for JetStreamQueryStore {
    async fn append(&self, record: Vec<u8>) -> Result<u64, QueriesError> {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", HEXLOWER.encode(&self.random::<16>()));
        let appended = self.published(SUBJECT, headers, record).await?;
        appended.ok_or_else(|| QueriesError::new("the servers refused a record without an expectation"))
    }

    async fn read(&self, from: u64, limit: usize) -> Result<Vec<Stored>, QueriesError> {
        let (found, missing) = self.records(from, limit).await?;
        match missing {
            Some(missing) if found.len() < limit => {
                Err(QueriesError::new(format_args!("the record {missing} is missing")))
            }
            _ => Ok(found),
        }
    }

    async fn read_present(&self, from: u64, limit: usize) -> Result<Vec<Stored>, QueriesError> {
        let mut from = from.max(1);
        loop {
            let (found, missing) = self.records(from, limit).await?;
            match missing {
                // Those before the gap are returned first; the next call begins with the gap.
                Some(_) if !found.is_empty() => return Ok(found),
                Some(missing) => match self.next_present(missing).await? {
                    Some(next) => from = next,
                    None => return Ok(Vec::new()),
                },
                None => return Ok(found),
            }
        }
    }

    async fn secret(&self, name: SecretName) -> Result<Option<Secret>, QueriesError> {
        let message = self.message(name).await?;
        message.map(|message| self.opened(name, &message)).transpose()
    }

    async fn create_secret(&self, name: SecretName, fresh: Secret) -> Result<Secret, QueriesError> {
        let sealed = self.secret.seal(&self.context(name), self.random(), fresh.as_slice());
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Expected-Last-Subject-Sequence", "0");
        if self.published(&subject_of(name), headers, sealed).await?.is_some() {
            return Ok(fresh);
        }
        // Another instance created it, or an earlier attempt of this call did.
        let existing = self.secret(name).await?;
        existing.ok_or_else(|| QueriesError::new(format_args!("the secret {name} was destroyed meanwhile")))
    }

    async fn destroy_secret(&self, name: SecretName) -> Result<(), QueriesError> {
        while let Some(message) = self.message(name).await? {
            let erased = api::erase(&self.client, KEYS, message.sequence).await;
            erased.map_err(QueriesError::new)?;
        }
        Ok(())
    }

    async fn secrets(&self) -> Result<Vec<(SecretName, Secret)>, QueriesError> {
        let mut secrets = Vec::new();
        let mut next = 1;
        loop {
            let body = json!({ "seq": next, "next_by_subj": KEY_SUBJECTS, "batch": BATCH });
            let mut batch = api::get_batch(&self.client, KEYS, &body)
                .await
                .map_err(QueriesError::new)?;
            if batch.is_empty() {
                // Only the leader knows that there are no more.
                let body = json!({ "seq": next, "next_by_subj": KEY_SUBJECTS });
                let one = api::get_from_leader(&self.client, KEYS, &body).await;
                batch.extend(one.map_err(QueriesError::new)?);
            }
            let Some(last) = batch.last() else {
                return Ok(secrets);
            };
            next = last.sequence + 1;
            for message in &batch {
                let name = message
                    .subject
                    .strip_prefix(KEY_SUBJECT)
                    .and_then(|name| name.strip_prefix('.'));
                let name = name.and_then(|name| name.parse().ok());
                let name = name.ok_or_else(|| QueriesError::new("the stream of secrets has a foreign message"))?;
                secrets.push((name, self.opened(name, message)?));
            }
        }
    }
}

/// The stream of a city, which is opened at the first use: a service starts without it, and answers then only what is not
/// recorded.
pub struct QueryStoreOnDemand {
    config: QueriesConfig,
    secret: Zeroizing<[u8; 32]>,
    random: FillRandom,
    opened: tokio::sync::OnceCell<JetStreamQueryStore>,
}

impl QueryStoreOnDemand {
    /// The stream at a location.
    #[must_use]
    pub fn new(config: QueriesConfig, secret: Zeroizing<[u8; 32]>, random: FillRandom) -> Self {
        Self {
            config,
            secret,
            random,
            opened: tokio::sync::OnceCell::new(),
        }
    }

    async fn store(&self) -> Result<&JetStreamQueryStore, QueriesError> {
        let open = || JetStreamQueryStore::open(&self.config, &self.secret, self.random.clone());
        let opening = self.opened.get_or_try_init(open);
        let opened = tokio::time::timeout(WITHIN, opening).await;
        opened.map_err(QueriesError::new)?.map_err(QueriesError::new)
    }
}

#[async_trait]
impl QueryStore for QueryStoreOnDemand {
    async fn append(&self, record: Vec<u8>) -> Result<u64, QueriesError> {
        self.store().await?.append(record).await
    }

    async fn read(&self, from: u64, limit: usize) -> Result<Vec<Stored>, QueriesError> {
        self.store().await?.read(from, limit).await
    }

    async fn read_present(&self, from: u64, limit: usize) -> Result<Vec<Stored>, QueriesError> {
        self.store().await?.read_present(from, limit).await
    }

    async fn secret(&self, name: SecretName) -> Result<Option<Secret>, QueriesError> {
        self.store().await?.secret(name).await
    }

    async fn create_secret(&self, name: SecretName, fresh: Secret) -> Result<Secret, QueriesError> {
        self.store().await?.create_secret(name, fresh).await
    }

    async fn destroy_secret(&self, name: SecretName) -> Result<(), QueriesError> {
        self.store().await?.destroy_secret(name).await
    }

    async fn secrets(&self) -> Result<Vec<(SecretName, Secret)>, QueriesError> {
        self.store().await?.secrets().await
    }
}

fn subject_of(name: SecretName) -> String {
    format!("{KEY_SUBJECT}.{name}")
}

/// Checks that the streams belong to this city, and can neither lose a record nor keep a destroyed secret.
async fn inspect(client: &Client, config: &QueriesConfig, secret: &HolderKey) -> Result<(), OpenError> {
    let info = async |stream| {
        api::stream_info(client, stream).await.map_err(|error| {
            if error.has_code(code::STREAM_NOT_FOUND) {
                OpenError::NoStream
            } else {
                OpenError::Unanswered(error)
            }
        })
    };
    let (records, keys) = (info(STREAM).await?, info(KEYS).await?);
    let metadata = records.metadata();
    let word = |name: &'static str| {
        let found = metadata.get(&format!("citycode.queries.{name}"));
        found.map(String::as_str).ok_or(OpenError::Manifest(name))
    };
    if word("format")? != FORMAT {
        return Err(OpenError::Manifest("format"));
    }
    if word("log_id")? != HEXLOWER.encode(&config.log_id) {
        return Err(OpenError::OtherLog);
    }
    let mut mismatches = settings::compare(&of_records(config.replicas), &records.config);
    mismatches.extend(settings::compare(&of_keys(config.replicas), &keys.config));
    if !mismatches.is_empty() {
        return Err(OpenError::WrongSettings(mismatches));
    }
    if word("check")? != check(secret, &config.log_id) {
        return Err(OpenError::OtherSecret);
    }
    Ok(())
}

fn check(secret: &HolderKey, log_id: &[u8; 16]) -> String {
    let digest = secret.digest(&[b"citycode queries check v1 ", log_id.as_slice()].concat());
    HEXLOWER.encode(&digest[..16])
}

/// The stream of records, of which no message can be removed.
fn of_records(replicas: u8) -> Map<String, Value> {
    settings::keeping_all(STREAM, SUBJECT, replicas, MAX_RECORD_BYTES + AROUND_BYTES, true)
}

/// The stream of secrets. Messages can be deleted, and the servers overwrite their bytes.
fn of_keys(replicas: u8) -> Map<String, Value> {
    settings::keeping_all(KEYS, KEY_SUBJECTS, replicas, AROUND_BYTES, false)
}
