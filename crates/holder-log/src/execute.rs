//! Executing one command: read the state, decide, append, wait for the fold.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use citycode_domain::event::Event;
use citycode_domain::ids::{CommandId, HolderId};
use citycode_domain::lifecycle::HolderState;
use citycode_domain::time::Timestamp;
use citycode_event_store::follow::Progress;
use citycode_event_store::{
    self as store, BucketId, BucketTail, EventData, EventStore, MessageId, NewCommit, Position, RequestDigest,
    StreamName,
};
use citycode_projection::register::{DecisionBasis, HolderRegister};
use citycode_wire::event;

use crate::locks::BucketLocks;
use citycode_log_folds::holder_stream;
use citycode_log_folds::{events_of, message_prefix};

/// How often a command is decided again after a conflict. A conflict needs another process that writes the same
/// bucket within the same milliseconds; sixteen in a row mean that something else is wrong.
const MAX_DECISIONS: usize = 16;
/// The origin of a command, for the log and for idempotence.
#[derive(Clone, Debug)]
pub struct CommandContext {
    /// The authenticated caller; results are never returned to another caller.
    pub caller: String,
    /// The caller's id of the command.
    pub command_id: CommandId,
    /// Digest of the request's content: the same id with another digest is refused.
    pub request_digest: [u8; 32],
    /// Role and method of authentication, for the record; it contains no personal data.
    pub actor: String,
    /// W3C `traceparent`, if the request had one.
    pub trace_context: Option<String>,
    /// The instant of the command, read once.
    pub now: Timestamp,
    /// Set while the command's commit may be in the log without a known result.
    pub begun: Begun,
}

/// Whether an append was started, for code that stops waiting for it: while this is not set, the change was
/// surely not made.
#[derive(Clone, Debug, Default)]
pub struct Begun(Arc<AtomicBool>);

impl Begun {
    /// Wraps an existing flag.
    #[must_use]
    pub fn of(flag: Arc<AtomicBool>) -> Self {
        Self(flag)
    }

    pub(crate) fn set(&self, begun: bool) {
        self.0.store(begun, Ordering::Release);
    }
}

/// A decision on a command: a pure function of a holder's state and the time. A closure that returns only events is one.
#[async_trait]
pub trait Decide: Sync {
    /// Why the rules forbid the command, or what the decision lacks.
    type Refusal: Send;
    /// What the caller gets beside the events; it is dropped unless this call appends them.
    type Output: Send;

    /// Returns what the command does. It has no effects and waits for nothing: it may be called several times, and only
    /// the result of the last call is used. After a conflict it is called again on newer state.
    ///
    /// # Errors
    /// The refusal.
    fn decide(&self, state: &HolderState, now: Timestamp) -> Result<Decided<Self::Output>, Self::Refusal>;

    /// Prepares outside of the log what the decided events refer to. It is called before every append, and again after a
    /// conflict; no other command of the holder is decided by this process meanwhile.
    ///
    /// # Errors
    /// The refusal; nothing is appended then.
    async fn before_append(&self) -> Result<(), Self::Refusal> {
        Ok(())
    }
}

impl<F, R: Send> Decide for F
where
    F: Fn(&HolderState, Timestamp) -> Result<Vec<Event>, R> + Sync,
{
    type Refusal = R;
    type Output = ();

    fn decide(&self, state: &HolderState, now: Timestamp) -> Result<Decided, R> {
        self(state, now).map(|events| Decided { events, output: () })
    }
}

/// What a command does to a holder.
#[derive(Clone, PartialEq, Debug)]
pub struct Decided<T = ()> {
    /// The events to append; none if nothing changes.
    pub events: Vec<Event>,
    /// What the caller gets if this call appends them.
    pub output: T,
}

/// The result of a command.
#[derive(Clone, Debug)]
pub struct Executed<T = ()> {
    /// The events as recorded in the log; empty if nothing changed.
    pub events: Vec<Event>,
    /// Position of their commit; `None` if nothing changed.
    pub position: Option<Position>,
    /// Whether an earlier attempt of the same command had already appended them.
    pub duplicate: bool,
    /// The decision's output; present if and only if this call appended the events.
    pub output: Option<T>,
}

impl<T> Executed<T> {
    /// Whether this call changed something: it is neither a repeat nor without effect.
    #[must_use]
    pub fn is_new(&self) -> bool {
        !self.duplicate && !self.events.is_empty()
    }

