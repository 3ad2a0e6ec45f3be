//! The writer thread: one transaction for each batch, one sync for each transaction, and answers after the sync.

use std::sync::Arc;

use bytes::Bytes;
use citycode_event_store::{
    AppendError, AppendOutcome, BucketId, BucketTail, CommitHash, ForeignMessage, LogPosition, NewCommit, Position,
    RecordedCommit, Revision, Sequence,
};
use redb::Durability;
use std::collections::HashMap;
use tokio::sync::{mpsc, oneshot};

use crate::recent::Recent;
use crate::rows::{self, COMMITS, RECENT, RecentEntry, ShortId, TAILS};
use crate::snapshot::Snapshot;
use crate::store::Shared;
use crate::tails::Checkpoints;

/// A batch with this many commits takes no further call: larger batches would not noticeably reduce the cost of syncs.
const MAX_BATCH_COMMITS: usize = 4_096;
/// A batch with this many bytes takes no further call, so that the sync stays short even with the largest commits.
const MAX_BATCH_BYTES: usize = 8 * 1024 * 1024;

/// One append in the writer's queue.
pub(crate) struct Job {
    pub(crate) commit: NewCommit,
    pub(crate) bucket: BucketId,
    pub(crate) expected: BucketTail,
    pub(crate) bytes: Bytes,
    /// The hash of the bucket's tail after the append.
    pub(crate) hash: CommitHash,
    /// The foreign message, if this is a placeholder.
    pub(crate) foreign: Option<ForeignMessage>,
    pub(crate) answer: oneshot::Sender<Answer>,
}

pub(crate) type Answer = Result<AppendOutcome, AppendError>;

/// The batch in progress.
struct Batch {
    accepted: Vec<(Arc<RecordedCommit>, oneshot::Sender<Answer>)>,
    /// Answers that write nothing. They are sent after the sync, because a duplicate may refer to a commit of this
    /// batch.
    others: Vec<(Answer, oneshot::Sender<Answer>)>,
    tails: HashMap<BucketId, BucketTail>,
    ids: HashMap<ShortId, Arc<RecordedCommit>>,
    heads: LogPosition,
    /// Key, previous revision of the bucket, bytes.
    rows: Vec<(u64, Revision, Bytes)>,
}

pub(crate) struct Writer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) recent: Recent,
    pub(crate) queue: mpsc::Receiver<Vec<Job>>,
    pub(crate) checkpoints: Checkpoints,
}

/// The outcome of a failed batch.
enum Failure {
    /// It failed before the commit of the transaction, so nothing is durable.
    NotDone(String),
    /// It failed during the commit of the transaction, so it may be durable.
    Unknown(String),
}

impl Writer {
    /// Runs until the queue is closed and empty, or a write fails.
    pub(crate) fn run(mut self) {
        while let Some(first) = self.queue.blocking_recv() {
            let jobs = self.gather(first);
            let batch = self.decide(jobs);
            if batch.accepted.is_empty() {
                answer_all(batch.others);
                continue;
            }
            match self.write(&batch) {
                Ok(snapshot) => self.publish(batch, snapshot),
                Err(failure) => return self.poison(batch, failure),
            }
        }
    }

    fn gather(&mut self, mut jobs: Vec<Job>) -> Vec<Job> {
        let size = |jobs: &[Job]| jobs.iter().map(|job| job.bytes.len()).sum::<usize>();
        let mut bytes = size(&jobs);
        while jobs.len() < MAX_BATCH_COMMITS && bytes < MAX_BATCH_BYTES {
            let Ok(more) = self.queue.try_recv() else {
                break;
            };
            bytes += size(&more);
            jobs.extend(more);
        }
        jobs
    }

