//! One registration: recorded once in the city, however many verifiers receive it and however often.
//!
//! All registrations of one (device, scan id) are in one bucket of a day, and every write there expects the
//! bucket's last message: of two verifiers one is refused, reads what the other wrote, and returns that. Around
//! midnight the same scan may arrive on two days. So a bucket of a new day takes nothing until that of the day
//! before is closed by a message that expects its last one; a verifier that still writes there is refused, sees
//! that the bucket is closed, and continues in the new day.
//!
//! What a crash leaves: a closed bucket whose new day has nothing yet, which the next call finds closed; or a
//! registration whose result was never returned, which the repeat of the scan finds.

use std::time::Duration;

use async_nats::HeaderMap;
use citycode_jetstream::api::API_TIMEOUT;
use citycode_jetstream::publish::{Published, publish};

use super::JetStreamScanRecords;
use super::day::Day;
use super::days::Writable;
use super::message::{self, Message};
use super::names;
use crate::{RecordsError, Registered, ScanNote, ShownBytes, day_of, failed};

/// First pause after "not now"; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// One registration, independent of its day.
pub(super) struct Scan<'a> {
    shown: &'a ShownBytes,
    /// Its identity: device and scan id, or a random number.
    identity: Vec<u8>,
    bucket: u16,
}

/// The result of an attempt.
enum Attempt {
    Done,
    /// The bucket's tail has changed, or the outcome is unknown: read again.
    Reread,
    /// This attempt wrote nothing.
    Later,
    /// This attempt wrote nothing, and others would not soon.
    Refused(String),
}

/// The state of consecutive attempts.
struct Attempts {
    pause: Duration,
    /// Whether an attempt with an unknown outcome was made.
    unanswered: bool,
}

impl Attempts {
    fn new() -> Self {
        Self {
            pause: FIRST_PAUSE,
            unanswered: false,
        }
    }

    /// The error if no further attempt is made.
    fn give_up(&self, why: impl std::fmt::Display) -> RecordsError {
        if self.unanswered {
            RecordsError::Unknown(why.to_string())
        } else {
            failed(why)
        }
    }

    async fn wait(&mut self) {
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }
}

impl JetStreamScanRecords {
    pub(super) async fn register_scan(
        &self,
        note: &ScanNote<&str>,
        shown: &ShownBytes,
    ) -> Result<Registered, RecordsError> {
        let scan = self.scan(note, shown);
        let mut attempts = Attempts::new();
        let registering = self.register_until_answered(note, &scan, &mut attempts);
        match tokio::time::timeout(API_TIMEOUT, registering).await {
            Ok(outcome) => outcome,
            Err(_) => Err(attempts.give_up("no answer in time")),
        }
    }

    async fn register_until_answered(
        &self,
        note: &ScanNote<&str>,
        scan: &Scan<'_>,
        attempts: &mut Attempts,
    ) -> Result<Registered, RecordsError> {
        let _lock = self.locks[usize::from(scan.bucket)].lock().await;
        let mut at = self.days.writable(day_of(note.at)?)?;
        // The same bytes at each attempt, so that attempts with an unknown outcome are indistinguishable.
        let mut sealed: Option<(u32, Vec<u8>)> = None;
        loop {
            if let Some(before) = &at.before {
                self.close(before, scan.bucket, attempts).await?;
            }
            // The tail is read before the search: messages after it were not searched, and make the attempt fail.
            let searched = at.day.fold(|fold| fold.tail(scan.bucket));
            let found = self.find(&at, scan).await;
            if let Some(found) = found.map_err(|error| attempts.give_up(error))? {
                return Ok(found);
            }
            if at.day.fold(|fold| fold.is_closed(scan.bucket)) {
                let next = self.days.writable(at.day.number + 1);
                at = next.map_err(|error| attempts.give_up(error))?;
                continue;
            }
            let bytes = match &sealed {
                Some((day, bytes)) if *day == at.day.number => bytes,
                _ => {
                    let name = at.day.key.name(&scan.identity);
                    let bytes = at
                        .day
                        .key
                        .seal_registration(message::nonce(&self.random), &name, note, scan.shown)?;
                    &sealed.insert((at.day.number, bytes)).1
                }
            };
            match self.attempt(&at.day, scan.bucket, searched, bytes, attempts).await {
                // Durable. A crash from here on leaves a registration that its repeat finds.
                Attempt::Done => return Ok(Registered::Now),
                Attempt::Reread => self.catch_up_or_wait(&at.day, scan.bucket, attempts).await,
                Attempt::Later => attempts.wait().await,
                Attempt::Refused(why) => return Err(attempts.give_up(why)),
            }
        }
    }

