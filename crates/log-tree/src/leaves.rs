//! From a commit to the leaves of its partition's tree: which statements about codes an event makes.
//!
//! # Split, version 1
//! | event | statements, in this order |
//! |---|---|
//! | `CodeIssued` | the birth of its code; the death of the code that it superseded |
//! | `CodeReportedLost`, `CodeRevoked` | the death of its code |
//! | `RelationshipEnded`, `HolderErased` | the death of each of its codes, in the order of the event |
//! | any other, and heartbeats | none |
//!
//! A death is dated by the commit. A suspension, a change of standing and an expiry are not deaths.
//!
//! A message that is not a commit has one leaf with one part: `"F" ‖ digest:32`, under that digest as the secret.
//! Whether a decodable message is a copy of an earlier commit depends on other messages, so it does not matter here: a
//! copy has the leaves of a commit at its own position. So each leaf follows from the message at its position alone.
//!
//! Trees are public and every reader of the log must compute the same leaves, so this split never changes. An event that
//! this program does not know is an error, because a later version could let it make statements.

use citycode_domain::event::{CodeRef, Event};
use citycode_event_store::RecordedCommit;
use citycode_transparency::leaf::{self, CommitSecret, LeafPosition, Opening, TooManyParts, parts};
use citycode_transparency::statement::{Act, Cause, CodeStatement};
use citycode_transparency::{Hash, leaf_hash};
use citycode_wire::event::{DecodeEventError, decode_for_projection};

/// The first byte of the part of a message that is not a commit.
const FOREIGN: u8 = b'F';

/// Why a commit has no leaves.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SplitError {
    /// An event is unknown or cannot be decoded.
    #[error(transparent)]
    Event(#[from] DecodeEventError),
    /// An event names too many codes.
    #[error(transparent)]
    Parts(#[from] TooManyParts),
    /// The commit has more events than a commit may have.
    #[error("the commit has too many events")]
    Events,
}

/// The statements that an event makes about codes. `decided_at` is the time of its commit in Unix seconds.
#[must_use]
pub fn statements(event: &Event, decided_at: i64) -> Vec<CodeStatement> {
    let died = |code: &CodeRef, cause| CodeStatement {
        code_id: code.code_id.0,
        act: Act::Died { cause, at: decided_at },
    };
    let all_died = |codes: &[CodeRef], cause| codes.iter().map(|code| died(code, cause)).collect();
    match event {
        Event::CodeIssued(issued) => {
            let birth = CodeStatement {
                code_id: issued.code.code_id.0,
                act: Act::Issued {
                    issued_at: issued.issued_at.0,
                    expires_at: issued.expires_at.0,
                    claims_digest: issued.claims_digest.0,
                },
            };
            let superseded = issued.supersedes.iter().map(|code| died(code, Cause::Superseded));
            std::iter::once(birth).chain(superseded).collect()
        }
        Event::CodeReportedLost(lost) => vec![died(&lost.code, Cause::ReportedLost)],
        Event::CodeRevoked(revoked) => vec![died(&revoked.code, Cause::Revoked)],
        Event::RelationshipEnded(ended) => all_died(&ended.codes, Cause::RelationshipEnded),
        Event::HolderErased(erased) => all_died(&erased.codes, Cause::Erased),
        Event::HolderRegistered(_)
        | Event::RelationshipRecorded(_)
        | Event::CodeSuspended(_)
        | Event::CodeReinstated(_)
        | Event::StandingChanged(_)
        | Event::HolderRenamed(_)
        | Event::IndexBlockLeased(_)
        | Event::IndexRangeRevoked(_)
        | Event::ListNamesAdvanced(_)
        | Event::ForeignMessageDeclared(_)
        | Event::PolicyAdopted(_)
        | Event::ScanBatchesSealed(_)
        | Event::QueriesSealed(_)
        | Event::SigningKeyAdded(_)
        | Event::SigningKeyRetired(_)
        | Event::SigningKeyCompromised(_) => Vec::new(),
    }
}

/// One event of a commit, ready to be committed to.
struct Splitted {
    position: LeafPosition,
    parts: Vec<Vec<u8>>,
}

/// How many leaves a message has: one for each event, or one if it is not a commit.
#[must_use]
pub fn leaf_count(commit: &RecordedCommit) -> u64 {
    (commit.commit.events.len() as u64).max(1)
}

fn secret(commit: &RecordedCommit) -> CommitSecret {
    CommitSecret(commit.hash.0)
}

fn split(commit: &RecordedCommit) -> Result<Vec<Splitted>, SplitError> {
    let count = u16::try_from(leaf_count(commit)).map_err(|_| SplitError::Events)?;
    let at = |event| LeafPosition {
        partition: commit.position.partition.0,
        sequence: commit.position.sequence.0,
        event,
        events: count,
    };
    let recorded = &commit.commit;
    // A follower passes a message in the heartbeat bucket that is not a commit as a heartbeat without events.
    if commit.foreign.is_some() || recorded.events.is_empty() {
        let mut whole = vec![FOREIGN];
        whole.extend(commit.hash.0);
        return Ok(vec![Splitted {
            position: at(0),
            parts: vec![whole],
        }]);
    }
    let mut splitted = Vec::with_capacity(recorded.events.len());
    let are_facts = !recorded.facts().is_empty();
    for (number, data) in (0..).zip(&recorded.events) {
        let stated = if are_facts {
            let event = decode_for_projection(&data.event_type, data.version, &data.payload)?;
            statements(&event, recorded.decided_at)
        } else {
            Vec::new()
        };
        let stated = stated.iter().map(CodeStatement::to_bytes).collect();
        splitted.push(Splitted {
            position: at(number),
            parts: parts(&data.event_type, data.version, &data.payload, stated),
        });
    }
    Ok(splitted)
}

/// The leaf hashes of the message at a position, in the order of its events.
///
/// # Errors
/// [`SplitError`].
pub fn leaf_hashes(commit: &RecordedCommit) -> Result<Vec<Hash>, SplitError> {
    let secret = secret(commit);
    split(commit)?
        .iter()
        .map(|event| Ok(leaf_hash(&leaf::entry(&secret, &event.position, &event.parts)?)))
        .collect()
}

/// Opens the first statement of a commit for which `wanted` holds; `None` if there is none.
///
/// # Errors
/// [`SplitError`].
pub fn open_statement(
    commit: &RecordedCommit,
    wanted: impl Fn(&CodeStatement) -> bool,
) -> Result<Option<Opening>, SplitError> {
    if commit.foreign.is_some() {
        return Ok(None);
    }
    let secret = secret(commit);
    for event in split(commit)? {
        let is_wanted = |part: &Vec<u8>| CodeStatement::parse(part).is_ok_and(|statement| wanted(&statement));
        if let Some(part) = event.parts.iter().position(is_wanted) {
            return Ok(Opening::new(&secret, &event.position, &event.parts, part));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
