//! Creating each day's key and streams one day ahead, and destroying them when their retention ends.
//!
//! Any number of keepers may do both concurrently: a key is created only if there is none, and destroying is
//! idempotent. The key is destroyed first, by overwriting it on the servers' disks: a crash then leaves streams
//! that nobody can decrypt, which the next run deletes. The servers' replication log retains the sealed key for
//! some more minutes, as decision 11 describes for the vault's pages; it can be decrypted only with the city's
//! secret.

use std::collections::BTreeSet;
use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;
use citycode_jetstream::Client;
use citycode_jetstream::api::{self, ApiError};
use citycode_jetstream::publish::{Published, publish};
use citycode_vault::{FillRandom, HolderKey};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::settings::{self, Manifest};
use super::{KeeperSecrets, OpenError, Opened, ScansConfig, message, names, stored};

/// Pause before a key is sent again.
const PAUSE: Duration = Duration::from_millis(250);

/// Parameters of scan records to create.
#[derive(Debug, Clone, Copy)]
pub struct NewScans {
    /// The log whose codes are scanned.
    pub log_id: [u8; 16],
    /// Buckets of each day's registrations, a power of two up to 65,536, which can never be changed. Each costs
    /// every server some 430 bytes of memory per retained day. Two verifiers conflict if they write to the same
    /// bucket concurrently.
    pub buckets: u32,
}

/// Why a run was not completed. Repeating it continues.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// A request was not answered, or was refused.
    #[error("the streams of scan records could not be managed: {0}")]
    Servers(#[from] ApiError),
    /// A key was not created.
    #[error("the key of day {day} was not created: {why}")]
    Key {
        /// The day.
        day: u32,
        /// The reason.
        why: String,
    },
}

/// The result of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kept {
    /// Days whose streams were created.
    pub made: Vec<u32>,
    /// Days whose key or streams were destroyed.
    pub destroyed: Vec<u32>,
}

/// The service that creates and destroys days.
pub struct ScanKeeper {
    client: Client,
    secret: HolderKey,
    archive: HolderKey,
    replicas: u8,
    random: FillRandom,
}

/// Creates the stream of keys if there is none, and the streams of today and tomorrow. It is safe to run at
/// every start and concurrently.
///
/// # Errors
/// [`OpenError`].
pub async fn provision(
    config: &ScansConfig,
    new: &NewScans,
    secrets: &KeeperSecrets,
    random: FillRandom,
    today: u32,
) -> Result<(), OpenError> {
    let opened = provision_opened(config, new, secrets).await?;
    let keeper = ScanKeeper::of(opened, config, secrets, random)?;
    match keeper.make(today).await {
        Ok(_) => Ok(()),
        Err(KeepError::Servers(error)) => Err(OpenError::Unanswered(error)),
        Err(error @ KeepError::Key { .. }) => Err(OpenError::Unanswered(ApiError::Malformed(error.to_string()))),
    }
}

/// Creates only the stream of keys if there is none, for a user who may create no other; keepers create the
/// days.
///
/// # Errors
/// [`OpenError`].
pub async fn provision_keys(config: &ScansConfig, new: &NewScans, secrets: &KeeperSecrets) -> Result<(), OpenError> {
    let opened = provision_opened(config, new, secrets).await?;
    super::archive_secret(&opened, secrets).map(|_| ())
}

async fn provision_opened(config: &ScansConfig, new: &NewScans, secrets: &KeeperSecrets) -> Result<Opened, OpenError> {
    let client = citycode_jetstream::connect(&config.connection, |_| ()).await?;
    if let Err(error) = api::stream_info(&client, names::KEYS).await {
        if !names::is_absent(&error) {
            return Err(OpenError::Unanswered(error));
        }
        let (secret, archive) = (HolderKey::new(*secrets.records), HolderKey::new(*secrets.archive));
        let manifest = Manifest::new(new.log_id, new.buckets, &secret, &archive);
        let made = api::create_stream(&client, names::KEYS, &manifest.request(config.replicas)).await;
        made.map_err(OpenError::Unanswered)?;
    }
    super::check(client, config, &secrets.records).await
}

