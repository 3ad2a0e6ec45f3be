//! The store that callers hold.

use std::sync::Arc;

use async_trait::async_trait;
use citycode_event_store::{
    AppendError, AppendOutcome, BucketId, BucketTail, EventStore, ForeignMessage, Layout, LogId, LogPosition,
    NewCommit, Partition, Position, RaiseError, ReadError, ReaderVersion, RecordedCommit, Revision, Sequence,
    Subscription, SubscriptionError,
};
use tokio::sync::mpsc::UnboundedSender;

use crate::log_client::LogClient;
use crate::{Config, OpenError, ProbeAnswers, minimum_reader, open, subscription};

/// A log on JetStream, for any number of processes. Wrap it in an `Arc` to share it.
///
/// Dropping it closes the connection once the last subscription is gone; appends under way are then unknown.
pub struct JetStreamEventStore {
    log: Arc<LogClient>,
}

impl JetStreamEventStore {
    /// Connects and makes sure of everything that can be known: identity, layout, versions, the settings of every
    /// stream, that no partition ends before what the caller saw, and that the servers flush before they
    /// acknowledge. Waits up to 15 s a question for servers that elect a leader; a caller that starts before the
    /// servers do tries again when [`OpenError::may_pass`] says so.
    pub async fn open(config: &Config) -> Result<Self, OpenError> {
        let log = open::open(config).await?;
        minimum_reader::keep_looking(&log);
        Ok(Self { log })
    }

    /// Why this client stopped for good, if it did: the log is not the one that it knew.
    #[must_use]
    pub fn stopped(&self) -> Option<String> {
        self.log.stopped()
    }

    /// Answers the questions of readers who prove that they are fresh, for as long as it is polled: a writer's duty.
    /// Reads this client's subscription to know who else has answered, so the log must be followed. Gives the reason
    /// where the servers do not let it listen.
    pub async fn answer_probes(&self, answers: ProbeAnswers) -> String {
        self.log.answer_probes(answers).await
    }
}

#[async_trait]
impl EventStore for JetStreamEventStore {
    fn log_id(&self) -> LogId {
        self.log.manifest.log_id
    }

    fn layout(&self) -> Layout {
        self.log.manifest.layout
    }

    fn minimum_reader(&self) -> ReaderVersion {
        self.log.minimum_reader.get()
    }

    /// Changes the metadata of the log's streams, for which the credential must have `STREAM.UPDATE` of each: of those
    /// that `citycode secrets` makes, `provision` has it.
    async fn raise_minimum_reader(&self, to: ReaderVersion) -> Result<ReaderVersion, RaiseError> {
        minimum_reader::raise(&self.log, to).await
    }

    async fn append_at(&self, commit: NewCommit, expected: BucketTail) -> Result<AppendOutcome, AppendError> {
        self.log.append(commit, expected).await
    }

    async fn append_many(&self, appends: Vec<(NewCommit, BucketTail)>) -> Vec<Result<AppendOutcome, AppendError>> {
        self.log.append_many(appends).await
    }

    async fn append_foreign(
        &self,
        bucket: BucketId,
        message: ForeignMessage,
        expected: BucketTail,
    ) -> Result<AppendOutcome, AppendError> {
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

    async fn head(&self, partition: Partition) -> Result<Sequence, ReadError> {
        self.log.head(partition).await
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
        subscription::subscribe(&self.log, from).await
    }
}
