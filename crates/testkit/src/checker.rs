//! Checks after a run with faults that the answers to all clients agree with the log.
//!
//! The input is a [`Run`]: the log as read at the end, each client's commands with their answers and times, the
//! verdicts of verifiers with the freshness that they claimed, and the snapshots of verifiers. The output is a list of
//! [`Fault`]s, which is empty if everything is correct. The checks are:
//!
//! - `order`: sequences have no gaps, every bucket is an unbroken chain with the hashes of its bytes, times never
//!   decrease within a holder's stream, and no command precedes one that was acknowledged before it was first sent;
//! - `commands`: an acknowledged command is in the log exactly once, at the acknowledged position; a command that was
//!   only answered "not done" or refused is not in the log; nothing is in the log twice;
//! - `codes`: no holder has two valid codes of one slot at any position of the log (R3, R4);
//! - `verdicts`: no verdict admitted a code that was invalid or not yet issued at the claimed position, and none
//!   claimed to be fresher than it was (R24);
//! - `projections`: the snapshots of verifiers are byte for byte those of a new replay.
//!
//! The checker uses no clock but that of the test, and of the code under test only the codecs and the status
//! projection. Its own tests insert each kind of fault into correct histories.

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

/// A violation that the checker found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// A partition lacks a sequence, or has one twice.
    Gap {
        /// The partition.
        partition: Partition,
        /// The expected sequence.
        expected: Sequence,
        /// The sequence that was found.
        found: Sequence,
    },
    /// A commit does not contain the hash of its bucket's previous commit.
    ChainBroken(Position),
    /// A commit's hash is not that of its bytes.
    HashWrong(Position),
    /// A commit has an earlier time than the previous one of its holder.
    TimeWentBack(Position),
    /// An event cannot be decoded.
    Unreadable(Position),
    /// A command was first sent after another one was acknowledged, but precedes it in the log.
    OutOfOrder {
        /// The command that was acknowledged first.
        earlier: Position,
        /// The command that was sent later.
        later: CommandId,
    },
    /// An acknowledged command is not in the log.
    Lost(CommandId),
    /// A command is in the log twice.
    Duplicated(CommandId, Position, Position),
    /// A command was acknowledged with another position.
    WrongPosition {
        /// The command.
        command: CommandId,
        /// The acknowledged position.
        acknowledged: Position,
        /// The position in the log.
        found: Position,
    },
    /// A command was acknowledged with another code than the log has.
    OtherCode(CommandId, CodeId),
    /// A command is in the log although all its attempts were answered "not done" or refused.
    DoneAfterAll(CommandId, Position),
    /// A code was issued while another one of its slot was valid.
    TwoValid {
        /// The holder.
        holder: HolderId,
        /// The slot.
        slot: Slot,
        /// The code that was valid.
        first: CodeId,
        /// The code that was issued.
        second: CodeId,
    },
    /// An event invalidates a code that is not the valid one of its slot.
    NotValid(CodeId, Position),
    /// A code id, or an index of a status list, was assigned twice.
    IssuedTwice(CodeId, Position),
    /// A holder was registered twice.
    RegisteredTwice(HolderId, Position),
    /// A verdict admitted a code that was invalid at the position that the verdict claimed.
    AdmittedInvalid {
        /// The verifier.
        verifier: String,
        /// The code.
        code_id: CodeId,
        /// The position at which it became invalid.
        ended_at: Position,
    },
    /// A verdict admitted a code that was not yet issued at the position that the verdict claimed.
    AdmittedUnissued {
        /// The verifier.
        verifier: String,
        /// The code.
        code_id: CodeId,
    },
    /// A verdict claimed false freshness: its position excludes a commit that was acknowledged before the time up to
    /// which it claimed to include everything, or its position is past the end of the log.
    ForgedFreshness {
        /// The verifier.
        verifier: String,
        /// The claimed position.
        claimed: Position,
        /// The sequence that it should have reached at least, or the end of the log.
        at_least: Sequence,
    },
    /// A verdict admitted a code with knowledge that was older than the place allows.
    AdmittedStale {
        /// The verifier.
        verifier: String,
        /// The claimed age.
        age_ms: u64,
    },
    /// A verifier's snapshot cannot be loaded.
    ProjectionUnreadable(String),
    /// A verifier's snapshot differs from that of a new replay.
    ProjectionDiffers {
        /// The verifier.
        verifier: String,
        /// The first byte that differs.
        at: usize,
    },
}

/// All faults of a run, by kind and then in log order.
#[must_use]
pub fn check(run: &Run) -> Vec<Fault> {
    let mut faults = Vec::new();
    order::check(run, &mut faults);
    let validity = codes::check(&run.log, &mut faults);
    commands::check(run, &mut faults);
    verdicts::check(run, &validity, &mut faults);
    projections::check(run, &mut faults);
    faults
}