impl ScanKeeper {
    /// Opens the records for managing days.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(config: &ScansConfig, secrets: &KeeperSecrets, random: FillRandom) -> Result<Self, OpenError> {
        let opened = super::open(config, &secrets.records).await?;
        Self::of(opened, config, secrets, random)
    }

    fn of(
        opened: Opened,
        config: &ScansConfig,
        secrets: &KeeperSecrets,
        random: FillRandom,
    ) -> Result<Self, OpenError> {
        Ok(Self {
            archive: super::archive_secret(&opened, secrets)?,
            client: opened.client,
            secret: opened.secret,
            replicas: config.replicas,
            random,
        })
    }

    /// One run: ensures that today's and tomorrow's key and streams exist, and that days more than
    /// `retention_days` before today have neither key nor streams.
    ///
    /// # Errors
    /// [`KeepError`].
    pub async fn keep(&self, today: u32, retention_days: u16) -> Result<Kept, KeepError> {
        // Old days are destroyed first, because the account's limit of streams has no space for a new day
        // before that. If that fails, the new day is created nevertheless, as long as there is space.
        let destroyed = self
            .destroy_before(today.saturating_sub(u32::from(retention_days)))
            .await;
        let made = self.make(today).await?;
        Ok(Kept {
            made,
            destroyed: destroyed?,
        })
    }

    /// Creates what today and tomorrow need. It never creates a day before an existing one: verifiers assume
    /// that a day is the first if the day before has no stream.
    async fn make(&self, today: u32) -> Result<Vec<u32>, KeepError> {
        let there = stored::days(&self.client).await?;
        let registered = |day: u32| there.contains(&(day, true));
        let latest = there
            .iter()
            .filter(|(_, is_registered)| *is_registered)
            .map(|(day, _)| *day)
            .max();
        let mut made = Vec::new();
        for day in [today, today + 1] {
            if registered(day) || latest.is_some_and(|latest| latest > day) {
                continue;
            }
            self.make_key(day).await?;
            // Registrations are created last: if they can be written, everything else exists.
            let scans = settings::request(settings::of_scans(day, self.replicas), day);
            api::create_stream(&self.client, &names::scans(day), &scans).await?;
            let registered = settings::request(settings::of_registered(day, self.replicas), day);
            api::create_stream(&self.client, &names::registered(day), &registered).await?;
            made.push(day);
        }
        Ok(made)
    }

    async fn make_key(&self, day: u32) -> Result<(), KeepError> {
        let failed = |why: String| KeepError::Key { day, why };
        let message = message::new_keys(day, &self.secret, &self.archive, &self.random);
        let message = message.map_err(|error| failed(error.to_string()))?;
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Expected-Last-Subject-Sequence", "0");
        let (bytes, mut waited) = (Bytes::from(message), Duration::ZERO);
        loop {
            match publish(&self.client, names::key_subject(day), headers.clone(), bytes.clone()).await {
                // If a key existed before, that one counts.
                Published::Written(_) | Published::Known(_) | Published::WrongRevision => return Ok(()),
                // A stream that was just created may not have a leader yet; the expected sequence makes repeats
                // harmless.
                Published::NotNow(_) | Published::InFlight(_) if waited < api::API_TIMEOUT => waited += PAUSE,
                Published::Unanswered if waited < api::API_TIMEOUT => waited += api::ATTEMPT,
                Published::Unanswered => return Err(failed("no answer".to_owned())),
                Published::NotNow(why)
                | Published::InFlight(why)
                | Published::Refused(why)
                | Published::Unknown(why) => return Err(failed(why)),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn destroy_before(&self, first_kept: u32) -> Result<Vec<u32>, KeepError> {
        let mut destroyed = BTreeSet::new();
        for day in self.keys().await?.into_iter().filter(|day| *day < first_kept) {
            let body = json!({ "last_by_subj": names::key_subject(day) });
            while let Some(key) = api::get_from_leader(&self.client, names::KEYS, &body).await? {
                // A crash right after this leaves streams that nobody can decrypt.
                api::erase(&self.client, names::KEYS, key.sequence).await?;
                destroyed.insert(day);
            }
        }
        for (day, is_registered) in stored::days(&self.client)
            .await?
            .into_iter()
            .filter(|(day, _)| *day < first_kept)
        {
            let stream = if is_registered {
                names::registered(day)
            } else {
                names::scans(day)
            };
            let deleted: Result<Value, _> =
                api::ask(&self.client, &format!("STREAM.DELETE.{stream}"), &Value::Null).await;
            match deleted {
                Ok(_) => destroyed.insert(day),
                Err(error) if names::is_absent(&error) => false,
                Err(error) => return Err(error.into()),
            };
        }
        Ok(destroyed.into_iter().collect())
    }

    /// The days that have keys.
    async fn keys(&self) -> Result<Vec<u32>, ApiError> {
        #[derive(Deserialize)]
        struct Info {
            state: State,
        }
        #[derive(Deserialize)]
        struct State {
            subjects: Option<Map<String, Value>>,
        }
        let body = json!({ "subjects_filter": names::ALL_KEYS });
        let info: Info = api::ask(&self.client, &format!("STREAM.INFO.{}", names::KEYS), &body).await?;
        let subjects = info.state.subjects.unwrap_or_default();
        Ok(subjects
            .keys()
            .filter_map(|subject| names::day_of_key(subject))
            .collect())
    }
}
