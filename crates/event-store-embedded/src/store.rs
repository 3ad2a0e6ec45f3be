//! [`EmbeddedEventStore`], the public type of this engine.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;

use async_trait::async_trait;
use citycode_event_store::live::{self, History, LIVE_BATCHES, LiveBatch};
use citycode_event_store::{
    AppendError, AppendOutcome, BucketId, BucketTail, EventStore, ForeignMessage, Layout, LogId, LogPosition,
    NewCommit, Partition, Position, RaiseError, ReadError, ReaderVersion, RecordedCommit, Revision, Sequence,
    Subscription, SubscriptionError, codec, foreign,
};
use parking_lot::{Mutex, RwLock};
use redb::{Database, StorageBackend};
use std::collections::HashMap;
use tokio::sync::{broadcast, mpsc, oneshot};

use crate::guarded_file::FileHealth;
use crate::manifest::Manifest;
use crate::open::{self, Opened};
use crate::snapshot::Snapshot;
use crate::tails::Tails;
use crate::writer::{Answer, Job, Writer};
use crate::{Config, OpenError};

/// Calls that may wait for the writer: more than any service has in flight, and a limit on memory.
const QUEUE_CALLS: usize = 4_096;
/// Most commits that one call sends to the writer at once; a longer list is split.
const GROUP_COMMITS: usize = 1_024;

/// The state that the writer, the callers and the subscriptions share.
pub(crate) struct Shared {
    folder: PathBuf,
    log_id: LogId,
    /// The lost log in whose place the log was created.
    replaces: Option<LogId>,
    pub(crate) layout: Layout,
    minimum_reader: AtomicU32,
    /// Serialises changes of the minimum reader version.
    raising: Mutex<()>,
    pub(crate) health: Arc<FileHealth>,
    pub(crate) tails: Mutex<Tails>,
    poisoned: Mutex<Option<String>>,
    /// `None` once closed.
    open: RwLock<Option<OpenLog>>,
}

/// The snapshot precedes the database, because its transaction must end first.
struct OpenLog {
    snapshot: Arc<Snapshot>,
    live: broadcast::Sender<LiveBatch>,
    database: Database,
    _lock: File,
}

impl Shared {
    pub(crate) fn snapshot(&self) -> Result<Arc<Snapshot>, ReadError> {
        self.open
            .read()
            .as_ref()
            .map(|open| Arc::clone(&open.snapshot))
            .ok_or(ReadError::Closed)
    }

    pub(crate) fn durable_heads(&self) -> LogPosition {
        let start = || LogPosition::start(self.layout.partitions());
        self.open
            .read()
            .as_ref()
            .map_or_else(start, |open| open.snapshot.heads.clone())
    }

    /// The durable tail of a bucket. The first call after opening reads the bucket's last commit.
    pub(crate) fn tail(&self, bucket: BucketId) -> Result<BucketTail, ReadError> {
        let revision = {
            let tails = self.tails.lock();
            if let Some(tail) = tails.known(bucket) {
                return Ok(tail);
            }
            tails.revision(bucket)
        };
        let tail = self.snapshot()?.tail_at(bucket, revision)?;
        self.tails.lock().set_hash(bucket, revision, tail.hash);
        Ok(tail)
    }

    pub(crate) fn begin_write(&self) -> Result<redb::WriteTransaction, redb::Error> {
        let open = self.open.read();
        let open = open.as_ref().ok_or(redb::Error::DatabaseClosed)?;
        Ok(open.database.begin_write()?)
    }

    pub(crate) fn take_snapshot(&self, heads: LogPosition) -> Result<Snapshot, redb::Error> {
        let open = self.open.read();
        let open = open.as_ref().ok_or(redb::Error::DatabaseClosed)?;
        Snapshot::take(&open.database, heads, self.layout)
    }

