//! The loop of one command: state, decision, append, fold.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use citycode_domain::event::Event;
use citycode_domain::ids::{CommandId, CommitPosition, HolderId};
use citycode_domain::lifecycle::HolderState;
use citycode_domain::time::Timestamp;
use citycode_event_store::follow::Progress;
use citycode_event_store::{
    self as store, BucketId, BucketTail, CommitHash, EventData, EventStore, MessageId, NewCommit, Position,
    RequestDigest, Revision, StreamName,
};
use citycode_projection::register::{DecisionBasis, HolderRegister};
use citycode_wire::event;

use crate::locks::BucketLocks;
use citycode_log_folds::holder_stream;
use citycode_log_folds::{events_of, message_prefix};

/// How often a command is decided anew after a conflict. Conflicts need another process writing the same bucket in
/// the same milliseconds; sixteen in a row mean that something else is wrong.
const MAX_DECISIONS: usize = 16;
/// Who asks what, for the log and for idempotence.
#[derive(Clone, Debug)]
pub struct CommandContext {
    /// The caller, as authenticated; no other caller can meet its results.
    pub caller: String,
    /// The caller's id of the command.
    pub command_id: CommandId,
    /// Digest of the request's meaning: the same id with another digest is refused.
    pub request_digest: [u8; 32],
    /// Role and way of authentication, for the record; nothing personal.
    pub actor: String,
    /// W3C `traceparent`, if the request had one.
    pub trace_context: Option<String>,
    /// The instant of the command, read once.
    pub now: Timestamp,
    /// Set while the command's commit may stand in the log without an answer of the log's.
    pub begun: Begun,
}

/// Whether a change was begun, for whoever stops waiting for it: until then it was surely not made.
#[derive(Clone, Debug, Default)]
pub struct Begun(Arc<AtomicBool>);

impl Begun {
    /// The same flag as this one.
    #[must_use]
    pub fn of(flag: Arc<AtomicBool>) -> Self {
        Self(flag)
    }

    pub(crate) fn set(&self, begun: bool) {
        self.0.store(begun, Ordering::Release);
    }
}

/// Decides a command on a holder's state.
#[async_trait]
pub trait Decide: Send {
    /// Why the rules forbid the command, or why it could not be decided.
    type Refusal: Send;

    /// The events of the command; none where nothing changes. Called again on newer state after a conflict; what
    /// it drew for an earlier attempt is spent.
    async fn decide(&mut self, state: &HolderState, now: Timestamp) -> Result<Vec<Event>, Self::Refusal>;
}

/// A decision that draws and waits for nothing.
pub struct PureDecision<F>(pub F);

#[async_trait]
impl<R: Send, F> Decide for PureDecision<F>
where
    F: FnMut(&HolderState, Timestamp) -> Result<Vec<Event>, R> + Send,
{
    type Refusal = R;

    async fn decide(&mut self, state: &HolderState, now: Timestamp) -> Result<Vec<Event>, R> {
        (self.0)(state, now)
    }
}

/// What a command led to.
#[derive(Clone, Debug)]
pub struct Executed {
    /// The events, as the log has them; empty where nothing changed.
    pub events: Vec<Event>,
    /// Where they stand; none where nothing changed.
    pub position: Option<Position>,
    /// Whether they stood there already, from an earlier attempt of the same command.
    pub duplicate: bool,
}

impl Executed {
    /// Whether this very call changed something: neither a repeat nor a command without effect.
    #[must_use]
    pub fn is_new(&self) -> bool {
        !self.duplicate && !self.events.is_empty()
    }

    /// Nothing changed, and nothing was written.
    fn unchanged() -> Self {
        Self {
            events: Vec::new(),
            position: None,
            duplicate: false,
        }
    }
}

/// Why a command led to nothing.
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
    /// The command was surely not done, and is not until an operator has looked at the foreign message there.
    #[error("not done: a message that is no commit stands in its part of the log, at {0}: citycode log inspect {0}")]
    Confined(Position),
    /// Nobody knows whether it was done; the caller repeats it with the same command id.
    #[error("the outcome is unknown: repeat with the same command id")]
    Unknown,
}

