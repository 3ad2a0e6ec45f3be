//! The task of a revocation service that puts the digests of scan records into the log (decision 37).
//!
//! The service reads the sealed records from their streams and has none of their keys. It needs no state of its own: the
//! log says which batches have digests. Any number of revocation services may run it at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use citycode_domain::event::{Event, ScanBatches};
use citycode_domain::ids::{CommandId, ScanWriterId};
use citycode_domain::time::Timestamp;
use citycode_event_store::{BucketId, EventStore, Revision};
use citycode_holder_log::{HolderLog, is_auditable};
use citycode_log_folds::{events_of, scan_batches_stream};
use citycode_scan_records::jetstream::ScansConfig;
use citycode_scan_records::jetstream::archive::RecordStream;
use citycode_scan_records::jetstream::digests::SealedRecords;
use citycode_scan_records::{DAY_SECONDS, day_of};
use citycode_service_kit::clock::{Clock, ClockTrust};
use citycode_service_kit::health::Component;
use citycode_service_kit::repeated::Repeated;

use crate::wiring::report_digests;
use crate::wiring::scan_batches::{MOST_BATCHES, append};

/// Pause between two rounds; a digest must enter the log within a minute.
const ROUND_EVERY: Duration = Duration::from_secs(20);
/// Pause after a failed round.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// Commits that are read first to learn which batches have digests: those of some days.
const FIRST_READ: u64 = 16_384;
/// The actor of these commits.
const ACTOR: &str = "revocation";

/// A writer of batches on a day.
type Source = (u32, ScanWriterId);

/// Puts the digests of a city's scan records into the log.
pub(super) struct DigestRecorder {
    /// The location of the records; or why this service cannot reach them.
    pub(super) config: Result<ScansConfig, String>,
    pub(super) log: Arc<HolderLog>,
    pub(super) retention_days: u16,
    pub(super) clock: Arc<dyn Clock>,
    /// Health; it is ready also if a round fails, with the reason.
    pub(super) component: Component,
}

/// What is known of the records and of their digests in the log.
struct Known {
    records: SealedRecords,
    /// Up to where the bucket of digests was read.
    read: Revision,
    /// The last batch whose digest is in the log.
    recorded: BTreeMap<Source, u64>,
    /// The first day that may get further batches.
    first_open: u32,
}

