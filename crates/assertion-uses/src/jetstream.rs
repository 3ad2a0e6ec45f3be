//! The register of assertion uses of a city, on NATS JetStream: an assertion is used once, at whichever
//! instance.
//!
//! ```text
//! stream   CC_ASSERTION_USES    cc.assertion.v1.<register: 32 hex digits>.<name: 32 hex digits>
//!                               one message: the request, 32 bytes
//! metadata citycode.assertions.format      1
//!          citycode.assertions.log_id      <32 hex digits>
//!          citycode.assertions.id          <32 hex digits: id of the register, random>
//!          citycode.assertions.check       <32 hex digits: identifies the key of the services>
//!          citycode.assertions.takes_from  <decimal, Unix seconds: assertions made before are not accepted>
//! ```
//! A use is a message that expects its subject to be empty, so of two instances one is refused and reads what
//! the other wrote. The servers remove it after [`RETENTION`], by their clock. An assertion is accepted for at
//! most 320 s, so instances' clocks may be wrong by nine minutes before a use is removed too early.
//!
//! The connection is made at the first use: a city whose channels need no assertions needs no register, and a
//! city without the register serves everything else.
//!
//! A register that was lost and created again does not know the earlier uses, so it does not accept assertions
//! from before. Its id differs and is part of its subjects: an instance that knows the earlier register writes
//! to subjects without a stream, and then reads the stream's metadata again.

use std::time::Duration;

use async_nats::HeaderMap;
use async_trait::async_trait;
use citycode_jetstream::api::{self, ApiError, code};
use citycode_jetstream::publish::{Published, publish};
use citycode_jetstream::{Client, ConnectError, Connection, SettingMismatch, settings};
use data_encoding::HEXLOWER;
use serde_json::{Map, Value, json};
use tokio::sync::Mutex;

use crate::{AssertionUse, AssertionUses, Unavailable, Used, UsesKey};

/// The stream.
pub const STREAM: &str = "CC_ASSERTION_USES";
/// The subjects of every register, for permissions; [`register_of`] returns the id in those of one.
pub const SUBJECTS: &str = "cc.assertion.v1.*.*";
/// The subjects without the last token.
const SUBJECT: &str = "cc.assertion.v1";
/// How long a use is retained, by the servers' clock.
pub const RETENTION: Duration = Duration::from_secs(900);
/// Limit of uses: a thousand per second for [`RETENTION`], some 200 bytes each. Beyond it new uses are refused.
const MAX_USES: u64 = 1_000_000;
/// Deadline of one registration; a whole call has 15 s.
const WITHIN: Duration = Duration::from_secs(8);
/// Pause before another attempt.
const PAUSE: Duration = Duration::from_millis(50);
const FORMAT: &str = "1";

/// The location of the register.
#[derive(Debug, Clone)]
pub struct UsesConfig {
    /// The servers, and the credentials of this service.
    pub connection: Connection,
    /// The number of replicas.
    pub replicas: u8,
    /// The log of the city.
    pub log_id: [u8; 16],
}

/// Why the register cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No connection could be made.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The stream does not exist.
    #[error("the register of used assertions does not exist: run `citycode provision`")]
    NoRegister,
    /// The metadata is not a manifest, or has a newer format.
    #[error("the manifest of used assertions cannot be read: `citycode.assertions.{0}`")]
    Manifest(&'static str),
    /// The register belongs to another log.
    #[error("the register of used assertions belongs to another event log")]
    OtherLog,
    /// The register was created under another key.
    #[error("the register of used assertions was created under another `assertion-uses.key`")]
    OtherKey,
    /// The stream's settings allow a use to be lost.
    #[error("the stream {STREAM} has wrong settings: {}", settings::list(.0))]
    WrongSettings(Vec<SettingMismatch>),
    /// A request was not answered.
    #[error("the register of used assertions cannot be queried: {0}")]
    Unanswered(ApiError),
}

impl OpenError {
    /// Whether the error is transient.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Connect(_) => true,
            Self::Unanswered(error) => error.may_pass(),
            _ => false,
        }
    }
}

