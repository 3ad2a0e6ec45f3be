//! What a run leaves behind.

use std::time::Duration;

use citycode_domain::ids::CodeId;
use citycode_event_store::{CommandId, EventStore, Layout, LogId, Position, ReadError, RecordedCommit, Sequence};
use futures::StreamExt as _;

/// Reads under way at once.
const AT_ONCE: usize = 64;

/// Time since the run began, on the one clock of whoever wrote the histories.
pub type Moment = Duration;

/// Everything that a run leaves to be checked.
#[derive(Clone, Debug)]
pub struct Run {
    /// The log as it was read in the end.
    pub log: WholeLog,
    /// What every client asked and was told.
    pub commands: Vec<Command>,
    /// What verifiers said.
    pub verdicts: Vec<SeenVerdict>,
    /// What verifiers wrote down.
    pub projections: Vec<SavedProjection>,
}

/// A log, whole.
#[derive(Clone, Debug)]
pub struct WholeLog {
    /// Its identity.
    pub log_id: LogId,
    /// Its numbers.
    pub layout: Layout,
    /// Its commits: partition by partition, each in the order in which it was read.
    pub commits: Vec<RecordedCommit>,
}

impl WholeLog {
    /// Reads everything up to the heads, commit by commit, past every cache and subscription.
    ///
    /// # Errors
    /// As the store's; a position that has no commit is left out, and the check calls it a gap.
    pub async fn read(store: &dyn EventStore) -> Result<Self, ReadError> {
        let mut commits = Vec::new();
        for (partition, head) in store.heads().await?.iter() {
            let positions = (1..=head.0).map(|sequence| Position {
                partition,
                sequence: Sequence(sequence),
            });
            let mut read = futures::stream::iter(positions.map(|position| store.read_at(position))).buffered(AT_ONCE);
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
    /// The id under which it stands in the log.
    pub command_id: CommandId,
    /// In their order; one after the other.
    pub attempts: Vec<Attempt>,
}

impl Command {
    /// A command that nothing was asked of yet.
    #[must_use]
    pub fn new(command_id: CommandId) -> Self {
        Self {
            command_id,
            attempts: Vec::new(),
        }
    }

    /// When it was acknowledged first.
    #[must_use]
    pub fn acknowledged(&self) -> Option<Moment> {
        let done = |attempt: &&Attempt| matches!(attempt.answer, Answer::Done { .. });
        self.attempts.iter().find(done).map(|attempt| attempt.answered_at)
    }

    /// Whether its client was told each time that it is not done: then it must be nowhere. A refusal after an
    /// attempt of unknown outcome does not say so, because that attempt may still come through.
    #[must_use]
    pub fn is_surely_not_done(&self) -> bool {
        let not_done = |attempt: &Attempt| matches!(attempt.answer, Answer::NotDone | Answer::Refused);
        !self.attempts.is_empty() && self.attempts.iter().all(not_done)
    }
}

/// One attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// When it was sent.
    pub invoked_at: Moment,
    /// When its answer was there, or when its client gave up.
    pub answered_at: Moment,
    /// What its client was told.
    pub answer: Answer,
}

/// What a client was told of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is done.
    Done {
        /// Where it stands, if the client was told.
        position: Option<Position>,
        /// Which code was born of it, if one was.
        code_id: Option<CodeId>,
    },
    /// It was not done, by this attempt.
    NotDone,
    /// The rules forbid it.
    Refused,
    /// Nobody knows; also where no answer came.
    Unknown,
}

/// A verdict as its asker got it.
#[derive(Clone, Debug)]
pub struct SeenVerdict {
    /// Who judged.
    pub verifier: String,
    /// When it was asked.
    pub asked_at: Moment,
    /// Which code was shown.
    pub code_id: CodeId,
    /// Whether it let in.
    pub admitted: bool,
    /// Up to which commit the code's partition was known, as the verdict said.
    pub position: Position,
    /// How old that knowledge was, as the verdict said.
    pub age_ms: u64,
    /// How old the place allows it to be.
    pub limit_ms: u64,
}

/// A snapshot of the status of codes.
#[derive(Clone, Debug)]
pub struct SavedProjection {
    /// Whose.
    pub verifier: String,
    /// The file.
    pub bytes: Vec<u8>,
}
