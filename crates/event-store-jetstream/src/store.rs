//! [`JetStreamEventStore`], the public type of this engine.

use std::sync::Arc;

use async_trait::async_trait;
use citycode_event_store::{
    AppendError, AppendOutcome, BucketId, BucketTail, EventStore, ForeignMessage, Layout, LogId, LogPosition,
    NewCommit, Partition, Position, RaiseError, ReadError, ReaderVersion, RecordedCommit, Revision, Sequence,
    Subscription, SubscriptionError,
};
use tokio::sync::mpsc::UnboundedSender;

use crate::appender::Appender;
use crate::commit_reader::CommitReader;
use crate::connection::LogConnection;
use crate::freshness::Freshness;
use crate::probes::{ProbeIdentity, Probes};
use crate::subscription::Subscriptions;
use crate::{Config, OpenError, ProbeAnswers, minimum_reader, open};

/// A log on JetStream, for any number of processes. Wrap it in an `Arc` to share it.
///
/// Dropping it closes the connection once the last subscription is dropped; the outcome of appends in flight is then
/// unknown.
pub struct JetStreamEventStore {
    connection: Arc<LogConnection>,
    reader: Arc<CommitReader>,
    appender: Arc<Appender>,
    subscriptions: Subscriptions,
    freshness: Freshness,
}

impl JetStreamEventStore {
    /// Connects and verifies everything that can be verified: identity, layout, versions, the settings of every stream,
    /// that no partition ends before what the caller has seen, and that the servers flush before they acknowledge.
    /// Waits up to 15 s for each request while servers elect a leader. If the servers may not be up yet, retry when
    /// [`OpenError::may_pass`] says so.
    pub async fn open(config: &Config) -> Result<Self, OpenError> {
        let connection = open::open(config).await?;
        minimum_reader::watch(&connection);
        Ok(Self::new(config, connection))
    }

    pub(crate) fn new(config: &Config, connection: Arc<LogConnection>) -> Self {
        let identity = ProbeIdentity::of(config, &connection.client().new_inbox());
        let probes = Arc::new(Probes::new(connection.layout().partitions(), identity));
        let reader = Arc::new(CommitReader::new(Arc::clone(&connection)));
        let appender = Arc::new(Appender::new(
            Arc::clone(&connection),
            Arc::clone(&reader),
            Arc::clone(&probes),
        ));
        let subscriptions = Subscriptions::new(Arc::clone(&connection), Arc::clone(&reader), Arc::clone(&probes));
        let freshness = Freshness::new(
            Arc::clone(&connection),
            Arc::clone(&reader),
            Arc::clone(&appender),
            probes,
            config.connection.clone(),
        );
        Self {
            connection,
            reader,
            appender,
            subscriptions,
            freshness,
        }
    }

    /// Why this client stopped permanently, if it did: the log is not the one that it knew.
    #[must_use]
    pub fn stopped(&self) -> Option<String> {
        self.connection.stopped()
    }

    /// Answers readers' freshness probes while it is polled; every writer should do this. It depends on a running
    /// subscription of this store, which shows what other writers have answered. Returns the reason if it must stop,
    /// for example because the servers do not permit the subscription to probes.
    pub async fn answer_probes(&self, answers: ProbeAnswers) -> String {
        self.freshness.answer_probes(answers).await
    }
}

#[async_trait]
impl EventStore for JetStreamEventStore {
    fn log_id(&self) -> LogId {
        self.connection.log_id()
    }

    fn parts_log_id(&self) -> LogId {
        self.connection.parts_log_id()
    }

    fn layout(&self) -> Layout {
        *self.connection.layout()
    }

    fn minimum_reader(&self) -> ReaderVersion {
        self.connection.minimum_reader()
    }

    /// Changes the metadata of the log's streams, for which the credential needs `STREAM.UPDATE` of each. Of the
    /// users that `citycode secrets` creates, only `upgrade` has this permission.
    async fn raise_minimum_reader(&self, to: ReaderVersion) -> Result<ReaderVersion, RaiseError> {
        minimum_reader::raise(&self.connection, to).await
    }

    async fn append_at(&self, commit: NewCommit, expected: BucketTail) -> Result<AppendOutcome, AppendError> {
        self.appender.append(commit, expected).await
    }

    async fn append_many(&self, appends: Vec<(NewCommit, BucketTail)>) -> Vec<Result<AppendOutcome, AppendError>> {
        self.appender.append_many(appends).await
    }

    async fn append_foreign(
        &self,
        bucket: BucketId,
        message: ForeignMessage,
        expected: BucketTail,
    ) -> Result<AppendOutcome, AppendError> {
        self.appender.append_foreign(bucket, message, expected).await
    }

    async fn read_at(&self, position: Position) -> Result<Option<RecordedCommit>, ReadError> {
        self.reader.read_at(position).await
    }

    async fn read_bucket(&self, bucket: BucketId, after: Revision) -> Result<Vec<RecordedCommit>, ReadError> {
        self.reader.read_bucket(bucket, after).await
    }

    async fn bucket_tail(&self, bucket: BucketId) -> Result<BucketTail, ReadError> {
        self.reader.bucket_tail(bucket).await
    }

    async fn head(&self, partition: Partition) -> Result<Sequence, ReadError> {
        self.reader.head(partition).await
    }

    async fn heads(&self) -> Result<LogPosition, ReadError> {
        self.reader.heads().await
    }

    async fn proved_heads(&self) -> Result<LogPosition, ReadError> {
        self.freshness.proved_heads().await
    }

    async fn prove_heads(&self, proved: UnboundedSender<Position>) -> Result<(), ReadError> {
        self.freshness.prove_heads(proved).await
    }

    async fn subscribe_to_all(&self, from: LogPosition) -> Result<Subscription, SubscriptionError> {
        self.subscriptions.start(from).await
    }
}
