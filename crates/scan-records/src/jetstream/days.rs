//! The open days: today, the day before, and tomorrow once its streams exist, because another verifier's clock
//! may be ahead.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use citycode_jetstream::Client;
use citycode_jetstream::api;
use citycode_service_kit::clock::Clock;
use citycode_service_kit::health::Component;
use citycode_vault::HolderKey;
use parking_lot::Mutex;
use serde_json::json;

use super::day::Day;
use super::message::DayKey;
use super::names;
use super::settings::{self, Manifest};
use crate::{DAY_SECONDS, RecordsError, failed};

/// Interval of checks for days that are not open yet.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long one check waits at startup until the existing registrations are read.
const READ_WITHIN: Duration = Duration::from_secs(2);

/// A day for writing, and the day before, whose bucket must be closed first.
#[derive(Clone)]
pub(crate) struct Writable {
    pub(crate) day: Arc<Day>,
    /// `None` for the first day of all.
    pub(crate) before: Option<Arc<Day>>,
}

pub(crate) struct Days {
    client: Client,
    manifest: Manifest,
    secret: HolderKey,
    replicas: u8,
    open: Mutex<BTreeMap<u32, Opened>>,
    today: AtomicU32,
}

#[derive(Clone)]
struct Opened {
    day: Arc<Day>,
    /// Whether the day before has no stream and never will, because keepers create no earlier day.
    is_first: bool,
}

impl Days {
    pub(crate) fn new(client: Client, manifest: Manifest, secret: HolderKey, replicas: u8) -> Self {
        Self {
            client,
            manifest,
            secret,
            replicas,
            open: Mutex::default(),
            today: AtomicU32::new(0),
        }
    }

    pub(crate) fn buckets(&self) -> u32 {
        self.manifest.buckets
    }

    /// Whether this day will not be open: it is neither today nor adjacent to it.
    pub(crate) fn is_out_of_reach(&self, day: u32) -> bool {
        let today = self.today.load(Ordering::Relaxed);
        today > 0 && day.abs_diff(today) > 1
    }

    pub(crate) fn get(&self, day: u32) -> Option<Arc<Day>> {
        self.open.lock().get(&day).map(|opened| Arc::clone(&opened.day))
    }

    /// The day, or the next one if this day can no longer be written to because it, or the day before, is past.
    ///
    /// # Errors
    /// The day is not open, or the day before is neither open nor past. This may be transient. Until then the
    /// next day does not take registrations of this one, because registrations of the day before would not be
    /// searched.
    pub(crate) fn writable(&self, day: u32) -> Result<Writable, RecordsError> {
        let is_past = day < self.today.load(Ordering::Relaxed);
        let open = self.open.lock();
        let mut found = find_writable(&open, day);
        if found.is_none() && is_past {
            found = find_writable(&open, day + 1);
        }
        found.ok_or_else(|| failed(format!("the streams of day {day} do not exist or are not open yet")))
    }

