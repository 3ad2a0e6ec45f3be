//! The days that are open: today, the day before, and tomorrow once its streams are made, since another's clock may be
//! ahead.

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

/// Between two looks for days that are not open yet.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long the start waits, look by look, until the registrations that stand there are read.
const READ_WITHIN: Duration = Duration::from_secs(2);

/// A day, and the one before it, which must be closed first.
#[derive(Clone)]
pub(crate) struct Writable {
    pub(crate) day: Arc<Day>,
    /// None for the first day that there ever was.
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
    /// No stream stands for the day before, and none will: nobody makes an earlier day's.
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

    /// Whether nothing of that day will be open, unless it is: it is neither today nor beside it.
    pub(crate) fn is_out_of_reach(&self, day: u32) -> bool {
        let today = self.today.load(Ordering::Relaxed);
        today > 0 && day.abs_diff(today) > 1
    }

    pub(crate) fn get(&self, day: u32) -> Option<Arc<Day>> {
        self.open.lock().get(&day).map(|opened| Arc::clone(&opened.day))
    }

    /// The day, or the next one where the day can no longer be written to because it, or the one before it, is past.
    ///
    /// # Errors
    /// Where the day is not open, or the one before it is not and is not past. That may pass, and until then the next day
    /// takes nothing of this one's: what stands in the day before would be searched by nobody.
    pub(crate) fn writable(&self, day: u32) -> Result<Writable, RecordsError> {
        let is_past = day < self.today.load(Ordering::Relaxed);
        let open = self.open.lock();
        let mut found = find_writable(&open, day);
        if found.is_none() && is_past {
            found = find_writable(&open, day + 1);
        }
        found.ok_or_else(|| failed(format!("the streams of day {day} are not there or not open yet")))
    }

    /// Keeps the days open that are needed, and says in `health` which one is missing.
    pub(crate) async fn keep(&self, clock: &dyn Clock, health: &Component) {
        let mut had = false;
        loop {
            let today = u32::try_from(clock.now().0.div_euclid(DAY_SECONDS)).unwrap_or(0);
            let missing = self.look(today).await;
            let tomorrow = self.get(today + 1).is_some();
            let days = f64::from(u8::from(missing.is_ok())) * (1.0 + f64::from(u8::from(tomorrow)));
            metrics::gauge!("citycode_verifier_record_open_days").set(days);
            match missing {
                Ok(()) => {
                    had = true;
                    health.ready();
                }
                Err(Lack::Reading) if !had => {
                    health.starting("reading the day's registrations");
                }
                // Gates go on: who needs a registration is refused, and whoever looks at the listing sees why.
                Err(lack) => health.ready_saying(format!("REGISTRATIONS ARE REFUSED: {lack}")),
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Opens what is there and lets go of what is past.
    async fn look(&self, today: u32) -> Result<(), Lack> {
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
            (Err(_), Some(failure)) => return Err(Lack::Other(failure)),
            (Err(error), None) => return Err(Lack::Other(error)),
        };
        for day in writable.before.iter().chain([&writable.day]) {
            if let Some(damage) = day.damage() {
                return Err(Lack::Other(failed(damage)));
            }
            self.is_read(day).await?;
        }
        Ok(())
    }

    /// Whether what stood there when the day was opened has been read.
    async fn is_read(&self, day: &Day) -> Result<(), Lack> {
        if day.is_read_once() {
            return Ok(());
        }
        let info = api::stream_info(&self.client, day.stream()).await;
        let last = info.map_err(|error| Lack::Other(failed(error)))?.state.last_seq;
        let read = tokio::time::timeout(READ_WITHIN, day.read_through(last)).await;
        read.map_err(|_| Lack::Reading)?.map_err(Lack::Other)?;
        day.was_read_once();
        Ok(())
    }

    /// Opens a day whose streams stand as they must.
    async fn open(&self, day: u32) -> Result<(), RecordsError> {
        let body = json!({ "last_by_subj": names::key_subject(day) });
        let key = api::get_from_leader(&self.client, names::KEYS, &body).await;
        let key = key.map_err(failed)?;
        let key = key.ok_or_else(|| failed(format!("day {day} has no key; the audit service makes it")))?;
        let key = DayKey::open(day, &self.secret, &key.payload)?;
        for wanted in [
            settings::of_scans(day, self.replicas),
            settings::of_registered(day, self.replicas),
        ] {
            let name = wanted["name"]
                .as_str()
                .expect("a stream's settings begin with its name");
            let info = api::stream_info(&self.client, name).await;
            let info = info.map_err(|error| failed(format!("{name}: {error}")))?;
            let wrong = settings::compare(&wanted, &info.config);
            if !wrong.is_empty() {
                let wrong = citycode_jetstream::settings::list(&wrong);
                return Err(failed(format!("{name} is not set up as it needs to be: {wrong}")));
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

/// The day, if it is open and so is the one before it, or there is none.
fn find_writable(open: &BTreeMap<u32, Opened>, number: u32) -> Option<Writable> {
    let Opened { day, is_first } = open.get(&number)?;
    let before = number.checked_sub(1).and_then(|before| open.get(&before));
    (*is_first || before.is_some()).then(|| Writable {
        day: Arc::clone(day),
        before: before.map(|opened| Arc::clone(&opened.day)),
    })
}

/// Why registrations cannot be taken now.
#[derive(Debug, thiserror::Error)]
enum Lack {
    #[error("the day's registrations are still being read")]
    Reading,
    #[error(transparent)]
    Other(RecordsError),
}
