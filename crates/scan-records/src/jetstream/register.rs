//! One registration: once in the city, whoever is told of it and however often.
//!
//! All that is said of one (device, scan id) lies in one bucket of a day, and every write there expects the bucket's
//! last message: of two verifiers one is refused, reads what the other wrote, and answers with it. Around midnight the
//! same scan may come on two days. So a bucket of a new day takes nothing before that of the day before is closed by a
//! message that expects its last one; who still writes there is refused, sees it closed, and goes to the new day.
//!
//! What a crash leaves: a closed bucket whose new day has nothing yet, which the next one finds closed; or a
//! registration that nobody was told of, which the repeat of the scan is answered with.

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

/// What one registration is, wherever it comes to stand.
pub(super) struct Scan<'a> {
    shown: &'a ShownBytes,
    /// What it is known by: device and scan id, or a random number.
    identity: Vec<u8>,
    bucket: u16,
}

/// What became of an attempt.
enum Attempt {
    Done,
    /// The bucket is not where it was seen, or nobody knows: look again.
    Look,
    /// Nothing was written by this attempt.
    Later,
    /// Nothing was written by this attempt, and nothing will be soon.
    Refused(String),
}

/// Attempts, one after the other.
struct Attempts {
    pause: Duration,
    /// One was made whose fate nobody knows.
    unanswered: bool,
}

impl Attempts {
    fn new() -> Self {
        Self {
            pause: FIRST_PAUSE,
            unanswered: false,
        }
    }

    /// What to tell the caller where nothing more is tried.
    fn given_up(&self, why: impl std::fmt::Display) -> RecordsError {
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
            Err(_) => Err(attempts.given_up("no answer in time")),
        }
    }

    async fn register_until_answered(
        &self,
        note: &ScanNote<&str>,
        scan: &Scan<'_>,
        attempts: &mut Attempts,
    ) -> Result<Registered, RecordsError> {
        let _turn = self.turns[usize::from(scan.bucket)].lock().await;
        let mut at = self.days.writable(day_of(note.at)?)?;
        // The same bytes each time: of two attempts that nobody answered none says anything else.
        let mut sealed: Option<(u32, Vec<u8>)> = None;
        loop {
            if let Some(before) = &at.before {
                self.close(before, scan.bucket, attempts).await?;
            }
            // Before the search: what comes after it was not searched, and makes the attempt fail.
            let searched = at.day.fold(|fold| fold.tail(scan.bucket));
            let found = self.find(&at, scan).await;
            if let Some(found) = found.map_err(|error| attempts.given_up(error))? {
                return Ok(found);
            }
            if at.day.fold(|fold| fold.is_closed(scan.bucket)) {
                let next = self.days.writable(at.day.number + 1);
                at = next.map_err(|error| attempts.given_up(error))?;
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
                // Durable. A crash from here on leaves a registration that its repeat is answered with.
                Attempt::Done => return Ok(Registered::Now),
                Attempt::Look => self.look(&at.day, scan.bucket, attempts).await,
                Attempt::Later => attempts.wait().await,
                Attempt::Refused(why) => return Err(attempts.given_up(why)),
            }
        }
    }

    pub(super) async fn find_scan(
        &self,
        note: &ScanNote<&str>,
        shown: &ShownBytes,
    ) -> Result<Option<Registered>, RecordsError> {
        let scan = self.scan(note, shown);
        let finding = self.find_as_leaders_know(note, &scan);
        match tokio::time::timeout(API_TIMEOUT, finding).await {
            Ok(found) => found,
            Err(_) => Err(failed("no answer in time")),
        }
    }

    async fn find_as_leaders_know(
        &self,
        note: &ScanNote<&str>,
        scan: &Scan<'_>,
    ) -> Result<Option<Registered>, RecordsError> {
        let mut at = self.days.writable(day_of(note.at)?)?;
        loop {
            // Another verifier may have registered it a moment ago.
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
            // Never the repeat of anything, and yet written once.
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

    /// Closes the bucket of a day, unless it is.
    async fn close(&self, day: &Day, bucket: u16, attempts: &mut Attempts) -> Result<(), RecordsError> {
        let closed = Message::Closed.encode();
        loop {
            let (is_closed, tail) = day.fold(|fold| (fold.is_closed(bucket), fold.tail(bucket)));
            if is_closed {
                return Ok(());
            }
            match self.attempt(day, bucket, tail, &closed, attempts).await {
                Attempt::Done => {}
                Attempt::Look => self.look(day, bucket, attempts).await,
                Attempt::Later => attempts.wait().await,
                Attempt::Refused(why) => return Err(attempts.given_up(why)),
            }
        }
    }

    /// One publish to a bucket that is expected to end there.
    async fn attempt(&self, day: &Day, bucket: u16, expected: u64, bytes: &[u8], attempts: &mut Attempts) -> Attempt {
        if let Some(damage) = day.damage() {
            return Attempt::Refused(damage.to_owned());
        }
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Expected-Last-Subject-Sequence", expected.to_string());
        // Should the time be up amid the question, its fate is not known either.
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
            // No message id is sent: the expectation alone tells a repeat.
            Published::Known(_) | Published::WrongRevision | Published::Unanswered => Attempt::Look,
            Published::InFlight(why) | Published::Unknown(why) => {
                tracing::warn!(day = day.number, why, "what became of a registration is not known yet");
                Attempt::Look
            }
            Published::NotNow(_) => Attempt::Later,
            Published::Refused(why) => Attempt::Refused(why),
        }
    }

    /// Learns where the bucket ends; where that cannot be learned now, a later attempt does.
    async fn look(&self, day: &Day, bucket: u16, attempts: &mut Attempts) {
        if day.catch_up(bucket).await.is_err() {
            attempts.wait().await;
        }
    }

    /// The scan among what is known of the day and the one before.
    async fn find(&self, at: &Writable, scan: &Scan<'_>) -> Result<Option<Registered>, RecordsError> {
        for day in at.before.iter().chain([&at.day]) {
            let name = day.key.name(&scan.identity);
            for sequence in day.fold(|fold| fold.places(scan.bucket, &name)) {
                let message = day.message(sequence).await?;
                let message = message.ok_or_else(|| failed("a registration that was there is gone"))?;
                let Message::Registration { name: found, sealed } = Message::read(&message.payload) else {
                    continue;
                };
                if *found != name {
                    continue;
                }
                let record = day.key.open_registration(&name, sealed)?;
                let same = record.shown == Some(day.key.shown(scan.shown));
                return Ok(Some(if same {
                    Registered::Before(record)
                } else {
                    Registered::ForAnother
                }));
            }
        }
        Ok(None)
    }
}