    /// Decides each append against the durable state and the batch's earlier appends.
    fn decide(&self, jobs: Vec<Job>) -> Batch {
        let mut batch = Batch {
            accepted: Vec::with_capacity(jobs.len()),
            others: Vec::new(),
            tails: HashMap::with_capacity(jobs.len()),
            ids: HashMap::with_capacity(jobs.len()),
            heads: self.shared.durable_heads(),
            rows: Vec::with_capacity(jobs.len()),
        };
        for job in jobs {
            let known = self.known(&batch, &job).unwrap_or_else(|error| Some(Err(error)));
            let answer = known.map_or_else(|| self.check_tail(&batch, &job), |answer| Ok(Some(answer)));
            match answer {
                Ok(None) => batch.accept(job),
                Ok(Some(answer)) => batch.others.push((answer, job.answer)),
                Err(error) => batch.others.push((Err(error), job.answer)),
            }
        }
        batch
    }

    /// The answer to a message id that is in the log or in this batch.
    fn known(&self, batch: &Batch, job: &Job) -> Result<Option<Answer>, AppendError> {
        // The same foreign message may occur at several positions.
        if job.foreign.is_some() {
            return Ok(None);
        }
        let id = rows::short_id(&job.commit.message_id);
        let stored;
        let recorded = if let Some(recorded) = batch.ids.get(&id) {
            &**recorded
        } else if let Some(position) = self.recent.position(&id) {
            stored = self.shared.snapshot()?.read_at(position)?;
            let Some(recorded) = &stored else {
                return Ok(None);
            };
            recorded
        } else {
            return Ok(None);
        };
        if recorded.commit.message_id != job.commit.message_id {
            return Ok(None);
        }
        if recorded.commit.request_digest != job.commit.request_digest {
            return Ok(Some(Err(AppendError::IdempotencyKeyReused {
                position: recorded.position,
            })));
        }
        Ok(Some(Ok(appended(recorded, true))))
    }

    /// `None` if the bucket has the expected tail.
    fn check_tail(&self, batch: &Batch, job: &Job) -> Result<Option<Answer>, AppendError> {
        let tail = match batch.tails.get(&job.bucket) {
            Some(tail) => *tail,
            None => self.shared.tail(job.bucket)?,
        };
        let wrong = || Ok(AppendOutcome::WrongExpectedVersion { current: tail.revision });
        Ok((tail != job.expected).then(wrong))
    }

    /// Writes and syncs the batch; returns the snapshot that includes it.
    fn write(&mut self, batch: &Batch) -> Result<Snapshot, Failure> {
        let not_done = |error: redb::Error| Failure::NotDone(error.to_string());
        let transaction = self.prepare(batch).map_err(not_done)?;
        if let Some(reason) = self.shared.health.failure() {
            // The transaction is abandoned; it does not matter whether redb can abort it cleanly.
            drop(transaction);
            return Err(Failure::NotDone(reason));
        }
        // A crash before the sync in commit() loses the batch, one after it keeps the batch: opening uses redb's last
        // complete transaction, and callers without an answer repeat their appends.
        let committed = transaction.commit();
        if let Some(reason) = self.shared.health.failure() {
            return Err(Failure::Unknown(reason));
        }
        committed.map_err(|error| Failure::Unknown(error.to_string()))?;
        self.shared
            .take_snapshot(batch.heads.clone())
            .map_err(|error| Failure::Unknown(error.to_string()))
    }

    fn prepare(&mut self, batch: &Batch) -> Result<redb::WriteTransaction, redb::Error> {
        let mut transaction = self.shared.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        {
            let mut commits = transaction.open_table(COMMITS)?;
            // In key order, so that adjacent rows share pages.
            let mut order: Vec<_> = batch.rows.iter().collect();
            order.sort_unstable_by_key(|(key, ..)| *key);
            for (key, previous, bytes) in order {
                let mut row = commits.insert_reserve(key, rows::PREVIOUS_BYTES + bytes.len())?;
                let (head, rest) = row.as_mut().split_at_mut(rows::PREVIOUS_BYTES);
                head.copy_from_slice(&previous.to_raw().to_be_bytes());
                rest.copy_from_slice(bytes);
            }
            let mut recent = transaction.open_table(RECENT)?;
            let mut row = Vec::with_capacity(batch.accepted.len() * rows::ENTRY_BYTES);
            for entry in batch.entries() {
                entry.write(&mut row);
            }
            recent.insert(self.recent.next_row(), row.as_slice())?;
            for expired in self.recent.expired(batch.accepted.len()) {
                recent.remove(expired)?;
            }
        }
        // A stored array excludes this batch, which has its own row in `recent`.
        let (before, after) = (self.shared.durable_heads().commits(), batch.heads.commits());
        for partition in self.checkpoints.due(&self.shared.layout, before, after) {
            let row = self.shared.tails.lock().to_row(partition, before);
            transaction.open_table(TAILS)?.insert(partition.0, row.as_slice())?;
            self.checkpoints.written(partition, before);
        }
        Ok(transaction)
    }

