//! Puts digests of the stream of queries into the log, by which a query that is removed, changed or moved later is found
//! (decision 41).
//!
//! The log says which queries have a digest, so the task needs no state. Any number of issuers may run it at once: digests
//! that overlap are both true.

use std::sync::Arc;
use std::time::Duration;

use citycode_domain::event::{Event, QueriesSealed};
use citycode_domain::ids::CommandId;
use citycode_domain::time::Timestamp;
use citycode_event_store::Revision;
use citycode_holder_log::{Begun, CommandContext, HolderLog, is_auditable};
use citycode_log_folds::{events_of, query_digests_stream};
use citycode_query_stream::Queries;
use citycode_service_kit::clock::{Clock, ClockTrust};
use citycode_service_kit::repeated::Repeated;

use super::report_digests;

/// Pause between two rounds; a digest must enter the log within a minute.
const ROUND_EVERY: Duration = Duration::from_secs(20);
/// Pause after a failed round.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// Commits of the bucket that are read first to find the last digest.
const FIRST_READ: u64 = 64;
/// The caller and actor of these commits.
const ACTOR: &str = "issuer";

/// Appends the digests of a stream of queries to the log.
pub(crate) struct QueryDigests {
    pub(crate) queries: Arc<Queries>,
    pub(crate) log: Arc<HolderLog>,
    pub(crate) clock: Arc<dyn Clock>,
}

/// What the log says of digests.
#[derive(Clone, Copy)]
struct Known {
    /// Up to where the bucket of digests was read.
    read: Revision,
    /// The sequence after the last record under the last digest, from 1.
    next: u64,
}

impl QueryDigests {
    /// Runs forever; a failed round is repeated.
    pub(crate) async fn keep_recording(self) {
        let mut known = None;
        let repeated = Repeated::default();
        loop {
            let outcome = self.round(&mut known).await;
            report_digests("queries", outcome.is_ok());
            let pause = match outcome {
                Ok(()) => {
                    repeated.over();
                    ROUND_EVERY
                }
                Err(reason) => {
                    if let Some(unreported) = repeated.failed(&reason, self.clock.monotonic()) {
                        tracing::error!(reason, unreported, "digests of queries are not in the log yet");
                    }
                    RETRY_AFTER
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Appends the digests of all records that have none.
    async fn round(&self, known: &mut Option<Known>) -> Result<(), String> {
        let reading = self.clock.reading();
        if !is_auditable(&**self.log.store()) {
            return Ok(());
        }
        if reading.trust != ClockTrust::Trusted {
            return Err("this server's clock stepped back".into());
        }
        let known = match known {
            Some(known) => known,
            None => known.insert(self.know().await?),
        };
        // Another issuer may have appended digests since the last round.
        if let (read, Some(next)) = self.last_digest(known.read).await? {
            *known = Known { read, next };
        }
        if let Some(next) = self.restored(known.next).await? {
            tracing::error!(
                first = next,
                sealed = known.next - 1,
                "QUERIES ARE MISSING: the stream of queries ends before records whose digests are in the log; see citycode log check"
            );
            known.next = next;
        }
        while let Some(sealed) = self.digest_from(known.next).await? {
            self.append(sealed, Timestamp(reading.now.0)).await?;
            known.next = sealed.first + u64::from(sealed.count);
        }
        Ok(())
    }

    async fn digest_from(&self, next: u64) -> Result<Option<QueriesSealed>, String> {
        let digest = self.queries.digest_from(next).await;
        digest.map_err(|error| error.to_string())
    }

    async fn append(&self, sealed: QueriesSealed, now: Timestamp) -> Result<(), String> {
        let context = CommandContext {
            caller: ACTOR.into(),
            // The same records have the same digest, so that the log has it once.
            command_id: CommandId(*sealed.digest.first_chunk().expect("32 bytes")),
            request_digest: [0; 32],
            actor: ACTOR.into(),
            trace_context: None,
            now,
            begun: Begun::default(),
        };
        let decide = || Ok::<_, std::convert::Infallible>(vec![Event::QueriesSealed(sealed)]);
        let appended = self.log.execute_system(query_digests_stream(), &context, decide).await;
        appended.map(drop).map_err(|error| error.to_string())
    }

    /// Where the stream continues if it was restored to an earlier state: then new records have sequences that digests of
    /// lost ones name, and need digests of their own.
    async fn restored(&self, next: u64) -> Result<Option<u64>, String> {
        let is_present = async |sequence| {
            let present = self.queries.has_from(sequence).await;
            present.map_err(|error| error.to_string())
        };
        if next == 1 || is_present(next - 1).await? {
            return Ok(None);
        }
        // The record `end` is missing, and so are all later ones; those before `begin` are present, or lie in a gap.
        let (mut begin, mut end) = (1, next - 1);
        while begin < end {
            let middle = begin + (end - begin) / 2;
            if is_present(middle).await? {
                begin = middle + 1;
            } else {
                end = middle;
            }
        }
        Ok(Some(begin))
    }

    /// Learns from the end of the bucket of digests up to where queries have one.
    async fn know(&self) -> Result<Known, String> {
        let store = self.log.store();
        let bucket = store.layout().bucket_of(&query_digests_stream());
        let tail = store.bucket_tail(bucket).await.map_err(|error| error.to_string())?;
        let mut count = FIRST_READ;
        loop {
            let from = Revision::from_raw(tail.revision.to_raw().saturating_sub(count));
            let (read, next) = self.last_digest(from).await?;
            if next.is_some() || from == Revision::EMPTY {
                let next = next.unwrap_or(1);
                return Ok(Known { read, next });
            }
            count = count.saturating_mul(8);
        }
    }

    /// Reads the bucket of digests after a revision: up to where, and the sequence after the last digest's records.
    async fn last_digest(&self, after: Revision) -> Result<(Revision, Option<u64>), String> {
        let (store, stream) = (self.log.store(), query_digests_stream());
        let commits = store.read_bucket(store.layout().bucket_of(&stream), after).await;
        let (mut read, mut next) = (after, None);
        for commit in commits.map_err(|error| error.to_string())? {
            read = commit.revision;
            if commit.commit.stream != stream {
                continue;
            }
            for event in events_of(&commit).map_err(|error| error.to_string())? {
                if let Event::QueriesSealed(sealed) = event {
                    next = Some(sealed.first.saturating_add(u64::from(sealed.count)));
                }
            }
        }
        Ok((read, next))
    }
}