    /// Keeps the required days open, and reports a missing one in `health`.
    pub(crate) async fn keep_open(&self, clock: &dyn Clock, health: &Component) {
        let mut had = false;
        loop {
            let today = u32::try_from(clock.now().0.div_euclid(DAY_SECONDS)).unwrap_or(0);
            let missing = self.open_days(today).await;
            let tomorrow = self.get(today + 1).is_some();
            let days = f64::from(u8::from(missing.is_ok())) * (1.0 + f64::from(u8::from(tomorrow)));
            metrics::gauge!("citycode_verifier_record_open_days").set(days);
            match missing {
                Ok(()) => {
                    had = true;
                    health.ready();
                }
                Err(NotReady::Reading) if !had => {
                    health.starting("reading the day's registrations");
                }
                // Gates continue: registrations are refused, and the health listing shows why.
                Err(reason) => health.ready_saying(format!("REGISTRATIONS ARE REFUSED: {reason}")),
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Opens existing days and closes past ones.
    async fn open_days(&self, today: u32) -> Result<(), NotReady> {
        self.today.store(today, Ordering::Relaxed);
        let yesterday = today.saturating_sub(1);
        self.open.lock().retain(|day, _| *day >= yesterday);
        let mut failure = None;
        for day in [yesterday, today, today + 1] {
            if self.get(day).is_none()
                && let Err(error) = self.open(day).await
                && day <= today
            {
                failure = Some(error);
            }
        }
        let writable = match (self.writable(today), failure) {
            (Ok(writable), _) => writable,
            (Err(_), Some(failure)) => return Err(NotReady::Other(failure)),
            (Err(error), None) => return Err(NotReady::Other(error)),
        };
        for day in writable.before.iter().chain([&writable.day]) {
            if let Some(damage) = day.damage() {
                return Err(NotReady::Other(failed(damage)));
            }
            self.wait_until_read(day).await?;
        }
        Ok(())
    }

    /// Waits until the registrations that existed when the day was opened are read.
    async fn wait_until_read(&self, day: &Day) -> Result<(), NotReady> {
        if day.is_read_once() {
            return Ok(());
        }
        let info = api::stream_info(&self.client, day.stream()).await;
        let last = info.map_err(|error| NotReady::Other(failed(error)))?.state.last_seq;
        let read = tokio::time::timeout(READ_WITHIN, day.read_through(last)).await;
        read.map_err(|_| NotReady::Reading)?.map_err(NotReady::Other)?;
        day.was_read_once();
        Ok(())
    }

    /// Opens a day if its streams have the right settings.
    async fn open(&self, day: u32) -> Result<(), RecordsError> {
        let body = json!({ "last_by_subj": names::key_subject(day) });
        let key = api::get_from_leader(&self.client, names::KEYS, &body).await;
        let key = key.map_err(failed)?;
        let key = key.ok_or_else(|| failed(format!("day {day} has no key; the audit service creates it")))?;
        let key = DayKey::open(day, &self.secret, &key.payload)?;
        for wanted in [
            settings::of_scans(day, self.replicas),
            settings::of_registered(day, self.replicas),
        ] {
            let name = wanted["name"].as_str().expect("a stream's settings contain its name");
            let info = api::stream_info(&self.client, name).await;
            let info = info.map_err(|error| failed(format!("{name}: {error}")))?;
            let wrong = settings::compare(&wanted, &info.config);
            if !wrong.is_empty() {
                let wrong = citycode_jetstream::settings::list(&wrong);
                return Err(failed(format!("{name} has wrong settings: {wrong}")));
            }
        }
        let is_first = match day.checked_sub(1) {
            Some(before) => self.is_absent(&names::registered(before)).await?,
            None => true,
        };
        let day = Day::open(self.client.clone(), day, key, self.manifest.buckets);
        let opened = Opened {
            day: Arc::new(day),
            is_first,
        };
        self.open.lock().insert(opened.day.number, opened);
        Ok(())
    }

    async fn is_absent(&self, stream: &str) -> Result<bool, RecordsError> {
        match api::stream_info(&self.client, stream).await {
            Ok(_) => Ok(false),
            Err(error) if names::is_absent(&error) => Ok(true),
            Err(error) => Err(failed(error)),
        }
    }
}

/// The day, if it is open and the day before is open or does not exist.
fn find_writable(open: &BTreeMap<u32, Opened>, number: u32) -> Option<Writable> {
    let Opened { day, is_first } = open.get(&number)?;
    let before = number.checked_sub(1).and_then(|before| open.get(&before));
    (*is_first || before.is_some()).then(|| Writable {
        day: Arc::clone(day),
        before: before.map(|opened| Arc::clone(&opened.day)),
    })
}

/// Why registrations cannot be accepted now.
#[derive(Debug, thiserror::Error)]
enum NotReady {
    #[error("the day's registrations are still being read")]
    Reading,
    #[error(transparent)]
    Other(RecordsError),
}
