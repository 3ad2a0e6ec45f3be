//! Making each day's key and streams before the day comes, and destroying them once their time is over.
//!
//! Any number of keepers may do both at the same time: a key is made where there is none, and what is gone is gone.
//! The key is destroyed first, overwritten on the servers' disks: what a crash leaves then are streams that nobody can
//! open, which the next round deletes. The servers' replication keeps the sealed key for some minutes more, as
//! decision 11 says of the vault's pages; it opens only with the city's secret.

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
use super::{KeeperSecrets, OpenError, Opened, ScansConfig, message, names};

/// Before a key is sent again.
const PAUSE: Duration = Duration::from_millis(250);

/// Scan records to be kept where there are none yet.
#[derive(Debug, Clone, Copy)]
pub struct NewScans {
    /// The log whose codes are scanned.
    pub log_id: [u8; 16],
    /// Buckets of each day's registrations, a power of two up to 65,536, fixed for ever. Each costs every server some
    /// 430 bytes of memory for each day that is kept; two verifiers wait for each other where they write to one at the
    /// same time.
    pub buckets: u32,
}

/// Why a round did not come to its end. Doing it again goes on.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// A question was not answered, or was refused.
    #[error("the streams of scan records could not be kept: {0}")]
    Servers(#[from] ApiError),
    /// A key was not made.
    #[error("the key of day {day} was not made: {why}")]
    Key {
        /// Whose key.
        day: u32,
        /// Why.
        why: String,
    },
}

/// What a round did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kept {
    /// Days whose streams were made.
    pub made: Vec<u32>,
    /// Days whose key, or streams, were destroyed.
    pub destroyed: Vec<u32>,
}

/// Who makes days and destroys them.
pub struct ScanKeeper {
    client: Client,
    secret: HolderKey,
    archive: HolderKey,
    replicas: u8,
    random: FillRandom,
}

/// Makes the stream of keys if there is none, and the streams of today and tomorrow. Safe to run at every start and by
/// many at once.
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

/// Makes the stream of keys if there is none, by a user who may make no other: the days are left to the keepers.
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
    /// Opens the records to keep them.
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

    /// One round: today's and tomorrow's key and streams are there, and of days more than `retention_days` before
    /// today neither key nor stream.
    ///
    /// # Errors
    /// [`KeepError`].
    pub async fn keep(&self, today: u32, retention_days: u16) -> Result<Kept, KeepError> {
        // First what goes: the account has room for as many streams as stand before a day is made. Where that fails the
        // new day is made all the same, as long as there is room.
        let destroyed = self
            .destroy_before(today.saturating_sub(u32::from(retention_days)))
            .await;
        let made = self.make(today).await?;
        Ok(Kept {
            made,
            destroyed: destroyed?,
        })
    }

    /// Makes what today and tomorrow need. Never a day before one that is there: verifiers rely on it that a day whose
    /// day before has no stream is the first.
    async fn make(&self, today: u32) -> Result<Vec<u32>, KeepError> {
        let there = self.days().await?;
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
            // Registrations last: where they can be written, all else stands.
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
                // Where it was there before, that one counts.
                Published::Written(_) | Published::Known(_) | Published::WrongRevision => return Ok(()),
                // A stream that was just made may have no leader yet, and the expectation makes repeats harmless.
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
                // A crash right after this leaves streams that nobody can open.
                api::erase(&self.client, names::KEYS, key.sequence).await?;
                destroyed.insert(day);
            }
        }
        for (day, is_registered) in self.days().await?.into_iter().filter(|(day, _)| *day < first_kept) {
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

    /// The days that have streams, and which of them.
    async fn days(&self) -> Result<BTreeSet<(u32, bool)>, ApiError> {
        #[derive(Deserialize)]
        struct Names {
            streams: Option<Vec<String>>,
        }
        let mut days = BTreeSet::new();
        let mut offset = 0;
        loop {
            let body = json!({ "offset": offset });
            let Names { streams } = api::ask(&self.client, "STREAM.NAMES", &body).await?;
            let streams = streams.unwrap_or_default();
            if streams.is_empty() {
                return Ok(days);
            }
            offset += streams.len();
            days.extend(streams.iter().filter_map(|stream| names::day_of_stream(stream)));
        }
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