    /// The result when nothing changed and nothing was written.
    fn unchanged() -> Self {
        Self {
            events: Vec::new(),
            position: None,
            duplicate: false,
            output: None,
        }
    }
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError<R> {
    /// The rules forbid it.
    #[error("refused by a rule")]
    Refused(R),
    /// The command id was used for another request of this caller.
    #[error("the command id was used for another request")]
    IdempotencyKeyReused,
    /// The command was surely not done.
    #[error("not done: {0}")]
    NotDone(String),
    /// The command was surely not done, and cannot be until an operator has inspected the foreign message at
    /// this position.
    #[error("not done: the bucket is confined by a foreign message at {0}: run `citycode log inspect {0}`")]
    Confined(Position),
    /// It is unknown whether the command was done; the caller must repeat it with the same command id.
    #[error("the outcome is unknown: repeat with the same command id")]
    Unknown,
}

impl ExecuteError<std::convert::Infallible> {
    /// Converts the error to another refusal type; this error cannot be a refusal.
    #[must_use]
    pub fn without_refusal<R>(self) -> ExecuteError<R> {
        match self {
            Self::Refused(never) => match never {},
            Self::IdempotencyKeyReused => ExecuteError::IdempotencyKeyReused,
            Self::NotDone(why) => ExecuteError::NotDone(why),
            Self::Confined(position) => ExecuteError::Confined(position),
            Self::Unknown => ExecuteError::Unknown,
        }
    }
}

/// The writer of holders' streams of one process.
pub struct HolderLog {
    pub(crate) store: Arc<dyn EventStore>,
    pub(crate) register: Arc<HolderRegister>,
    pub(crate) progress: Progress,
    pub(crate) acknowledged_by: Vec<Progress>,
    locks: BucketLocks,
    /// Locks of system streams are separate: a lease, for which many issues may wait, never waits for a holder's
    /// commands.
    system_locks: BucketLocks,
}

impl HolderLog {
    /// A writer that appends to `store` and decides on `register`, whose folded position is `progress`. A
    /// change is acknowledged after every follower of `acknowledged_by` has applied it too.
    #[must_use]
    pub fn new(
        store: Arc<dyn EventStore>,
        register: Arc<HolderRegister>,
        progress: Progress,
        acknowledged_by: Vec<Progress>,
    ) -> Self {
        Self {
            store,
            register,
            progress,
            acknowledged_by,
            locks: BucketLocks::new(),
            system_locks: BucketLocks::new(),
        }
    }

    /// The register on which decisions are based.
    #[must_use]
    pub fn register(&self) -> &HolderRegister {
        &self.register
    }

    /// The log, for reading.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn EventStore> {
        &self.store
    }

    /// The partition of a holder's stream.
    #[must_use]
    pub fn partition_of(&self, holder: HolderId) -> store::Partition {
        self.store.layout().bucket_of(&holder_stream(holder)).partition
    }

    /// The folded state of a holder; the default state if the holder is unknown.
    #[must_use]
    pub fn state(&self, holder: HolderId) -> HolderState {
        self.register.get(holder).map(|(state, _)| state).unwrap_or_default()
    }

    /// Whether an earlier attempt of this command may be in the holder's stream, as far as it is folded. If it
    /// is, [`HolderLog::execute`] returns its result, even if the command would now be forbidden.
    #[must_use]
    pub fn may_be_repeat(&self, holder: HolderId, context: &CommandContext) -> bool {
        let stream = holder_stream(holder);
        let id = store::message_id(&context.caller, &stream, &store::CommandId(context.command_id.0));
        let known = self.register.get(holder);
        known.is_some_and(|(_, recent)| recent.may_contain(message_prefix(&id)))
    }

    /// The state of a holder including every change that any writer acknowledged before this call.
    ///
    /// # Errors
    /// The end of the log cannot be determined, or the log is no longer followed.
    pub async fn current_state(&self, holder: HolderId) -> Result<HolderState, ExecuteError<std::convert::Infallible>> {
        self.catch_up_with(&holder_stream(holder)).await?;
        Ok(self.state(holder))
    }

    /// Waits until every commit that was in the stream before this call is folded.
    ///
    /// # Errors
    /// As [`HolderLog::current_state`].
    pub async fn catch_up_with(&self, stream: &StreamName) -> Result<(), ExecuteError<std::convert::Infallible>> {
        let bucket = self.store.layout().bucket_of(stream);
        self.catch_up(bucket).await.map_err(not_done)
    }