    /// Publishes a durable batch: first to readers, then to subscribers, then to the callers.
    fn publish(&mut self, batch: Batch, snapshot: Snapshot) {
        if let Some(last) = self.recent.expired(batch.accepted.len()).last() {
            self.recent.remove_up_to(*last);
        }
        self.recent
            .insert(self.recent.next_row(), batch.entries().collect::<Vec<_>>());
        self.shared.publish(snapshot, &batch.tails);
        let live = batch
            .accepted
            .iter()
            .map(|(recorded, _)| Arc::clone(recorded))
            .collect();
        self.shared.push_live(Arc::new(live));
        for (recorded, answer) in batch.accepted {
            // The caller may have stopped waiting; it then treats its append as unknown.
            let _ = answer.send(Ok(appended(&recorded, false)));
        }
        answer_all(batch.others);
    }

    /// Stops writing permanently and answers all waiting and later callers with the failure.
    fn poison(mut self, batch: Batch, failure: Failure) {
        let (reason, outcome) = match failure {
            Failure::NotDone(reason) => (reason.clone(), Err(AppendError::Unavailable(reason))),
            Failure::Unknown(reason) => (reason, Ok(AppendOutcome::Unknown)),
        };
        tracing::error!(%reason, "the event store accepts no more appends; remove the cause, then restart");
        self.shared.poison(reason.clone());
        let in_batch = batch.accepted.into_iter().map(|(_, answer)| answer);
        for answer in in_batch.chain(batch.others.into_iter().map(|(_, answer)| answer)) {
            let _ = answer.send(outcome.clone());
        }
        self.queue.close();
        while let Some(jobs) = self.queue.blocking_recv() {
            for job in jobs {
                let _ = job.answer.send(Err(AppendError::Unavailable(reason.clone())));
            }
        }
    }
}

impl Batch {
    fn accept(&mut self, job: Job) {
        let Job {
            commit,
            bucket,
            expected,
            bytes,
            hash,
            foreign,
            answer,
        } = job;
        let sequence = self.heads.sequence(bucket.partition).next();
        let position = Position {
            partition: bucket.partition,
            sequence,
        };
        let revision = Revision::from_raw(sequence.0);
        self.rows.push((rows::key(position), expected.revision, bytes));
        self.heads.set(bucket.partition, sequence);
        self.tails.insert(bucket, BucketTail { revision, hash });
        let previous_hash = expected.hash;
        let recorded = Arc::new(match foreign {
            Some(message) => RecordedCommit::of_foreign(position, bucket, message),
            None => RecordedCommit {
                position,
                bucket,
                revision,
                previous_hash,
                hash,
                commit,
                foreign: None,
            },
        });
        self.ids
            .insert(rows::short_id(&recorded.commit.message_id), Arc::clone(&recorded));
        self.accepted.push((recorded, answer));
    }

    fn entries(&self) -> impl Iterator<Item = RecentEntry> + '_ {
        self.accepted.iter().map(|(recorded, _)| RecentEntry {
            id: rows::short_id(&recorded.commit.message_id),
            bucket: recorded.bucket,
            sequence: Sequence(recorded.position.sequence.0),
        })
    }
}

fn answer_all(answers: Vec<(Answer, oneshot::Sender<Answer>)>) {
    for (answer, to) in answers {
        let _ = to.send(answer);
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
