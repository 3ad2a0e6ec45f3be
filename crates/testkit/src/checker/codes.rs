//! When each code was valid, folded from the log independently of the code under test (R3, R4).

use std::collections::{BTreeMap, BTreeSet};

use citycode_domain::event::{CodeIssued, CodeRef, Event, Slot};
use citycode_domain::ids::{CodeId, HolderId, StatusRef};
use citycode_domain::time::Timestamp;
use citycode_event_store::{Position, RecordedCommit};
use citycode_log_folds::{folded_events, holder_of};

use super::{Fault, WholeLog};

/// The positions between which a code was valid.
#[derive(Debug, Clone, Copy)]
pub(super) struct Validity {
    pub(super) issued_at: Position,
    /// The position at which it became invalid before its expiry.
    pub(super) ended_at: Option<Position>,
}

#[derive(Default)]
struct Fold {
    codes: BTreeMap<CodeId, Validity>,
    /// The valid code of each slot and its expiry.
    valid: BTreeMap<(HolderId, Slot), (CodeId, Timestamp)>,
    indexes: BTreeSet<StatusRef>,
    registered: BTreeSet<HolderId>,
}

/// Searches for two valid codes of a slot; returns the validity of every code.
pub(super) fn check(log: &WholeLog, faults: &mut Vec<Fault>) -> BTreeMap<CodeId, Validity> {
    let mut fold = Fold::default();
    for commit in &log.commits {
        let Some(holder) = holder_of(&commit.commit.stream) else {
            continue;
        };
        match folded_events(commit) {
            Ok(events) => {
                for event in &events {
                    fold.apply(holder, event, commit, faults);
                }
            }
            Err(_) => faults.push(Fault::Unreadable(commit.position)),
        }
    }
    fold.codes
}

impl Fold {
    fn apply(&mut self, holder: HolderId, event: &Event, commit: &RecordedCommit, faults: &mut Vec<Fault>) {
        let position = commit.position;
        match event {
            Event::HolderRegistered(_) => {
                if !self.registered.insert(holder) {
                    faults.push(Fault::RegisteredTwice(holder, position));
                }
            }
            Event::CodeIssued(issued) => self.issue(holder, issued, position, faults),
            Event::CodeReportedLost(lost) => self.end(holder, &lost.code, position, faults),
            Event::CodeRevoked(revoked) => self.end(holder, &revoked.code, position, faults),
            Event::RelationshipEnded(ended) => self.end_all(holder, &ended.codes, position, faults),
            Event::HolderErased(erased) => self.end_all(holder, &erased.codes, position, faults),
            // A held code still occupies its slot.
            Event::CodeSuspended(_) | Event::CodeReinstated(_) | Event::StandingChanged(_) => {}
            Event::RelationshipRecorded(_)
            | Event::IndexBlockLeased(_)
            | Event::IndexRangeRevoked(_)
            | Event::HolderRenamed(_)
            | Event::ListNamesAdvanced(_)
            | Event::ForeignMessageDeclared(_)
            | Event::PolicyAdopted(_)
            | Event::ScanBatchesSealed(_)
            | Event::QueriesSealed(_)
            | Event::SigningKeyAdded(_)
            | Event::SigningKeyRetired(_)
            | Event::SigningKeyCompromised(_) => {}
        }
    }

    fn issue(&mut self, holder: HolderId, issued: &CodeIssued, position: Position, faults: &mut Vec<Fault>) {
        if let Some(old) = &issued.supersedes {
            self.end(holder, old, position, faults);
        }
        let (slot, code_id) = (issued.code.slot, issued.code.code_id);
        let valid = self.valid.insert((holder, slot), (code_id, issued.expires_at));
        if let Some((first, expires_at)) = valid
            && issued.issued_at < expires_at
        {
            faults.push(Fault::TwoValid {
                holder,
                slot,
                first,
                second: code_id,
            });
        }
        let validity = Validity {
            issued_at: position,
            ended_at: None,
        };
        if self.codes.insert(code_id, validity).is_some() || !self.indexes.insert(issued.code.status) {
            faults.push(Fault::IssuedTwice(code_id, position));
        }
    }

    fn end_all(&mut self, holder: HolderId, codes: &[CodeRef], position: Position, faults: &mut Vec<Fault>) {
        for code in codes {
            self.end(holder, code, position, faults);
        }
    }

    fn end(&mut self, holder: HolderId, code: &CodeRef, position: Position, faults: &mut Vec<Fault>) {
        let slot = (holder, code.slot);
        if self.valid.get(&slot).is_some_and(|(valid, _)| *valid == code.code_id) {
            self.valid.remove(&slot);
        } else {
            faults.push(Fault::NotValid(code.code_id, position));
        }
        if let Some(validity) = self.codes.get_mut(&code.code_id) {
            validity.ended_at.get_or_insert(position);
        }
    }
}