    /// Publishes the snapshot before the new tails, so that readers can read every tail's commit.
    pub(crate) fn publish(&self, snapshot: Snapshot, changed: &HashMap<BucketId, BucketTail>) {
        if let Some(open) = self.open.write().as_mut() {
            open.snapshot = Arc::new(snapshot);
        }
        let mut tails = self.tails.lock();
        for (bucket, tail) in changed {
            tails.set(*bucket, tail.revision, tail.hash);
        }
    }

    pub(crate) fn push_live(&self, batch: LiveBatch) {
        if let Some(open) = self.open.read().as_ref() {
            // An error means only that there is no subscriber.
            let _ = open.live.send(batch);
        }
    }

    pub(crate) fn poison(&self, reason: String) {
        *self.poisoned.lock() = Some(reason);
    }

    /// An append as a job for the writer. Encoding and hashing happen here, on the callers' threads; the writer only
    /// compares and copies.
    fn job(&self, commit: NewCommit, expected: BucketTail) -> Result<(Job, oneshot::Receiver<Answer>), AppendError> {
        self.layout.check(&commit.stream)?;
        let (bytes, hash) = codec::encode(&commit, &expected.hash)?;
        let bucket = self.layout.bucket_of(&commit.stream);
        let (answer, answered) = oneshot::channel();
        Ok((
            Job {
                commit,
                bucket,
                expected,
                bytes,
                hash,
                foreign: None,
                answer,
            },
            answered,
        ))
    }

    /// A placeholder as a job for the writer.
    fn foreign_job(
        &self,
        bucket: BucketId,
        message: ForeignMessage,
        expected: BucketTail,
    ) -> Result<(Job, oneshot::Receiver<Answer>), AppendError> {
        self.check(bucket)?;
        let (answer, answered) = oneshot::channel();
        let position = Position {
            partition: bucket.partition,
            sequence: Sequence::START,
        };
        let recorded = RecordedCommit::of_foreign(position, bucket, message.clone());
        let job = Job {
            bytes: foreign::encode_placeholder(bucket.bucket, &message),
            hash: foreign::tail_after(&self.layout, &recorded, expected.hash),
            commit: recorded.commit,
            bucket,
            expected,
            foreign: Some(message),
            answer,
        };
        Ok((job, answered))
    }

    /// The reason why the queue is closed.
    fn closed_reason(&self) -> AppendError {
        self.poisoned
            .lock()
            .clone()
            .map_or(AppendError::Closed, AppendError::Unavailable)
    }

    /// Replaces the manifest; [`Shared::minimum_reader`] changes only once that is durable. After a crash the manifest
    /// is the old or the new one, and the caller repeats the call at the next start.
    fn raise_minimum_reader(&self, to: ReaderVersion) -> Result<ReaderVersion, RaiseError> {
        RaiseError::check(to)?;
        // The read lock prevents closing, which would unlock the folder.
        let open = self.open.read();
        if open.is_none() {
            return Err(RaiseError::Closed);
        }
        let _raising = self.raising.lock();
        if to > self.minimum_reader() {
            let raised = Manifest {
                log_id: self.log_id,
                replaces: self.replaces,
                layout: self.layout,
                minimum_reader: to,
            };
            let written = raised.write(&self.folder);
            written.map_err(|error| RaiseError::Unavailable(error.to_string()))?;
            self.minimum_reader.store(to.0, Ordering::Release);
        }
        Ok(self.minimum_reader())
    }

    fn minimum_reader(&self) -> ReaderVersion {
        ReaderVersion(self.minimum_reader.load(Ordering::Acquire))
    }

    fn check(&self, bucket: BucketId) -> Result<(), ReadError> {
        if self.layout.contains(bucket) {
            Ok(())
        } else {
            Err(ReadError::NotInLayout)
        }
    }
}

impl History for Shared {
    fn heads(&self) -> Result<LogPosition, ReadError> {
        Ok(self.snapshot()?.heads.clone())
    }

    fn read_range(
        &self,
        partition: Partition,
        after: Sequence,
        up_to: Sequence,
    ) -> Result<Vec<Arc<RecordedCommit>>, ReadError> {
        self.snapshot()?.read_range(partition, after, up_to)
    }