    pub(super) async fn find_scan(
        &self,
        note: &ScanNote<&str>,
        shown: &ShownBytes,
    ) -> Result<Option<Registered>, RecordsError> {
        let scan = self.scan(note, shown);
        let finding = self.find_by_leaders(note, &scan);
        match tokio::time::timeout(API_TIMEOUT, finding).await {
            Ok(found) => found,
            Err(_) => Err(failed("no answer in time")),
        }
    }

    async fn find_by_leaders(
        &self,
        note: &ScanNote<&str>,
        scan: &Scan<'_>,
    ) -> Result<Option<Registered>, RecordsError> {
        let mut at = self.days.writable(day_of(note.at)?)?;
        loop {
            // Another verifier may just have registered it.
            for day in at.before.iter().chain([&at.day]) {
                if !day.fold(|fold| fold.is_closed(scan.bucket)) {
                    day.catch_up(scan.bucket).await?;
                }
            }
            let found = self.find(&at, scan).await?;
            if found.is_some() || !at.day.fold(|fold| fold.is_closed(scan.bucket)) {
                return Ok(found);
            }
            at = self.days.writable(at.day.number + 1)?;
        }
    }

    fn scan<'a>(&self, note: &ScanNote<&str>, shown: &'a ShownBytes) -> Scan<'a> {
        let identity = if note.scan_id.is_empty() {
            // It is never a repeat, but must be written only once.
            let mut random = [0; 32];
            (self.random)(&mut random);
            random.to_vec()
        } else {
            names::identity_of(note.device, note.scan_id)
        };
        let bucket = names::bucket_of(&identity, self.days.buckets());
        Scan {
            shown,
            identity,
            bucket,
        }
    }

    /// Closes the bucket of a day if it is open.
    async fn close(&self, day: &Day, bucket: u16, attempts: &mut Attempts) -> Result<(), RecordsError> {
        let closed = Message::Closed.encode();
        loop {
            let (is_closed, tail) = day.fold(|fold| (fold.is_closed(bucket), fold.tail(bucket)));
            if is_closed {
                return Ok(());
            }
            match self.attempt(day, bucket, tail, &closed, attempts).await {
                Attempt::Done => {}
                Attempt::Reread => self.catch_up_or_wait(day, bucket, attempts).await,
                Attempt::Later => attempts.wait().await,
                Attempt::Refused(why) => return Err(attempts.give_up(why)),
            }
        }
    }

    /// One publish to a bucket with its expected last sequence.
    async fn attempt(&self, day: &Day, bucket: u16, expected: u64, bytes: &[u8], attempts: &mut Attempts) -> Attempt {
        if let Some(damage) = day.damage() {
            return Attempt::Refused(damage.to_owned());
        }
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Expected-Last-Subject-Sequence", expected.to_string());
        // If the deadline passes during the request, its outcome is unknown too.
        let unanswered = std::mem::replace(&mut attempts.unanswered, true);
        let published = publish(&self.client, day.subject(bucket), headers, bytes.to_vec().into()).await;
        if !matches!(
            published,
            Published::Unanswered | Published::InFlight(_) | Published::Unknown(_)
        ) {
            attempts.unanswered = unanswered;
        }
        match published {
            Published::Written(sequence) => {
                day.wrote(bucket, sequence, bytes);
                Attempt::Done
            }
            // No message id is sent; the expected sequence detects a repeat.
            Published::Known(_) | Published::WrongRevision | Published::Unanswered => Attempt::Reread,
            Published::InFlight(why) | Published::Unknown(why) => {
                tracing::warn!(day = day.number, why, "the outcome of a registration is not known yet");
                Attempt::Reread
            }
            Published::NotNow(_) => Attempt::Later,
            Published::Refused(why) => Attempt::Refused(why),
        }
    }

    /// Reads the bucket up to its current tail; if this fails, waits for a later attempt.
    async fn catch_up_or_wait(&self, day: &Day, bucket: u16, attempts: &mut Attempts) {
        if day.catch_up(bucket).await.is_err() {
            attempts.wait().await;
        }
    }

    /// Searches the scan in the folds of the day and the day before.
    async fn find(&self, at: &Writable, scan: &Scan<'_>) -> Result<Option<Registered>, RecordsError> {
        for day in at.before.iter().chain([&at.day]) {
            let name = day.key.name(&scan.identity);
            for sequence in day.fold(|fold| fold.places(scan.bucket, &name)) {
                let message = day.message(sequence).await?;
                let message = message.ok_or_else(|| failed("a registration that was read before is missing"))?;
                let Message::Registration { name: found, sealed } = Message::read(&message.payload) else {
                    continue;
                };
                if *found != name {
                    continue;
                }
                let record = day.key.open_registration(&name, sealed)?;
                let same = record.shown == Some(day.key.shown(scan.shown));
                return Ok(Some(if same {
                    Registered::Before(Box::new(record))
                } else {
                    Registered::ForAnother
                }));
            }
        }
        Ok(None)
    }
}