/// Parameters of a register to create.
#[derive(Debug, Clone, Copy)]
pub struct NewRegister {
    /// The id of the register: 16 random bytes.
    pub id: [u8; 16],
    /// The register accepts assertions made at or after this time, in Unix seconds.
    pub takes_from: i64,
}

/// Returns the id, in hex, of the register that has these subjects, if they belong to one.
#[must_use]
pub fn register_of(subjects: &[&str]) -> Option<String> {
    let [subject] = subjects else { return None };
    let id = subject.strip_prefix(SUBJECT)?.strip_prefix('.')?.strip_suffix(".*")?;
    let bytes = HEXLOWER.decode(id.as_bytes()).ok()?;
    (bytes.len() == 16).then(|| id.to_owned())
}

/// Creates the register if there is none.
///
/// # Errors
/// [`OpenError`].
pub async fn provision(config: &UsesConfig, key: &UsesKey, new: &NewRegister) -> Result<(), OpenError> {
    let client = citycode_jetstream::connect(&config.connection, |_| ()).await?;
    match api::stream_info(&client, STREAM).await {
        Ok(_) => {}
        Err(error) if error.has_code(code::STREAM_NOT_FOUND) => {
            let id = HEXLOWER.encode(&new.id);
            let mut request = stream(config.replicas, &id);
            let metadata = json!({
                "citycode.assertions.format": FORMAT,
                "citycode.assertions.log_id": HEXLOWER.encode(&config.log_id),
                "citycode.assertions.id": id,
                "citycode.assertions.check": HEXLOWER.encode(&key.check(&config.log_id)),
                "citycode.assertions.takes_from": new.takes_from.to_string(),
            });
            request.insert("metadata".into(), metadata);
            let made = api::create_stream(&client, STREAM, &Value::Object(request)).await;
            made.map_err(OpenError::Unanswered)?;
        }
        Err(error) => return Err(OpenError::Unanswered(error)),
    }
    inspect(&client, config, key).await.map(drop)
}

/// The register of a city.
pub struct JetStreamAssertionUses {
    config: UsesConfig,
    key: UsesKey,
    opened: Mutex<Option<Opened>>,
    /// Kept when the stream's metadata is read again.
    client: tokio::sync::OnceCell<Client>,
}

#[derive(Clone)]
struct Opened {
    client: Client,
    register: Register,
}

/// The facts in the stream's metadata.
#[derive(Clone)]
struct Register {
    /// The id in hex.
    id: String,
    takes_from: i64,
}

impl JetStreamAssertionUses {
    /// A handle of the register; it connects at the first use.
    #[must_use]
    pub fn new(config: UsesConfig, key: UsesKey) -> Self {
        Self {
            config,
            key,
            opened: Mutex::default(),
            client: tokio::sync::OnceCell::new(),
        }
    }