    fn live(&self) -> Result<broadcast::Receiver<LiveBatch>, ReadError> {
        self.open
            .read()
            .as_ref()
            .map(|open| open.live.subscribe())
            .ok_or(ReadError::Closed)
    }
}

/// A log in a local folder, for one process. Wrap it in an `Arc` to share it.
///
/// Dropping it completes the queued appends, closes the log and unlocks the folder, and blocks its thread meanwhile;
/// [`EmbeddedEventStore::close`] does the same explicitly. Subscriptions then end with [`ReadError::Closed`].
pub struct EmbeddedEventStore {
    shared: Arc<Shared>,
    queue: Option<mpsc::Sender<Vec<Job>>>,
    writer: Option<JoinHandle<()>>,
}

impl EmbeddedEventStore {
    /// Opens the log in `folder`, or creates it if `config` permits that. Blocks its thread: after a crash redb first
    /// checks its file.
    pub fn open(folder: &Path, config: &Config) -> Result<Self, OpenError> {
        Self::open_with(folder, config, &|file| file)
    }

    /// As [`EmbeddedEventStore::open`], with a layer between the engine and its file through which tests inject faults.
    pub fn open_with(
        folder: &Path,
        config: &Config,
        wrap: &dyn Fn(Box<dyn StorageBackend>) -> Box<dyn StorageBackend>,
    ) -> Result<Self, OpenError> {
        let Opened {
            manifest,
            database,
            health,
            snapshot,
            tails,
            recent,
            checkpoints,
            lock,
        } = open::open(folder, config, wrap)?;
        let (live, _) = broadcast::channel(LIVE_BATCHES);
        let open = OpenLog {
            snapshot: Arc::new(snapshot),
            live,
            database,
            _lock: lock,
        };
        let shared = Arc::new(Shared {
            folder: folder.to_owned(),
            log_id: manifest.log_id,
            replaces: manifest.replaces,
            layout: manifest.layout,
            minimum_reader: AtomicU32::new(manifest.minimum_reader.0),
            raising: Mutex::new(()),
            health,
            tails: Mutex::new(tails),
            poisoned: Mutex::new(None),
            open: RwLock::new(Some(open)),
        });
        let (sender, queue) = mpsc::channel(QUEUE_CALLS);
        let writer = Writer {
            shared: Arc::clone(&shared),
            recent,
            queue,
            checkpoints,
        };
        let writer = std::thread::Builder::new()
            .name("event-log-writer".into())
            .spawn(move || writer.run())?;
        Ok(Self {
            shared,
            queue: Some(sender),
            writer: Some(writer),
        })
    }

    /// Completes the queued appends and unlocks the folder; blocks its thread.
    pub fn close(self) {
        drop(self);
    }

    /// As [`EventStore::raise_minimum_reader`], for a caller without a runtime; blocks its thread.
    ///
    /// # Errors
    /// [`RaiseError`].
    pub fn raise_minimum_reader_now(&self, to: ReaderVersion) -> Result<ReaderVersion, RaiseError> {
        self.shared.raise_minimum_reader(to)
    }

    async fn send(&self, jobs: Vec<Job>) -> Result<(), AppendError> {
        let queue = self.queue.as_ref().ok_or(AppendError::Closed)?;
        queue.send(jobs).await.map_err(|_| self.shared.closed_reason())
    }

    /// Runs a read on a thread that may block.
    async fn blocking<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Shared) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, ReadError> {
        let shared = Arc::clone(&self.shared);
        tokio::task::spawn_blocking(move || read(&shared))
            .await
            .map_err(|_| ReadError::Closed)?
    }
}

impl Drop for EmbeddedEventStore {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the writer thread of the event log panicked");
        }
        self.shared.open.write().take();
    }
}

#[async_trait]
impl EventStore for EmbeddedEventStore {
    fn log_id(&self) -> LogId {
        self.shared.log_id
    }