impl ExecuteError<std::convert::Infallible> {
    /// The same error where refusals are of another type: this one can be none.
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

/// The writer of holders' streams in one process.
pub struct HolderLog {
    pub(crate) store: Arc<dyn EventStore>,
    pub(crate) register: Arc<HolderRegister>,
    pub(crate) progress: Progress,
    pub(crate) acknowledged_by: Vec<Progress>,
    locks: BucketLocks,
    /// Turns of system streams are apart: an issue holds its holder's turn while it leases, and must never wait for
    /// a turn that itself or its like holds.
    system_locks: BucketLocks,
}

impl HolderLog {
    /// Writes to `store`, decides on `register`, which `progress` says how far it was folded. A change is
    /// acknowledged once every follower of `acknowledged_by` has applied it too.
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

    /// The register that decisions rest on.
    #[must_use]
    pub fn register(&self) -> &HolderRegister {
        &self.register
    }

    /// The log itself, for reading.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn EventStore> {
        &self.store
    }

    /// The partition in which a holder's stream lies.
    #[must_use]
    pub fn partition_of(&self, holder: HolderId) -> store::Partition {
        self.store.layout().bucket_of(&holder_stream(holder)).partition
    }

    /// A holder's state as folded so far; that of an unknown holder where there is none.
    #[must_use]
    pub fn state(&self, holder: HolderId) -> HolderState {
        self.register.get(holder).map(|(state, _)| state).unwrap_or_default()
    }

    /// Whether an earlier attempt of this command may stand in the holder's stream, as far as that is folded. Where it
    /// stands, [`HolderLog::execute`] answers what it came to, whatever forbids the command by now.
    #[must_use]
    pub fn may_be_repeat(&self, holder: HolderId, context: &CommandContext) -> bool {
        let stream = holder_stream(holder);
        let id = store::message_id(&context.caller, &stream, &store::CommandId(context.command_id.0));
        let known = self.register.get(holder);
        known.is_some_and(|(_, recent)| recent.may_contain(message_prefix(&id)))
    }

    /// A holder's state with everything in it that was acknowledged before this was asked, by whichever writer.
    ///
    /// # Errors
    /// The log cannot be asked where it ends, or is followed no more.
    pub async fn current_state(&self, holder: HolderId) -> Result<HolderState, ExecuteError<std::convert::Infallible>> {
        self.catch_up_with(&holder_stream(holder)).await?;
        Ok(self.state(holder))
    }

    /// Waits until everything is folded that stood in the stream before this was asked.
    ///
    /// # Errors
    /// As [`HolderLog::current_state`].
    pub async fn catch_up_with(&self, stream: &StreamName) -> Result<(), ExecuteError<std::convert::Infallible>> {
        let bucket = self.store.layout().bucket_of(stream);
        self.catch_up(bucket).await.map_err(not_done)
    }

    /// Waits until everything is folded that stood anywhere in the log before this was asked: for what is looked for in
    /// the streams of all holders.
    ///
    /// # Errors
    /// As [`HolderLog::current_state`], where one partition cannot be asked.
    pub async fn catch_up_with_all(&self) -> Result<(), ExecuteError<std::convert::Infallible>> {
        let partitions = self.store.layout().all_partitions();
        let all = partitions.map(|partition| self.catch_up_in(partition));
        futures::future::try_join_all(all).await.map(drop).map_err(not_done)
    }

    /// What an earlier attempt of this command led to in a system stream, however long ago; none where it stands not
    /// there. Reads the stream's whole bucket: for what is rare, such as keys.
    ///
    /// # Errors
    /// [`ExecuteError::Unknown`] where it cannot be looked for; [`ExecuteError::IdempotencyKeyReused`].
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
    /// The log cannot be read, or has no such commit.
    pub async fn read_at(
        &self,
        position: CommitPosition,
    ) -> Result<Vec<Event>, ExecuteError<std::convert::Infallible>> {
        let position = Position {
            partition: store::Partition(position.partition),
            sequence: store::Sequence(position.sequence),
        };
        let commit = self.store.read_at(position).await.map_err(not_done)?;
        let commit = commit.ok_or_else(|| ExecuteError::NotDone("the log has no such commit".into()))?;
        events_of(&commit).map_err(not_done)
    }

