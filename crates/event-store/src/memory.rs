//! The in-memory engine, for tests and for data that must not be stored. Tests can inject faults.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::broadcast;
use tokio::sync::mpsc::UnboundedSender;

use crate::live::{self, History, LIVE_BATCHES, LiveBatch};
use crate::{
    AppendError, AppendOutcome, BucketId, BucketTail, CommitHash, EventStore, ForeignMessage, Layout, LogId,
    LogPosition, MessageId, NewCommit, Partition, Position, RaiseError, ReadError, ReaderVersion, RecordedCommit,
    Revision, Sequence, Subscription, SubscriptionError, codec,
};

/// A fault that replaces the success of the next append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendFault {
    /// The commit is written, but the answer is `Unknown`.
    CommittedButUnknown,
    /// The commit is not written, and the answer is `Unknown`.
    LostAndUnknown,
    /// The append is refused as `Unavailable`.
    Unavailable,
}

/// An event store in the memory of this process. Clones share one log.
#[derive(Clone)]
pub struct MemoryEventStore {
    shared: Arc<Shared>,
}

struct Shared {
    log_id: LogId,
    layout: Layout,
    state: Mutex<State>,
}

struct State {
    minimum_reader: ReaderVersion,
    partitions: Vec<Vec<Arc<RecordedCommit>>>,
    buckets: HashMap<BucketId, Vec<Arc<RecordedCommit>>>,
    message_ids: HashMap<MessageId, Arc<RecordedCommit>>,
    faults: VecDeque<AppendFault>,
    /// Partitions whose heads cannot be proved.
    silent: BTreeSet<Partition>,
    live: broadcast::Sender<LiveBatch>,
}

impl MemoryEventStore {
    /// An empty log.
    pub fn new(log_id: LogId, layout: Layout) -> Self {
        Self::with_minimum_reader(log_id, layout, ReaderVersion::CURRENT)
    }

    /// An empty log with this minimum reader version, like one created by an earlier release.
    pub fn with_minimum_reader(log_id: LogId, layout: Layout, minimum_reader: ReaderVersion) -> Self {
        let (live, _) = broadcast::channel(LIVE_BATCHES);
        let state = State {
            minimum_reader,
            partitions: vec![Vec::new(); usize::from(layout.partitions())],
            buckets: HashMap::new(),
            message_ids: HashMap::new(),
            faults: VecDeque::new(),
            silent: BTreeSet::new(),
            live,
        };
        Self {
            shared: Arc::new(Shared {
                log_id,
                layout,
                state: Mutex::new(state),
            }),
        }
    }

    /// From now on, or no longer, the head of this partition cannot be proved, as if the partition had no leader.
    pub fn silence(&self, partition: Partition, silent: bool) {
        let mut state = self.shared.state.lock();
        if silent {
            state.silent.insert(partition);
        } else {
            state.silent.remove(&partition);
        }
    }

    /// Puts a foreign message into a bucket, as another client of the servers could; returns its position.
    pub fn put_foreign(&self, bucket: BucketId, payload: &[u8]) -> Position {
        let message = ForeignMessage::of(payload, "a test put it there");
        let mut state = self.shared.state.lock();
        let position = state.next_position(bucket.partition);
        state.put_foreign(&self.shared.layout, bucket, message);
        position
    }

    /// Queues a fault; each applies to one append that would otherwise have been written.
    pub fn fail_next_append(&self, fault: AppendFault) {
        self.shared.state.lock().faults.push_back(fault);
    }
}

impl State {
    fn tail(&self, layout: &Layout, bucket: BucketId) -> BucketTail {
        let messages = self.buckets.get(&bucket).map_or(&[][..], Vec::as_slice);
        let in_chain = |message: &&Arc<RecordedCommit>| message.foreign.is_none() || layout.is_heartbeat_bucket(bucket);
        let last = messages.iter().rev().find(in_chain);
        BucketTail {
            revision: messages.last().map_or(Revision::EMPTY, |message| message.revision),
            hash: last.map_or(CommitHash::NONE, |commit| commit.hash),
        }
    }