    fn parts_log_id(&self) -> LogId {
        self.shared.replaces.unwrap_or(self.shared.log_id)
    }

    fn layout(&self) -> Layout {
        self.shared.layout
    }

    fn minimum_reader(&self) -> ReaderVersion {
        self.shared.minimum_reader()
    }

    async fn raise_minimum_reader(&self, to: ReaderVersion) -> Result<ReaderVersion, RaiseError> {
        let shared = Arc::clone(&self.shared);
        tokio::task::spawn_blocking(move || shared.raise_minimum_reader(to))
            .await
            .map_err(|_| RaiseError::Closed)?
    }

    async fn append_at(&self, commit: NewCommit, expected: BucketTail) -> Result<AppendOutcome, AppendError> {
        let (job, answered) = self.shared.job(commit, expected)?;
        self.send(vec![job]).await?;
        // A writer thread that ended without an answer may have written the commit.
        answered.await.unwrap_or(Ok(AppendOutcome::Unknown))
    }

    async fn append_many(&self, appends: Vec<(NewCommit, BucketTail)>) -> Vec<Result<AppendOutcome, AppendError>> {
        let mut waiting = Vec::with_capacity(appends.len());
        let mut appends = appends.into_iter().peekable();
        while appends.peek().is_some() {
            let mut jobs = Vec::with_capacity(GROUP_COMMITS);
            let start = waiting.len();
            for (commit, expected) in appends.by_ref().take(GROUP_COMMITS) {
                waiting.push(self.shared.job(commit, expected).map(|(job, answered)| {
                    jobs.push(job);
                    answered
                }));
            }
            if let Err(error) = self.send(jobs).await {
                for refused in waiting.iter_mut().skip(start).filter(|waiting| waiting.is_ok()) {
                    *refused = Err(error.clone());
                }
            }
        }
        let mut answers = Vec::with_capacity(waiting.len());
        for waiting in waiting {
            answers.push(match waiting {
                Ok(answered) => answered.await.unwrap_or(Ok(AppendOutcome::Unknown)),
                Err(error) => Err(error),
            });
        }
        answers
    }

    async fn append_foreign(
        &self,
        bucket: BucketId,
        message: ForeignMessage,
        expected: BucketTail,
    ) -> Result<AppendOutcome, AppendError> {
        let (job, answered) = self.shared.foreign_job(bucket, message, expected)?;
        self.send(vec![job]).await?;
        let mut answer = answered.await.unwrap_or(Ok(AppendOutcome::Unknown));
        if let Ok(AppendOutcome::Appended { hash, .. }) = &mut answer {
            *hash = expected.hash;
        }
        answer
    }

    async fn read_at(&self, position: Position) -> Result<Option<RecordedCommit>, ReadError> {
        self.blocking(move |shared| shared.snapshot()?.read_at(position)).await
    }

    async fn read_bucket(&self, bucket: BucketId, after: Revision) -> Result<Vec<RecordedCommit>, ReadError> {
        self.shared.check(bucket)?;
        self.blocking(move |shared| {
            // The tail is read first: the snapshot taken afterwards contains its commit.
            let tail = shared.tails.lock().revision(bucket);
            shared.snapshot()?.read_bucket(bucket, tail, after)
        })
        .await
    }

    async fn bucket_tail(&self, bucket: BucketId) -> Result<BucketTail, ReadError> {
        self.shared.check(bucket)?;
        if let Some(tail) = self.shared.tails.lock().known(bucket) {
            return Ok(tail);
        }
        self.blocking(move |shared| shared.tail(bucket)).await
    }

    async fn heads(&self) -> Result<LogPosition, ReadError> {
        History::heads(&*self.shared)
    }

    async fn subscribe_to_all(&self, from: LogPosition) -> Result<Subscription, SubscriptionError> {
        live::subscribe(Arc::clone(&self.shared) as Arc<dyn History>, from)
    }
}
