//! The whole log, and from where on parts of it cannot be trusted.
//!
//! Where a message cannot be read, is missing, or breaks the chain of its bucket, some change of a code of that partition
//! may be unknown or invented. What was read before, and the other partitions, are sound.

use std::collections::{BTreeMap, HashMap};

use citycode_event_store::follow::{FollowError, resolve_chain_break};
use citycode_event_store::{
    BucketId, CommitHash, EventStore, LogPosition, Partition, Position, ReadError, RecordedCommit, Sequence,
    SubscriptionError,
};
use citycode_replay::Timeline;
use citycode_service_kit::problem::Problem;

use crate::history::unavailable;

/// The damaged parts of the log: for each partition the first position from which on its commits are not all known, and
/// why.
#[derive(Default)]
pub(crate) struct Unsound(BTreeMap<Partition, (Sequence, String)>);

impl Unsound {
    fn note(&mut self, at: Position, what: String) {
        let first = self.0.entry(at.partition).or_insert((at.sequence, what.clone()));
        if at.sequence < first.0 {
            *first = (at.sequence, what);
        }
    }

    /// Whether what rests on a partition up to this position rests on a damaged part.
    pub(crate) fn affects(&self, position: Position) -> bool {
        self.0
            .get(&position.partition)
            .is_some_and(|(first, _)| *first <= position.sequence)
    }

    /// Whether a partition has a damaged part.
    pub(crate) fn is_in(&self, partition: Partition) -> bool {
        self.0.contains_key(&partition)
    }

    /// The first position of each damaged part, and what is wrong there.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Position, &str)> {
        self.0.iter().map(|(partition, (sequence, what))| {
            let position = Position {
                partition: *partition,
                sequence: *sequence,
            };
            (position, what.as_str())
        })
    }
}

/// What was read of the whole log.
pub(crate) struct WholeLog {
    /// The fold of everything that could be read.
    pub(crate) timeline: Timeline,
    /// Where the log ended when the reading began.
    pub(crate) heads: LogPosition,
    /// What cannot be trusted.
    pub(crate) unsound: Unsound,
    /// The last commit of each bucket.
    ends: HashMap<BucketId, (CommitHash, Sequence)>,
}

impl WholeLog {
    pub(super) fn new(heads: LogPosition) -> Self {
        Self {
            timeline: Timeline::new(),
            heads,
            unsound: Unsound::default(),
            ends: HashMap::new(),
        }
    }

    /// Passes over messages that cannot be delivered.
    ///
    /// # Errors
    /// `unavailable` if the log cannot be read now.
    pub(super) fn pass(&mut self, position: &mut LogPosition, error: SubscriptionError) -> Result<(), Problem> {
        let undelivered = error.undelivered(position).map_err(|error| unavailable(&error))?;
        let at = undelivered.position;
        self.timeline.note_fault(at, undelivered.what.clone());
        self.unsound.note(at, undelivered.what);
        position.set(at.partition, undelivered.last);
        Ok(())
    }

    /// Whether a message is a commit of its bucket's chain; a foreign message and a copy of an earlier commit are not. A
    /// broken chain is a fault.
    ///
    /// # Errors
    /// `unavailable` if the log cannot be read now.
    pub(super) async fn follows(&mut self, store: &dyn EventStore, commit: &RecordedCommit) -> Result<bool, Problem> {
        if commit.foreign.is_some() {
            return Ok(false);
        }
        if store.layout().is_heartbeat_bucket(commit.bucket) {
            return Ok(true);
        }
        let end = self.ends.get(&commit.bucket).copied();
        let (expected, before) = end.unwrap_or((CommitHash::NONE, Sequence::START));
        if expected != commit.previous_hash {
            match resolve_chain_break(store, commit).await {
                Ok(Some(_)) => return Ok(false),
                Ok(None) => {}
                Err(FollowError::Subscription(SubscriptionError::Read(
                    error @ (ReadError::Closed | ReadError::Unavailable(_)),
                ))) => return Err(unavailable(&error)),
                Err(_) => self.broken(commit.position, before),
            }
        }
        self.ends.insert(commit.bucket, (commit.hash, commit.position.sequence));
        Ok(true)
    }

    /// The chain of a bucket is broken between its commit `before` (the start of the log if there is none) and this one.
    fn broken(&mut self, at: Position, before: Sequence) {
        let partition = at.partition;
        let is_explained = self.unsound.0.get(&partition).is_some_and(|(first, _)| {
            // The commit in between is one that could not be read.
            (before..at.sequence).contains(first)
        });
        if is_explained {
            return;
        }
        let what = "the commit before this one in its bucket was changed or is missing".to_owned();
        self.timeline.note_fault(at, what);
        let first = Position {
            partition,
            sequence: before.max(Sequence(1)),
        };
        self.unsound
            .note(first, format!("the chain of a bucket is broken at {at}"));
    }
}