impl DigestRecorder {
    /// Runs forever; a failed round is repeated.
    pub(super) async fn run(self) {
        let mut known = None;
        let repeated = Repeated::default();
        loop {
            let outcome = self.round(&mut known).await;
            report_digests("scans", outcome.is_ok());
            let pause = match outcome {
                Ok(()) => {
                    repeated.over();
                    self.component.ready();
                    ROUND_EVERY
                }
                Err(reason) => {
                    if let Some(unreported) = repeated.failed(&reason, self.clock.monotonic()) {
                        tracing::error!(reason, unreported, "digests of scan records are not in the log yet");
                    }
                    self.component
                        .ready_saying(format!("DIGESTS OF SCAN RECORDS DO NOT ENTER THE LOG: {reason}"));
                    RETRY_AFTER
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn round(&self, known: &mut Option<Known>) -> Result<(), String> {
        let reading = self.clock.reading();
        if !is_auditable(&**self.log.store()) {
            return Ok(());
        }
        if reading.trust != ClockTrust::Trusted {
            return Err("this server's clock stepped back".into());
        }
        let today = day_of(reading.now.0).map_err(|error| error.to_string())?;
        let known = match known {
            Some(known) => known,
            None => known.insert(self.know(today).await?),
        };
        let store = &**self.log.store();
        // Another revocation service may have appended digests since the last round.
        known.read = read_digests(store, known.read, &mut known.recorded).await?.up_to;
        // Verifiers write to yesterday, today and tomorrow, because their clocks may differ.
        for day in known.first_open..=today + 1 {
            for stream in RecordStream::ALL {
                self.record(known, (day, stream)).await?;
            }
        }
        known.first_open = known.first_open.max(today.saturating_sub(1));
        known.recorded.retain(|(day, _), _| *day >= known.first_open);
        Ok(())
    }

    /// Appends the digests of one stream of a day, until all its batches have one.
    async fn record(&self, known: &mut Known, (day, stream): (u32, RecordStream)) -> Result<(), String> {
        loop {
            let last = known.recorded.get(&(day, stream.writer())).copied().unwrap_or(0);
            let mut batches = Vec::new();
            let mut after = last;
            while batches.len() < MOST_BATCHES {
                let next = known.records.after(day, stream, after).await;
                let Some(next) = next.map_err(|error| error.to_string())? else {
                    break;
                };
                after = last_of(&next);
                batches.push(next);
            }
            let Some(first) = batches.first() else {
                return Ok(());
            };
            let by = (ACTOR, command_id(first));
            let now = Timestamp(self.clock.now().0);
            // If another service appended the digests first, those are returned, and the rest follows.
            for event in append(&self.log, batches, by, now).await? {
                note(&event, &mut known.recorded);
            }
        }
    }

    /// Learns from the log which batches have digests. The newest digest tells which days are complete, because a round
    /// begins with the earliest day that may get further batches.
    async fn know(&self, today: u32) -> Result<Known, String> {
        let records = SealedRecords::open(self.config.as_ref()?).await;
        let records = records.map_err(|error| error.to_string())?;
        let store = &**self.log.store();
        let tail = store.bucket_tail(digests_bucket(store)).await;
        let tail = tail.map_err(|error| error.to_string())?.revision.to_raw();
        let oldest = today.saturating_sub(u32::from(self.retention_days));
        let mut count = FIRST_READ;
        loop {
            let from = Revision::from_raw(tail.saturating_sub(count));
            let mut recorded = BTreeMap::new();
            let Read { up_to, since } = read_digests(store, from, &mut recorded).await?;
            let newest = recorded.keys().next_back().map_or(oldest, |(day, _)| *day);
            let first_open = newest.saturating_sub(1).max(oldest);
            // A day's first digest is at most a day older than the day, because verifiers' clocks may differ.
            let reaches = since.is_some_and(|since| since < (i64::from(first_open) - 1) * DAY_SECONDS);
            if from == Revision::EMPTY || reaches {
                return Ok(Known {
                    records,
                    read: up_to,
                    recorded,
                    first_open,
                });
            }
            count = count.saturating_mul(2);
        }
    }
}

/// What was read of the bucket of digests.
struct Read {
    up_to: Revision,
    /// The time of the first commit.
    since: Option<i64>,
}

/// Reads the digests after a revision.
async fn read_digests(
    store: &dyn EventStore,
    after: Revision,
    recorded: &mut BTreeMap<Source, u64>,
) -> Result<Read, String> {
    let commits = store.read_bucket(digests_bucket(store), after).await;
    let commits = commits.map_err(|error| error.to_string())?;
    let (stream, mut up_to) = (scan_batches_stream(), after);
    for commit in &commits {
        up_to = commit.revision;
        if commit.commit.stream == stream {
            for event in events_of(commit).map_err(|error| error.to_string())? {
                note(&event, recorded);
            }
        }
    }
    let since = commits.first().map(|commit| commit.commit.decided_at);
    Ok(Read { up_to, since })
}

/// Notes which batches have digests.
fn note(event: &Event, recorded: &mut BTreeMap<Source, u64>) {
    let Event::ScanBatchesSealed(sealed) = event else {
        return;
    };
    for batches in &sealed.batches {
        let last = recorded.entry((batches.day, batches.writer)).or_default();
        *last = last_of(batches).max(*last);
    }
}

fn last_of(batches: &ScanBatches) -> u64 {
    batches.first.saturating_add(u64::from(batches.count)).saturating_sub(1)
}

/// All services append the digests that begin with the same batch by the same command, so that the log has them once.
fn command_id(first: &ScanBatches) -> CommandId {
    let mut id = [0; 16];
    id[..4].copy_from_slice(&first.day.to_be_bytes());
    // The ids of the two streams of a day differ in their last bytes.
    id[4..8].copy_from_slice(&first.writer.0[4..]);
    id[8..].copy_from_slice(&first.first.to_be_bytes());
    CommandId(id)
}

fn digests_bucket(store: &dyn EventStore) -> BucketId {
    store.layout().bucket_of(&scan_batches_stream())
}
