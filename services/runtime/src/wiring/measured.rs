//! A wrapper of the log that measures the duration and outcome of each append.
//!
//! It wraps any engine, so that both are measured alike. A retry after an unknown outcome is measured as a separate
//! append. Reads are not measured.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use citycode_event_store::{
    AppendError, AppendOutcome, BucketId, BucketTail, EventStore, ForeignMessage, Layout, LogId, LogPosition,
    NewCommit, Partition, Position, RaiseError, ReadError, ReaderVersion, RecordedCommit, Revision, Sequence,
    Subscription, SubscriptionError,
};
use citycode_service_kit::clock::Clock;
use metrics::Histogram;
use tokio::sync::mpsc::UnboundedSender;

type Answer = Result<AppendOutcome, AppendError>;

/// A log whose appends are measured.
pub(crate) struct MeasuredLog {
    log: Arc<dyn EventStore>,
    clock: Arc<dyn Clock>,
    appended: Histogram,
    conflict: Histogram,
    unknown: Histogram,
    failed: Histogram,
}

impl MeasuredLog {
    /// Wraps this log. The metrics recorder must be installed before.
    pub(crate) fn around(log: Arc<dyn EventStore>, clock: &Arc<dyn Clock>) -> Arc<dyn EventStore> {
        let of = |outcome: &'static str| metrics::histogram!("citycode_log_append_seconds", "outcome" => outcome);
        Arc::new(Self {
            log,
            clock: Arc::clone(clock),
            appended: of("appended"),
            conflict: of("conflict"),
            unknown: of("unknown"),
            failed: of("failed"),
        })
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

#[async_trait]
impl EventStore for MeasuredLog {
    fn log_id(&self) -> LogId {
        self.log.log_id()
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
        let start = self.clock.monotonic();
        let answer = self.log.append_at(commit, expected).await;
        self.record(&answer, self.clock.monotonic().saturating_sub(start));
        answer
    }

    async fn append_many(&self, appends: Vec<(NewCommit, BucketTail)>) -> Vec<Answer> {
        let start = self.clock.monotonic();
        let answers = self.log.append_many(appends).await;
        // They are answered together, so each took as long as the whole call.
        let took = self.clock.monotonic().saturating_sub(start);
        answers.iter().for_each(|answer| self.record(answer, took));
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