    fn append(
        &mut self,
        layout: &Layout,
        commit: NewCommit,
        expected: BucketTail,
    ) -> Result<AppendOutcome, AppendError> {
        if let Some(known) = self.message_ids.get(&commit.message_id) {
            if known.commit.request_digest != commit.request_digest {
                return Err(AppendError::IdempotencyKeyReused {
                    position: known.position,
                });
            }
            return Ok(appended(known, true));
        }
        let bucket = layout.bucket_of(&commit.stream);
        let tail = self.tail(layout, bucket);
        if tail != expected {
            return Ok(AppendOutcome::WrongExpectedVersion { current: tail.revision });
        }
        let (_, hash) = codec::encode(&commit, &expected.hash)?;
        let fault = self.faults.pop_front();
        match fault {
            Some(AppendFault::LostAndUnknown) => return Ok(AppendOutcome::Unknown),
            Some(AppendFault::Unavailable) => {
                return Err(AppendError::Unavailable("an injected fault".into()));
            }
            Some(AppendFault::CommittedButUnknown) | None => {}
        }
        let position = self.next_position(bucket.partition);
        let recorded = Arc::new(RecordedCommit {
            position,
            bucket,
            revision: Revision::from_raw(position.sequence.0),
            previous_hash: expected.hash,
            hash,
            commit,
            foreign: None,
        });
        self.message_ids
            .insert(recorded.commit.message_id, Arc::clone(&recorded));
        self.store(&recorded);
        let outcome = if fault.is_some() {
            AppendOutcome::Unknown
        } else {
            appended(&recorded, false)
        };
        Ok(outcome)
    }

    fn next_position(&self, partition: Partition) -> Position {
        let messages = self.partitions[usize::from(partition.0)].len();
        let sequence = Sequence(u64::try_from(messages).expect("lengths fit 64 bits")).next();
        Position { partition, sequence }
    }

    fn put_foreign(&mut self, layout: &Layout, bucket: BucketId, message: ForeignMessage) -> AppendOutcome {
        let position = self.next_position(bucket.partition);
        let recorded = Arc::new(RecordedCommit::of_foreign(position, bucket, message));
        self.store(&recorded);
        let BucketTail { revision, hash } = self.tail(layout, bucket);
        AppendOutcome::Appended {
            position,
            revision,
            hash,
            duplicate: false,
        }
    }

    fn store(&mut self, recorded: &Arc<RecordedCommit>) {
        self.partitions[usize::from(recorded.position.partition.0)].push(Arc::clone(recorded));
        self.buckets
            .entry(recorded.bucket)
            .or_default()
            .push(Arc::clone(recorded));
        // An error means only that there is no subscriber.
        let _ = self.live.send(Arc::new(vec![Arc::clone(recorded)]));
    }
}

fn appended(recorded: &RecordedCommit, duplicate: bool) -> AppendOutcome {
    let RecordedCommit {
        position,
        revision,
        hash,
        ..
    } = *recorded;
    AppendOutcome::Appended {
        position,
        revision,
        hash,
        duplicate,
    }
}

impl History for Shared {
    fn heads(&self) -> Result<LogPosition, ReadError> {
        let state = self.state.lock();
        let head = |commits: &Vec<_>| Sequence(u64::try_from(commits.len()).expect("lengths fit 64 bits"));
        Ok(LogPosition::from_sequences(state.partitions.iter().map(head).collect()))
    }

    fn read_range(
        &self,
        partition: Partition,
        after: Sequence,
        up_to: Sequence,
    ) -> Result<Vec<Arc<RecordedCommit>>, ReadError> {
        let state = self.state.lock();
        let commits = state
            .partitions
            .get(usize::from(partition.0))
            .ok_or(ReadError::NotInLayout)?;
        let index = |sequence: Sequence| usize::try_from(sequence.0).unwrap_or(usize::MAX).min(commits.len());
        Ok(commits[index(after)..index(up_to)].to_vec())
    }

