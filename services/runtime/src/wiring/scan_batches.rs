//! Puts the digests of sealed scan records into the log, by which a later change of the records is detected.

use std::sync::Arc;
use std::time::Duration;

use citycode_domain::event::{Event, ScanBatches, ScanBatchesSealed};
use citycode_domain::ids::CommandId;
use citycode_domain::time::Timestamp;
use citycode_holder_log::{Begun, CommandContext, HolderLog, is_auditable};
use citycode_log_folds::scan_batches_stream;
use citycode_scan_records::embedded::EmbeddedScanRecords;
use citycode_service_kit::clock::ClockTrust;
use citycode_service_kit::entropy::Draw as _;
use citycode_service_kit::repeated::Repeated;

use super::{Environment, report_digests};

/// Interval of commits; a digest must enter the log within a minute.
const RECORD_EVERY: Duration = Duration::from_secs(20);
/// Most entries of one event.
pub(crate) const MOST_BATCHES: usize = 4_096;
/// The caller and actor of these commits.
const ACTOR: &str = "verifier";

/// Appends the digests of one process's records to the log.
pub(crate) struct BatchRecorder {
    pub(crate) records: Arc<EmbeddedScanRecords>,
    pub(crate) log: Arc<HolderLog>,
    pub(crate) environment: Environment,
}

impl BatchRecorder {
    /// Appends what was sealed since the last time, until the future is dropped.
    pub(crate) async fn keep_recording(self: Arc<Self>) {
        let mut tick = tokio::time::interval(RECORD_EVERY);
        let repeated = Repeated::default();
        loop {
            tick.tick().await;
            let outcome = self.record().await;
            report_digests("scans", outcome.is_ok());
            match outcome {
                Ok(()) => repeated.over(),
                Err(error) => {
                    let now = self.environment.clock.monotonic();
                    if let Some(unreported) = repeated.failed(&error, now) {
                        tracing::error!(error, unreported, "digests of scan records are not in the log yet");
                    }
                }
            }
        }
    }

    /// Appends the digests of all batches that are not in the log. A crash between the append and the mark leaves
    /// batches that are appended again, which changes nothing for a reader.
    ///
    /// # Errors
    /// A sentence; the next call repeats what was not appended.
    pub(crate) async fn record(&self) -> Result<(), String> {
        let reading = self.environment.clock.reading();
        if !is_auditable(&**self.log.store()) {
            return Ok(());
        }
        if reading.trust != ClockTrust::Trusted {
            return Err("this server's clock stepped back".into());
        }
        let records = Arc::clone(&self.records);
        let batches = blocking(move || records.unrecorded()).await?;
        if batches.is_empty() {
            return Ok(());
        }
        for batches in batches.chunks(MOST_BATCHES) {
            self.append(batches.to_vec(), Timestamp(reading.now.0)).await?;
        }
        let records = Arc::clone(&self.records);
        blocking(move || records.mark_recorded(&batches)).await
    }

    async fn append(&self, batches: Vec<ScanBatches>, now: Timestamp) -> Result<(), String> {
        let by = (ACTOR, CommandId(self.environment.entropy.array()));
        append(&self.log, batches, by, now).await.map(drop)
    }
}

/// Appends the digests of batches, at most [`MOST_BATCHES`]. Returns the events of the log: those of an earlier command
/// with the same actor and id if there was one.
///
/// # Errors
/// A sentence; whether the digests were appended may be unknown, and the call may be repeated.
pub(crate) async fn append(
    log: &HolderLog,
    batches: Vec<ScanBatches>,
    (actor, command_id): (&str, CommandId),
    now: Timestamp,
) -> Result<Vec<Event>, String> {
    let event = Event::ScanBatchesSealed(ScanBatchesSealed { batches });
    let context = CommandContext {
        caller: actor.into(),
        command_id,
        request_digest: [0; 32],
        actor: actor.into(),
        trace_context: None,
        now,
        begun: Begun::default(),
    };
    let decide = || Ok::<_, std::convert::Infallible>(vec![event.clone()]);
    let appended = log.execute_system(scan_batches_stream(), &context, decide).await;
    appended
        .map(|executed| executed.events)
        .map_err(|error| error.to_string())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, citycode_scan_records::RecordsError> + Send + 'static,
) -> Result<T, String> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| error.to_string())?
        .map_err(|error| error.to_string())
}
