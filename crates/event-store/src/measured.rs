//! A wrapper of the log that measures the duration and outcome of each append.
//!
//! It wraps any engine, so that both are measured alike. A retry after an unknown outcome is measured as a separate
//! append. Reads are not measured. The crate reads no clock, so the caller passes one in.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use metrics::Histogram;
use tokio::sync::mpsc::UnboundedSender;

use crate::{
    AppendError, AppendOutcome, BucketId, BucketTail, EventStore, ForeignMessage, Layout, LogId, LogPosition,
    NewCommit, Partition, Position, RaiseError, ReadError, ReaderVersion, RecordedCommit, Revision, Sequence,
    Subscription, SubscriptionError,
};

type Answer = Result<AppendOutcome, AppendError>;

/// A log whose appends are measured: `citycode_log_append_seconds`, in seconds, by `outcome`.
pub struct MeasuredLog<C> {
    log: Arc<dyn EventStore>,
    /// The time since a fixed moment; it never goes back.
    monotonic: C,
    histograms: Histograms,
}

/// One histogram for each outcome of an append.
struct Histograms {
    appended: Histogram,
    conflict: Histogram,
    unknown: Histogram,
    failed: Histogram,
}

impl Histograms {
    fn registered() -> Self {
        let of = |outcome: &'static str| metrics::histogram!("citycode_log_append_seconds", "outcome" => outcome);
        Self {
            appended: of("appended"),
            conflict: of("conflict"),
            unknown: of("unknown"),
            failed: of("failed"),
        }
    }

    fn record(&self, answer: &Answer, took: Duration) {
        let histogram = match answer {
            Ok(AppendOutcome::Appended { .. }) => &self.appended,
            Ok(AppendOutcome::WrongExpectedVersion { .. }) => &self.conflict,
            Ok(AppendOutcome::Unknown) => &self.unknown,
            Err(_) => &self.failed,
        };
        histogram.record(took.as_secs_f64());
    }
}

impl<C: Fn() -> Duration + Send + Sync> MeasuredLog<C> {
    /// Wraps this log. `monotonic` is the time since a fixed moment and never goes back. The metrics recorder must be
    /// installed before.
    pub fn new(log: Arc<dyn EventStore>, monotonic: C) -> Self {
        Self {
            log,
            monotonic,
            histograms: Histograms::registered(),
        }
    }
}

#[async_trait]
impl<C: Fn() -> Duration + Send + Sync + 'static> EventStore for MeasuredLog<C> {
    fn log_id(&self) -> LogId {
        self.log.log_id()
    }

    fn parts_log_id(&self) -> LogId {
        self.log.parts_log_id()
    }

    fn layout(&self) -> Layout {
        self.log.layout()
    }

    fn minimum_reader(&self) -> ReaderVersion {
        self.log.minimum_reader()
    }

    async fn raise_minimum_reader(&self, to: ReaderVersion) -> Result<ReaderVersion, RaiseError> {
        self.log.raise_minimum_reader(to).await
    }

    async fn append_at(&self, commit: NewCommit, expected: BucketTail) -> Answer {
        let start = (self.monotonic)();
        let answer = self.log.append_at(commit, expected).await;
        self.histograms
            .record(&answer, (self.monotonic)().saturating_sub(start));
        answer
    }

    async fn append_many(&self, appends: Vec<(NewCommit, BucketTail)>) -> Vec<Answer> {
        let start = (self.monotonic)();
        let answers = self.log.append_many(appends).await;
        // They are answered together, so each took as long as the whole call.
        let took = (self.monotonic)().saturating_sub(start);
        answers.iter().for_each(|answer| self.histograms.record(answer, took));
        answers
    }

    async fn append_foreign(&self, bucket: BucketId, message: ForeignMessage, expected: BucketTail) -> Answer {
        self.log.append_foreign(bucket, message, expected).await
    }

    async fn read_at(&self, position: Position) -> Result<Option<RecordedCommit>, ReadError> {
        self.log.read_at(position).await
    }

    async fn read_bucket(&self, bucket: BucketId, after: Revision) -> Result<Vec<RecordedCommit>, ReadError> {
        self.log.read_bucket(bucket, after).await
    }

    async fn bucket_tail(&self, bucket: BucketId) -> Result<BucketTail, ReadError> {
        self.log.bucket_tail(bucket).await
    }

    async fn heads(&self) -> Result<LogPosition, ReadError> {
        self.log.heads().await
    }

    async fn proved_heads(&self) -> Result<LogPosition, ReadError> {
        self.log.proved_heads().await
    }

    async fn prove_heads(&self, proved: UnboundedSender<Position>) -> Result<(), ReadError> {
        self.log.prove_heads(proved).await
    }

    async fn subscribe_to_all(&self, from: LogPosition) -> Result<Subscription, SubscriptionError> {
        self.log.subscribe_to_all(from).await
    }

    async fn head(&self, partition: Partition) -> Result<Sequence, ReadError> {
        self.log.head(partition).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use metrics::HistogramFn;
    use parking_lot::Mutex;

    use super::*;
    use crate::StreamName;
    use crate::conformance::sample_commit;
    use crate::memory::{AppendFault, MemoryEventStore};

    /// The recorded values, in seconds.
    #[derive(Default)]
    struct Recorded(Mutex<Vec<f64>>);

    impl HistogramFn for Recorded {
        fn record(&self, value: f64) {
            self.0.lock().push(value);
        }
    }

    fn commit(number: u64) -> NewCommit {
        sample_commit(StreamName::new("keys").unwrap(), number, "")
    }

    #[tokio::test]
    async fn each_append_is_recorded_once_with_its_outcome_and_duration() {
        let memory = Arc::new(MemoryEventStore::new(LogId([1; 16]), Layout::default()));
        let outcomes: [Arc<Recorded>; 4] = Default::default();
        let [appended, conflict, unknown, failed] = outcomes.clone().map(Histogram::from_arc);
        let seconds = AtomicU64::new(0);
        let log = MeasuredLog {
            log: memory.clone(),
            // Every reading is a second after the last one.
            monotonic: move || Duration::from_secs(seconds.fetch_add(1, Ordering::Relaxed)),
            histograms: Histograms {
                appended,
                conflict,
                unknown,
                failed,
            },
        };
        let recorded = || outcomes.each_ref().map(|outcome| outcome.0.lock().clone());
        log.append_at(commit(1), BucketTail::EMPTY).await.unwrap();
        assert_eq!(recorded(), [vec![1.0], vec![], vec![], vec![]]);
        log.append_many(vec![(commit(2), BucketTail::EMPTY), (commit(3), BucketTail::EMPTY)])
            .await;
        assert_eq!(recorded(), [vec![1.0], vec![1.0; 2], vec![], vec![]]);
        let tail = log
            .bucket_tail(log.layout().bucket_of(&commit(1).stream))
            .await
            .unwrap();
        for fault in [AppendFault::LostAndUnknown, AppendFault::Unavailable] {
            memory.fail_next_append(fault);
            let _ = log.append_at(commit(4), tail).await;
        }
        assert_eq!(recorded(), [vec![1.0], vec![1.0; 2], vec![1.0], vec![1.0]]);
    }
}
