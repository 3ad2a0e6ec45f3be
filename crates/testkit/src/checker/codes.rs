//! The lives of codes, folded anew from the log by a few lines of the checker's own (R3, R4).

use std::collections::{BTreeMap, BTreeSet};

use citycode_domain::event::{CodeIssued, CodeRef, Event, Slot};
use citycode_domain::ids::{CodeId, HolderId, StatusRef};
use citycode_domain::time::Timestamp;
use citycode_event_store::{Position, RecordedCommit};
use citycode_log_folds::{folded_events, holder_of};

use super::{Fault, WholeLog};

/// One code's life in the log.
#[derive(Debug, Clone, Copy)]
pub(super) struct Life {
    pub(super) born_at: Position,
    /// Where it died before its time.
    pub(super) died_at: Option<Position>,
}

#[derive(Default)]
struct Fold {
    lives: BTreeMap<CodeId, Life>,
    /// What lives in each slot, and until when.
    alive: BTreeMap<(HolderId, Slot), (CodeId, Timestamp)>,
    places: BTreeSet<StatusRef>,
    registered: BTreeSet<HolderId>,
}

/// Looks for two living codes in a slot at any point; gives the life of every code.
pub(super) fn check(log: &WholeLog, faults: &mut Vec<Fault>) -> BTreeMap<CodeId, Life> {
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
    fold.lives
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
            Event::CodeIssued(issued) => self.bear(holder, issued, position, faults),
            Event::CodeReportedLost(lost) => self.kill(holder, &lost.code, position, faults),
            Event::CodeRevoked(revoked) => self.kill(holder, &revoked.code, position, faults),
            Event::RelationshipEnded(ended) => self.kill_all(holder, &ended.codes, position, faults),
            Event::HolderErased(erased) => self.kill_all(holder, &erased.codes, position, faults),
            // A held code still counts: its slot has it.
            Event::CodeSuspended(_) | Event::CodeReinstated(_) | Event::StandingChanged(_) => {}
            Event::RelationshipRecorded(_)
            | Event::IndexBlockLeased(_)
            | Event::IndexRangeRevoked(_)
            | Event::HolderRenamed(_)
            | Event::ListNamesAdvanced(_)
            | Event::ForeignMessageDeclared(_)
            | Event::SigningKeyAdded(_)
            | Event::SigningKeyRetired(_)
            | Event::SigningKeyCompromised(_) => {}
        }
    }

    fn bear(&mut self, holder: HolderId, issued: &CodeIssued, position: Position, faults: &mut Vec<Fault>) {
        if let Some(old) = &issued.supersedes {
            self.kill(holder, old, position, faults);
        }
        let (slot, code_id) = (issued.code.slot, issued.code.code_id);
        let living = self.alive.insert((holder, slot), (code_id, issued.expires_at));
        if let Some((first, expires_at)) = living
            && issued.issued_at < expires_at
        {
            faults.push(Fault::TwoValid {
                holder,
                slot,
                first,
                second: code_id,
            });
        }
        let life = Life {
            born_at: position,
            died_at: None,
        };
        if self.lives.insert(code_id, life).is_some() || !self.places.insert(issued.code.status) {
            faults.push(Fault::BornTwice(code_id, position));
        }
    }

    fn kill_all(&mut self, holder: HolderId, codes: &[CodeRef], position: Position, faults: &mut Vec<Fault>) {
        for code in codes {
            self.kill(holder, code, position, faults);
        }
    }

    fn kill(&mut self, holder: HolderId, code: &CodeRef, position: Position, faults: &mut Vec<Fault>) {
        let slot = (holder, code.slot);
        if self.alive.get(&slot).is_some_and(|(living, _)| *living == code.code_id) {
            self.alive.remove(&slot);
        } else {
            faults.push(Fault::NotAlive(code.code_id, position));
        }
        if let Some(life) = self.lives.get_mut(&code.code_id) {
            life.died_at.get_or_insert(position);
        }
    }
}