    /// Waits until every commit that was anywhere in the log before this call is folded. It is used for
    /// searches over all holders' streams.
    ///
    /// # Errors
    /// As [`HolderLog::current_state`], if one partition cannot be queried.
    pub async fn catch_up_with_all(&self) -> Result<(), ExecuteError<std::convert::Infallible>> {
        let partitions = self.store.layout().all_partitions();
        let all = partitions.map(|partition| self.catch_up_in(partition));
        futures::future::try_join_all(all).await.map(drop).map_err(not_done)
    }

    /// The result of an earlier attempt of this command in a system stream, however long ago; `None` if there
    /// is none. It reads the stream's whole bucket, so it is meant for rare commands, such as those on keys.
    ///
    /// # Errors
    /// [`ExecuteError::Unknown`] if the log cannot be searched; [`ExecuteError::IdempotencyKeyReused`].
    pub async fn earlier_system<R>(
        &self,
        stream: &StreamName,
        context: &CommandContext,
    ) -> Result<Option<Executed>, ExecuteError<R>> {
        let bucket = self.store.layout().bucket_of(stream);
        let id = store::message_id(&context.caller, stream, &store::CommandId(context.command_id.0));
        let stored = self.find_commit(bucket, &id).await;
        match stored.map_err(|_| ExecuteError::Unknown)? {
            Some(stored) => self.answer_stored(&stored, context).await.map(Some),
            None => Ok(None),
        }
    }

    /// The events of the commit at a position.
    ///
    /// # Errors
    /// The log cannot be read, or does not contain such a commit.
    pub async fn read_at(&self, position: Position) -> Result<Vec<Event>, ExecuteError<std::convert::Infallible>> {
        let commit = self.store.read_at(position).await.map_err(not_done)?;
        let commit = commit.ok_or_else(|| ExecuteError::NotDone("the log does not contain such a commit".into()))?;
        events_of(&commit).map_err(not_done)
    }

    /// All events of a holder, in order, each with the time of its decision. It reads the holder's whole bucket, so it
    /// is meant for rare questions.
    ///
    /// # Errors
    /// The log cannot be read.
    pub async fn history(
        &self,
        holder: HolderId,
    ) -> Result<Vec<(Timestamp, Event)>, ExecuteError<std::convert::Infallible>> {
        let commits = self
            .store
            .read_stream(&holder_stream(holder), store::Revision::EMPTY)
            .await;
        let mut history = Vec::new();
        for commit in commits.map_err(not_done)? {
            let decided_at = Timestamp(commit.commit.decided_at);
            let events = events_of(&commit).map_err(not_done)?;
            history.extend(events.into_iter().map(|event| (decided_at, event)));
        }
        Ok(history)
    }

    /// Decides a command on the folded state, and does nothing else: [`HolderLog::execute`] decides again, possibly on
    /// newer state. A caller learns from it what the decision will need.
    ///
    /// # Errors
    /// The refusal.
    pub fn forecast<D: Decide>(
        &self,
        holder: HolderId,
        context: &CommandContext,
        decision: &D,
    ) -> Result<Decided<D::Output>, D::Refusal> {
        let state = self.state(holder);
        decision.decide(&state, decided_at(&state, context))
    }

    /// Decides and appends one command on a holder's stream.
    ///
    /// # Errors
    /// [`ExecuteError`].
    pub async fn execute<D: Decide>(
        &self,
        holder: HolderId,
        context: &CommandContext,
        decision: &D,
    ) -> Result<Executed<D::Output>, ExecuteError<D::Refusal>> {
        let stream = holder_stream(holder);
        let bucket = self.store.layout().bucket_of(&stream);
        let id = store::message_id(&context.caller, &stream, &store::CommandId(context.command_id.0));
        let guard = self.locks.lock(bucket).await;
        // Another writer may just have changed what forbids the command or makes it a no-op. So a result
        // without an append is based on everything that the log contained when the command arrived.
        let mut caught_up = false;
        for _ in 0..MAX_DECISIONS {
            let DecisionBasis { tail, state, recent } = self.register.basis(bucket.partition.0, bucket.bucket, holder);
            let tail = tail.unwrap_or(BucketTail::EMPTY);
            // If the log cannot be searched, an earlier attempt may have done the command.
            if recent.may_contain(message_prefix(&id))
                && let Some(stored) = self.find_commit(bucket, &id).await.map_err(|_| ExecuteError::Unknown)?
            {
                drop(guard);
                return self.answer_stored(&stored, context).await;
            }
            self.refuse_confined(bucket)?;
            let now = decided_at(&state, context);
            let decided = decision.decide(&state, now);
            if !caught_up && decided.as_ref().map_or(true, |decided| decided.events.is_empty()) {
                self.catch_up(bucket).await.map_err(not_done)?;
                caught_up = true;
                continue;
            }
            let Decided { events, output } = decided.map_err(ExecuteError::Refused)?;
            if events.is_empty() {
                return Ok(Executed::unchanged());
            }
            decision.before_append().await.map_err(ExecuteError::Refused)?;
            let commit = new_commit(stream, &events, id, context, now);
            context.begun.set(true);
            // The register contains the commit before the next command of this bucket is decided.
            if let Some(appended) = self.append_folded(commit, tail, bucket).await? {
                drop(guard);
                return self.answer(appended, Decided { events, output }, context).await;
            }
            // Another commit was appended first, and this one was not.
            context.begun.set(false);
        }
        Err(contended())
    }