    /// Checks that the register exists and is the right one.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn check(&self) -> Result<(), OpenError> {
        self.open().await.map(drop)
    }

    async fn open(&self) -> Result<Opened, OpenError> {
        let mut opened = self.opened.lock().await;
        if let Some(opened) = &*opened {
            return Ok(opened.clone());
        }
        let connecting = || citycode_jetstream::connect(&self.config.connection, |_| ());
        let client = self.client.get_or_try_init(connecting).await?.clone();
        let register = inspect(&client, &self.config, &self.key).await?;
        Ok(opened.insert(Opened { client, register }).clone())
    }

    async fn open_again(&self) -> Result<Opened, OpenError> {
        *self.opened.lock().await = None;
        self.open().await
    }

    async fn register_until_answered(&self, used: &AssertionUse) -> Result<Used, Unavailable> {
        let mut opened = self.open().await.map_err(failed)?;
        let name = HEXLOWER.encode(&self.key.name(used));
        let request = self.key.request(used);
        if used.made_at < opened.register.takes_from {
            // A register that was created again under a correct clock may accept more.
            opened = self.open_again().await.map_err(failed)?;
        }
        loop {
            let Opened { client, register } = &opened;
            if used.made_at < register.takes_from {
                return Ok(Used::TooOld);
            }
            let subject = format!("{SUBJECT}.{}.{name}", register.id);
            let mut headers = HeaderMap::new();
            headers.insert("Nats-Expected-Last-Subject-Sequence", "0");
            let published = publish(client, subject.clone(), headers, request.to_vec().into()).await;
            match published {
                // The use is durable. A crash from here on leaves a use that its repeat finds.
                Published::Written(_) => return Ok(Used::Now),
                // No message id is sent, so the stored message shows whether it is this use.
                Published::WrongRevision | Published::Known(_) => {
                    let asked = json!({ "last_by_subj": subject });
                    let found = api::get_from_leader(client, STREAM, &asked).await.map_err(failed)?;
                    if let Some(found) = found {
                        let same = found.payload.as_ref() == request.as_slice();
                        return Ok(if same { Used::Before } else { Used::ForAnother });
                    }
                }
                // The use may have been stored; the repeat finds it.
                Published::Unanswered | Published::InFlight(_) => {}
                // No stream answered: there is no leader, the stream is gone, or it was created again.
                Published::NotNow(why) => {
                    match self.open_again().await {
                        Ok(again) => opened = again,
                        Err(error) if error.may_pass() => {}
                        Err(error) => return Err(failed(error)),
                    }
                    tracing::debug!(why, "a use of an assertion is sent again");
                }
                Published::Refused(why) | Published::Unknown(why) => return Err(failed(why)),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

#[async_trait]
impl AssertionUses for JetStreamAssertionUses {
    async fn register(&self, used: AssertionUse, _now: i64) -> Result<Used, Unavailable> {
        let registering = tokio::time::timeout(WITHIN, self.register_until_answered(&used)).await;
        let registered = registering.unwrap_or_else(|_| Err(failed("no answer in time")));
        if registered.is_err() {
            *self.opened.lock().await = None;
        }
        registered
    }
}

/// Returns the facts of the stream if it belongs to this city and cannot lose a use.
async fn inspect(client: &Client, config: &UsesConfig, key: &UsesKey) -> Result<Register, OpenError> {
    let info = api::stream_info(client, STREAM).await.map_err(|error| {
        if error.has_code(code::STREAM_NOT_FOUND) {
            OpenError::NoRegister
        } else {
            OpenError::Unanswered(error)
        }
    })?;
    let metadata = info.metadata();
    let word = |name: &'static str| {
        let found = metadata.get(&format!("citycode.assertions.{name}"));
        found.map(String::as_str).ok_or(OpenError::Manifest(name))
    };
    if word("format")? != FORMAT {
        return Err(OpenError::Manifest("format"));
    }
    if word("log_id")? != HEXLOWER.encode(&config.log_id) {
        return Err(OpenError::OtherLog);
    }
    let id = word("id")?;
    let mismatches = settings::compare(&stream(config.replicas, id), &info.config);
    if !mismatches.is_empty() {
        return Err(OpenError::WrongSettings(mismatches));
    }
    if word("check")? != HEXLOWER.encode(&key.check(&config.log_id)) {
        return Err(OpenError::OtherKey);
    }
    let takes_from = word("takes_from")?.parse();
    Ok(Register {
        id: id.to_owned(),
        takes_from: takes_from.map_err(|_| OpenError::Manifest("takes_from"))?,
    })
}

/// One message per subject, which only its age removes.
fn stream(replicas: u8, id: &str) -> Map<String, Value> {
    let settings = json!({
        "name": STREAM,
        "subjects": [format!("{SUBJECT}.{id}.*")],
        "retention": "limits",
        "storage": "file",
        "discard": "new",
        "discard_new_per_subject": true,
        "num_replicas": replicas,
        "max_consumers": -1,
        "max_msgs": MAX_USES,
        "max_msgs_per_subject": 1,
        "max_bytes": -1,
        "max_age": u64::try_from(RETENTION.as_nanos()).expect("some minutes fit"),
        "max_msg_size": 1_024,
        "duplicate_window": 120_000_000_000_u64,
        "compression": "none",
        "allow_direct": false,
        "deny_delete": true,
        "deny_purge": true,
    });
    let Value::Object(settings) = settings else {
        unreachable!("json! of braces is an object")
    };
    settings
}

fn failed(why: impl std::fmt::Display) -> Unavailable {
    Unavailable(why.to_string())
}
