//! After a run of faults: does what every client was told agree with the whole log?
//!
//! The input is a [`Run`]: the log as read at the end, each client's commands with what it was told and when, the
//! verdicts of verifiers with the freshness that they claimed, and the snapshots that verifiers left. The output is
//! a list of [`Fault`]s, empty where nothing is wrong. What is checked:
//!
//! - `order`: sequences without a gap, every bucket an unbroken chain whose hashes are those of its bytes, no time
//!   that goes back within a holder's stream, and no command before one that was acknowledged before it was asked;
//! - `commands`: what was acknowledged is there exactly once, where it was said to be; what was answered "not done"
//!   or refused, and nothing else, is nowhere; nothing stands twice;
//! - `codes`: no holder has two living codes of one slot at any point of the log (R3, R4);
//! - `verdicts`: no verdict admitted what was dead or unborn at the position that it claimed, and none claimed to be
//!   fresher than it was (R24);
//! - `projections`: what verifiers wrote down is byte for byte what a fresh replay writes.
//!
//! It believes nobody's clock but the test's own, and none of the code that it checks beyond codecs and the fold of
//! the status of codes. Its own tests plant each kind of fault into good histories.

mod codes;
mod commands;
mod order;
mod projections;
mod run;
mod verdicts;

#[cfg(test)]
mod tests;

use citycode_domain::event::Slot;
use citycode_domain::ids::{CodeId, HolderId};
use citycode_event_store::{CommandId, Partition, Position, Sequence};

pub use run::{Answer, Attempt, Command, Moment, Run, SavedProjection, SeenVerdict, WholeLog};

/// Something that must never be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// A partition lacks a sequence, or has one twice.
    Gap {
        /// Where.
        partition: Partition,
        /// Which sequence should have stood there.
        expected: Sequence,
        /// Which one did.
        found: Sequence,
    },
    /// A commit does not carry the hash of the one before it in its bucket.
    ChainBroken(Position),
    /// A commit's hash is not that of its bytes.
    HashWrong(Position),
    /// A commit was decided before the last one of its holder.
    TimeWentBack(Position),
    /// An event that cannot be read.
    Unreadable(Position),
    /// A command was asked after another one was acknowledged, and stands before it.
    OutOfOrder {
        /// The one that was acknowledged first.
        earlier: Position,
        /// The one that was asked later.
        later: CommandId,
    },
    /// A command was acknowledged and is not there.
    Lost(CommandId),
    /// A command stands in the log twice.
    Twice(CommandId, Position, Position),
    /// A command was acknowledged at another position.
    Elsewhere {
        /// Which command.
        command: CommandId,
        /// Where its client was told.
        told: Position,
        /// Where it is.
        found: Position,
    },
    /// A command was acknowledged with another code than the log has.
    OtherCode(CommandId, CodeId),
    /// A command that was answered "not done" or refused, each time, is there all the same.
    DoneAfterAll(CommandId, Position),
    /// A code was born while another one of its slot lived.
    TwoValid {
        /// Whose.
        holder: HolderId,
        /// Of which slot.
        slot: Slot,
        /// Which lived.
        first: CodeId,
        /// Which was born beside it.
        second: CodeId,
    },
    /// An event names a code as living that does not live in its slot.
    NotAlive(CodeId, Position),
    /// A code, or a place in a status list, was given twice.
    BornTwice(CodeId, Position),
    /// A holder was registered twice.
    RegisteredTwice(HolderId, Position),
    /// A verdict admitted a code that was dead at the position that the verdict claimed.
    AdmittedDead {
        /// Whose verdict.
        verifier: String,
        /// Of which code.
        code_id: CodeId,
        /// Where it had died.
        died_at: Position,
    },
    /// A verdict admitted a code that did not exist at the position that the verdict claimed.
    AdmittedUnborn {
        /// Whose verdict.
        verifier: String,
        /// Of which code.
        code_id: CodeId,
    },
    /// A verdict claimed more than it can have known: something acknowledged before the moment up to which it claimed
    /// to know everything stands after its position, or its position is past the log's end.
    ForgedFreshness {
        /// Whose verdict.
        verifier: String,
        /// The position that it claimed.
        claimed: Position,
        /// What it should have reached at least; past the end, the end.
        surely: Sequence,
    },
    /// A verdict admitted on knowledge older than the place allows.
    AdmittedStale {
        /// Whose verdict.
        verifier: String,
        /// As old as it said.
        age_ms: u64,
    },
    /// A verifier's snapshot cannot be loaded.
    ProjectionUnreadable(String),
    /// A verifier's snapshot is not what a fresh replay writes.
    ProjectionDiffers {
        /// Whose.
        verifier: String,
        /// The first byte that differs.
        at: usize,
    },
}

/// Everything that is wrong with a run, by kinds and then in the log's order.
#[must_use]
pub fn check(run: &Run) -> Vec<Fault> {
    let mut faults = Vec::new();
    order::check(run, &mut faults);
    let lives = codes::check(&run.log, &mut faults);
    commands::check(run, &mut faults);
    verdicts::check(run, &lives, &mut faults);
    projections::check(run, &mut faults);
    faults
}
