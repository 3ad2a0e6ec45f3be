//! The input of the checker: the log, and the observations of clients.

use std::time::Duration;

use citycode_domain::ids::CodeId;
use citycode_event_store::{CommandId, EventStore, Layout, LogId, Position, ReadError, RecordedCommit, Sequence};
use futures::StreamExt as _;

/// Concurrent reads.
const CONCURRENT_READS: usize = 64;

/// The time since the start of the run, on the test's clock.
pub type Moment = Duration;

/// The input of the checker.
#[derive(Clone, Debug)]
pub struct Run {
    /// The log as it was read at the end.
    pub log: WholeLog,
    /// The commands of all clients, with their answers.
    pub commands: Vec<Command>,
    /// The verdicts of verifiers.
    pub verdicts: Vec<SeenVerdict>,
    /// The snapshots of verifiers.
    pub projections: Vec<SavedProjection>,
}

/// A whole log.
#[derive(Clone, Debug)]
pub struct WholeLog {
    /// Its identity.
    pub log_id: LogId,
    /// Its layout.
    pub layout: Layout,
    /// Its commits, by partition and in the order in which they were read.
    pub commits: Vec<RecordedCommit>,
}

impl WholeLog {
    /// Reads everything up to the heads commit by commit, without subscriptions.
    ///
    /// # Errors
    /// Those of the store. A missing commit is omitted and reported as a gap by the check.
    pub async fn read(store: &dyn EventStore) -> Result<Self, ReadError> {
        let mut commits = Vec::new();
        for (partition, head) in store.heads().await?.iter() {
            let positions = (1..=head.0).map(|sequence| Position {
                partition,
                sequence: Sequence(sequence),
            });
            let mut read =
                futures::stream::iter(positions.map(|position| store.read_at(position))).buffered(CONCURRENT_READS);
            while let Some(commit) = read.next().await {
                commits.extend(commit?);
            }
        }
        Ok(Self {
            log_id: store.log_id(),
            layout: store.layout(),
            commits,
        })
    }
}

/// One command of one client, and every attempt at it.
#[derive(Clone, Debug)]
pub struct Command {
    /// Its id in the log.
    pub command_id: CommandId,
    /// The attempts in order; they do not overlap.
    pub attempts: Vec<Attempt>,
}

impl Command {
    /// A command without attempts.
    #[must_use]
    pub fn new(command_id: CommandId) -> Self {
        Self {
            command_id,
            attempts: Vec::new(),
        }
    }

    /// The time of its first acknowledgement.
    #[must_use]
    pub fn acknowledged(&self) -> Option<Moment> {
        let done = |attempt: &&Attempt| matches!(attempt.answer, Answer::Done { .. });
        self.attempts.iter().find(done).map(|attempt| attempt.answered_at)
    }

    /// Whether every attempt was answered "not done" or refused; then it must not be in the log. After an attempt with
    /// an unknown outcome a refusal does not imply this, because that attempt may still be written.
    #[must_use]
    pub fn is_surely_not_done(&self) -> bool {
        let not_done = |attempt: &Attempt| matches!(attempt.answer, Answer::NotDone | Answer::Refused);
        !self.attempts.is_empty() && self.attempts.iter().all(not_done)
    }
}

/// One attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The time at which it was sent.
    pub invoked_at: Moment,
    /// The time of the answer, or of the client's timeout.
    pub answered_at: Moment,
    /// The answer.
    pub answer: Answer,
}

/// The answer to an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The command was done.
    Done {
        /// Its position, if the answer contains it.
        position: Option<Position>,
        /// The issued code, if any.
        code_id: Option<CodeId>,
    },
    /// This attempt did nothing.
    NotDone,
    /// A rule forbids the command.
    Refused,
    /// The outcome is unknown, or there was no answer.
    Unknown,
}

/// A verdict as its client received it.
#[derive(Clone, Debug)]
pub struct SeenVerdict {
    /// The verifier.
    pub verifier: String,
    /// The time of the request.
    pub asked_at: Moment,
    /// The scanned code.
    pub code_id: CodeId,
    /// Whether the verdict was to admit.
    pub admitted: bool,
    /// The claimed position up to which the verifier had folded the code's partition.
    pub position: Position,
    /// The claimed age of that knowledge.
    pub age_ms: u64,
    /// The age that the place allows.
    pub limit_ms: u64,
}

/// A snapshot of the status projection.
#[derive(Clone, Debug)]
pub struct SavedProjection {
    /// The verifier.
    pub verifier: String,
    /// The file.
    pub bytes: Vec<u8>,
}