    /// Appends system events (leases, keys) to a stream whose state `decide` reads from elsewhere.
    ///
    /// `decide` is called while the lock of the stream's bucket is held and the bucket is folded.
    ///
    /// # Errors
    /// [`ExecuteError`].
    pub async fn execute_system<R>(
        &self,
        stream: StreamName,
        context: &CommandContext,
        mut decide: impl FnMut() -> Result<Vec<Event>, R> + Send,
    ) -> Result<Executed, ExecuteError<R>> {
        let bucket = self.store.layout().bucket_of(&stream);
        let id = store::message_id(&context.caller, &stream, &store::CommandId(context.command_id.0));
        let guard = self.system_locks.lock(bucket).await;
        for _ in 0..MAX_DECISIONS {
            let tail = self.register.tail(bucket.partition.0, bucket.bucket);
            let tail = tail.unwrap_or(BucketTail::EMPTY);
            let events = decide().map_err(ExecuteError::Refused)?;
            // This check comes first: a later foreign message must not turn a completed command into an error.
            if events.is_empty() {
                return Ok(Executed::unchanged());
            }
            self.refuse_confined(bucket)?;
            let commit = new_commit(stream, &events, id, context, context.now);
            context.begun.set(true);
            if let Some(appended) = self.append_folded(commit, tail, bucket).await? {
                drop(guard);
                let decided = Decided { events, output: () };
                return self.answer(appended, decided, context).await;
            }
            // Another commit was appended first, and this one was not.
            context.begun.set(false);
        }
        Err(contended())
    }
}

impl HolderLog {
    /// A bucket with a foreign message takes no appends, because the message may be a damaged commit.
    fn refuse_confined<R>(&self, bucket: BucketId) -> Result<(), ExecuteError<R>> {
        match self.register.confining(bucket.partition.0, bucket.bucket) {
            None => Ok(()),
            Some(sequence) => Err(ExecuteError::Confined(Position {
                partition: bucket.partition,
                sequence: store::Sequence(sequence),
            })),
        }
    }
}

/// The time of a decision: a holder's time never goes back, whatever a writer's clock says.
fn decided_at(state: &HolderState, context: &CommandContext) -> Timestamp {
    context.now.max(state.last_decided_at)
}

fn contended<R>() -> ExecuteError<R> {
    ExecuteError::NotDone(format!("{MAX_DECISIONS} conflicts in a row; try again"))
}

/// The error for a command that was surely not done.
pub(crate) fn not_done<R>(error: impl std::error::Error) -> ExecuteError<R> {
    ExecuteError::NotDone(error.to_string())
}

fn new_commit(
    stream: StreamName,
    events: &[Event],
    message_id: MessageId,
    context: &CommandContext,
    now: Timestamp,
) -> NewCommit {
    let events = events
        .iter()
        .map(|event| {
            let (event_type, version, payload) = event::encode(event);
            EventData {
                event_type: event_type.into(),
                version,
                payload: Bytes::from(payload),
            }
        })
        .collect();
    NewCommit {
        stream,
        events,
        message_id,
        request_digest: RequestDigest(context.request_digest),
        command_id: store::CommandId(context.command_id.0),
        actor: context.actor.clone(),
        causation_id: None,
        correlation_id: None,
        decided_at: now.0,
        trace_context: context.trace_context.clone(),
    }
}
