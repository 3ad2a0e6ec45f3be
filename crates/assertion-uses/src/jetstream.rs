//! The register of a city, on NATS JetStream: whichever instance takes an assertion, it is used once.
//!
//! ```text
//! stream   CC_ASSERTION_USES    cc.assertion.v1.<register: 32 hex digits>.<name: 32 hex digits>
//!                               one message: the request, 32 bytes
//! metadata citycode.assertions.format      1
//!          citycode.assertions.log_id      <32 hex digits>
//!          citycode.assertions.id          <32 hex digits: which register it is, random>
//!          citycode.assertions.check       <32 hex digits: that services have the key>
//!          citycode.assertions.takes_from  <decimal, Unix seconds: assertions made before are not taken>
//! ```
//! A use is a message that expects its subject to be empty, so of two instances one is refused, and reads what the other
//! wrote. The servers forget it [`KEPT`] after, by their clock; an assertion is taken for some 320 s at most, so
//! instances' clocks may be wrong by nine minutes before a use is forgotten too early.
//!
//! The connection is made at the first use: a city whose channels need no assertions needs no register, and one whose
//! register is missing serves everything else.
//!
//! A register that was lost and made anew forgot what was used, and does not take assertions of that time. It has an id
//! of its own, which stands in its subjects: whoever looked at the one before writes to subjects that no stream has any
//! more, and looks again.

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
/// The subjects of every register, for permissions; [`register_of`] knows those of one.
pub const SUBJECTS: &str = "cc.assertion.v1.*.*";
/// Those without the last token.
const SUBJECT: &str = "cc.assertion.v1";
/// How long a use is kept, by the servers' clock.
pub const KEPT: Duration = Duration::from_secs(900);
/// Uses that stand at most: a thousand a second for [`KEPT`], some 200 bytes each. Beyond, new ones are refused.
const MOST: u64 = 1_000_000;
/// How long a use may take; a call has 15 s for everything.
const WITHIN: Duration = Duration::from_secs(8);
/// Before another attempt.
const PAUSE: Duration = Duration::from_millis(50);
const FORMAT: &str = "1";

/// Where the register is.
#[derive(Debug, Clone)]
pub struct UsesConfig {
    /// The servers, and who this service is to them.
    pub connection: Connection,
    /// How many servers keep a copy.
    pub replicas: u8,
    /// The log of the city.
    pub log_id: [u8; 16],
}

/// Why the register cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No server took the connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Nothing stands there.
    #[error("the servers keep no register of used assertions: run `citycode provision`")]
    NoRegister,
    /// The metadata is no manifest, or that of a newer format.
    #[error("the manifest of used assertions cannot be read: `citycode.assertions.{0}`")]
    Manifest(&'static str),
    /// It is of another log.
    #[error("the register of used assertions belongs to another event log")]
    OtherLog,
    /// It was made under another key.
    #[error("the register of used assertions stands under another `assertion-uses.key`")]
    OtherKey,
    /// The stream is set up so that a use could be lost.
    #[error("the stream {STREAM} is not set up as it needs to be: {}", settings::list(.0))]
    WrongSettings(Vec<SettingMismatch>),
    /// A question was not answered.
    #[error("the servers cannot be asked about used assertions: {0}")]
    Unanswered(ApiError),
}

impl OpenError {
    /// Whether waiting may help.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Connect(_) => true,
            Self::Unanswered(error) => error.may_pass(),
            _ => false,
        }
    }
}

/// A register to make where there is none.
#[derive(Debug, Clone, Copy)]
pub struct NewRegister {
    /// Which register it is: 16 random bytes.
    pub id: [u8; 16],
    /// It takes assertions made at this time or later, in Unix seconds.
    pub takes_from: i64,
}

/// The id, in hex, of the register whose subjects these are, if they are those of one.
#[must_use]
pub fn register_of(subjects: &[&str]) -> Option<String> {
    let [subject] = subjects else { return None };
    let id = subject.strip_prefix(SUBJECT)?.strip_prefix('.')?.strip_suffix(".*")?;
    let bytes = HEXLOWER.decode(id.as_bytes()).ok()?;
    (bytes.len() == 16).then(|| id.to_owned())
}

/// Makes the register if there is none.
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
    look(&client, config, key).await.map(drop)
}

/// The register of a city.
pub struct JetStreamAssertionUses {
    config: UsesConfig,
    key: UsesKey,
    opened: Mutex<Option<Opened>>,
    /// Kept when the register is looked at again.
    client: tokio::sync::OnceCell<Client>,
}

#[derive(Clone)]
struct Opened {
    client: Client,
    register: Register,
}

/// What the stream says of itself.
#[derive(Clone)]
struct Register {
    /// In hex.
    id: String,
    takes_from: i64,
}

impl JetStreamAssertionUses {
    /// The register there. Nothing is asked yet.
    #[must_use]
    pub fn new(config: UsesConfig, key: UsesKey) -> Self {
        Self {
            config,
            key,
            opened: Mutex::default(),
            client: tokio::sync::OnceCell::new(),
        }
    }

    /// Looks whether the register stands there and is the right one.
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
        let register = look(&client, &self.config, &self.key).await?;
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
            // One that was made anew by a clock that is right may take more.
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
                // Durable. A crash from here on leaves a use that its repeat finds.
                Published::Written(_) => return Ok(Used::Now),
                // No message id is sent: whatever stands there tells whether it is this one.
                Published::WrongRevision | Published::Known(_) => {
                    let asked = json!({ "last_by_subj": subject });
                    let found = api::get_from_leader(client, STREAM, &asked).await.map_err(failed)?;
                    if let Some(found) = found {
                        let same = found.payload.as_ref() == request.as_slice();
                        return Ok(if same { Used::Before } else { Used::ForAnother });
                    }
                }
                // What was sent may stand there: the repeat finds it.
                Published::Unanswered | Published::InFlight(_) => {}
                // Nobody listens: no leader, or no stream any more, or one that was made anew.
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

/// The register that stands there, if it is this city's and loses no use.
async fn look(client: &Client, config: &UsesConfig, key: &UsesKey) -> Result<Register, OpenError> {
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

/// One message a subject, which nothing takes out but time.
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
        "max_msgs": MOST,
        "max_msgs_per_subject": 1,
        "max_bytes": -1,
        "max_age": u64::try_from(KEPT.as_nanos()).expect("some minutes fit"),
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