    /// Decides and appends one command on a holder's stream.
    ///
    /// # Errors
    /// [`ExecuteError`].
    pub async fn execute<D: Decide>(
        &self,
        holder: HolderId,
        context: &CommandContext,
        decide: &mut D,
    ) -> Result<Executed, ExecuteError<D::Refusal>> {
        let stream = holder_stream(holder);
        let bucket = self.store.layout().bucket_of(&stream);
        let id = store::message_id(&context.caller, &stream, &store::CommandId(context.command_id.0));
        let turn = self.locks.lock(bucket).await;
        // What forbids the command, or leaves it nothing to do, may have been changed by another writer a moment ago:
        // what is not written rests on everything that the log held when it was asked for.
        let mut caught_up = false;
        for _ in 0..MAX_DECISIONS {
            let DecisionBasis { tail, state, recent } = self.register.basis(bucket.partition.0, bucket.bucket, holder);
            let tail = expected(tail);
            // Where it cannot be looked for, it may have been done by an earlier attempt.
            if recent.may_contain(message_prefix(&id))
                && let Some(stored) = self.find_commit(bucket, &id).await.map_err(|_| ExecuteError::Unknown)?
            {
                drop(turn);
                return self.answer_stored(&stored, context).await;
            }
            self.refuse_confined(bucket)?;
            let now = context.now.max(state.last_decided_at);
            let decided = decide.decide(&state, now).await;
            if !caught_up && decided.as_ref().map_or(true, Vec::is_empty) {
                self.catch_up(bucket).await.map_err(not_done)?;
                caught_up = true;
                continue;
            }
            let events = decided.map_err(ExecuteError::Refused)?;
            if events.is_empty() {
                return Ok(Executed::unchanged());
            }
            let commit = new_commit(stream, &events, id, context, now);
            context.begun.set(true);
            // The register has the commit before the next command of this bucket is decided.
            if let Some(appended) = self.append_folded(commit, tail, bucket).await? {
                drop(turn);
                return self.answer(appended, events, context).await;
            }
            // Another change came first, and this one was not made.
            context.begun.set(false);
        }
        Err(contended())
    }

    /// Appends system events (leases, keys) to a stream whose state `decide` takes from elsewhere.
    ///
    /// `decide` is called with the turn of the stream's bucket held and everything of it folded.
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
        let turn = self.system_locks.lock(bucket).await;
        for _ in 0..MAX_DECISIONS {
            let tail = expected(self.register.tail(bucket.partition.0, bucket.bucket));
            let events = decide().map_err(ExecuteError::Refused)?;
            // What was done before is not called undone because of a message that came later.
            if events.is_empty() {
                return Ok(Executed::unchanged());
            }
            self.refuse_confined(bucket)?;
            let commit = new_commit(stream, &events, id, context, context.now);
            context.begun.set(true);
            if let Some(appended) = self.append_folded(commit, tail, bucket).await? {
                drop(turn);
                return self.answer(appended, events, context).await;
            }
            // Another change came first, and this one was not made.
            context.begun.set(false);
        }
        Err(contended())
    }
}

impl HolderLog {
    /// A bucket with a foreign message in it takes no appends: that may have been a change that was damaged.
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

fn contended<R>() -> ExecuteError<R> {
    ExecuteError::NotDone(format!("{MAX_DECISIONS} other changes came first; try again"))
}

/// The tail to expect in an append, in the words of the log.
fn expected(tail: Option<citycode_projection::BucketTail>) -> BucketTail {
    tail.map_or(BucketTail::EMPTY, |tail| BucketTail {
        revision: Revision::from_raw(tail.revision),
        hash: CommitHash(tail.hash),
    })
}

/// The command was surely not done, for this reason.
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