    fn live(&self) -> Result<broadcast::Receiver<LiveBatch>, ReadError> {
        Ok(self.state.lock().live.subscribe())
    }
}

#[async_trait]
impl EventStore for MemoryEventStore {
    fn log_id(&self) -> LogId {
        self.shared.log_id
    }

    fn layout(&self) -> Layout {
        self.shared.layout
    }

    fn minimum_reader(&self) -> ReaderVersion {
        self.shared.state.lock().minimum_reader
    }

    async fn raise_minimum_reader(&self, to: ReaderVersion) -> Result<ReaderVersion, RaiseError> {
        RaiseError::check(to)?;
        let mut state = self.shared.state.lock();
        state.minimum_reader = state.minimum_reader.max(to);
        Ok(state.minimum_reader)
    }

    async fn append_at(&self, commit: NewCommit, expected: BucketTail) -> Result<AppendOutcome, AppendError> {
        commit.check()?;
        self.shared.layout.check(&commit.stream)?;
        self.shared.state.lock().append(&self.shared.layout, commit, expected)
    }

    async fn append_foreign(
        &self,
        bucket: BucketId,
        message: ForeignMessage,
        expected: BucketTail,
    ) -> Result<AppendOutcome, AppendError> {
        let mut state = self.shared.state.lock();
        let tail = state.tail(&self.shared.layout, bucket);
        if tail != expected {
            return Ok(AppendOutcome::WrongExpectedVersion { current: tail.revision });
        }
        Ok(state.put_foreign(&self.shared.layout, bucket, message))
    }

    async fn read_at(&self, position: Position) -> Result<Option<RecordedCommit>, ReadError> {
        let state = self.shared.state.lock();
        let commits = state
            .partitions
            .get(usize::from(position.partition.0))
            .ok_or(ReadError::NotInLayout)?;
        let index = usize::try_from(position.sequence.0)
            .ok()
            .and_then(|sequence| sequence.checked_sub(1));
        Ok(index
            .and_then(|index| commits.get(index))
            .map(|commit| RecordedCommit::clone(commit)))
    }

    async fn read_bucket(&self, bucket: BucketId, after: Revision) -> Result<Vec<RecordedCommit>, ReadError> {
        if !self.shared.layout.contains(bucket) {
            return Err(ReadError::NotInLayout);
        }
        let state = self.shared.state.lock();
        let commits = state.buckets.get(&bucket).into_iter().flatten();
        Ok(commits
            .filter(|commit| commit.revision > after && commit.foreign.is_none())
            .map(|commit| RecordedCommit::clone(commit))
            .collect())
    }

    async fn bucket_tail(&self, bucket: BucketId) -> Result<BucketTail, ReadError> {
        if !self.shared.layout.contains(bucket) {
            return Err(ReadError::NotInLayout);
        }
        Ok(self.shared.state.lock().tail(&self.shared.layout, bucket))
    }

    async fn heads(&self) -> Result<LogPosition, ReadError> {
        History::heads(&*self.shared)
    }

    async fn proved_heads(&self) -> Result<LogPosition, ReadError> {
        let silent = !self.shared.state.lock().silent.is_empty();
        if silent {
            std::future::pending::<()>().await;
        }
        self.heads().await
    }

    async fn prove_heads(&self, proved: UnboundedSender<Position>) -> Result<(), ReadError> {
        let heads = self.heads().await?;
        let silent = self.shared.state.lock().silent.clone();
        for (partition, sequence) in heads.iter().filter(|(partition, _)| !silent.contains(partition)) {
            // The receiver may be dropped.
            let _ = proved.send(Position { partition, sequence });
        }
        if !silent.is_empty() {
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    async fn subscribe_to_all(&self, from: LogPosition) -> Result<Subscription, SubscriptionError> {
        live::subscribe(Arc::clone(&self.shared) as Arc<dyn History>, from)
    }
}
