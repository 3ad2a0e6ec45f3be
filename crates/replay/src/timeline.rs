//! The fold of a log into what recomputation needs.

use std::collections::HashMap;
use std::sync::Arc;

use citycode_domain::event::{Event, ScanBatches};
use citycode_domain::ids::{CodeId, ListId, PolicyDigest, Position, StatusRef};
use citycode_domain::policy::Policy;
use citycode_domain::time::Timestamp;
use citycode_policy_file::PolicyFile;
use citycode_projection::Commit;
use citycode_projection::status::{Effect, effects_of};
use citycode_token::KeyringError;

use crate::keys::KeyHistory;
use crate::life::{CodeLife, LifeChange};
use crate::lives::{Full, Lives};
use crate::losses::Losses;

/// Why an event cannot be folded. Each of these means that the log is not what correct writers write.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TimelineError {
    /// Two codes have the same id.
    #[error("code {0} was issued twice")]
    IssuedTwice(CodeId),
    /// An event changes a code that was not issued before.
    #[error("code {0} changed before it was issued")]
    NeverIssued(CodeId),
    /// The log has more codes or changes, or a greater sequence, than a timeline holds.
    #[error("the log is too large for a timeline at {0}")]
    TooLarge(Position),
    /// An event about signing keys is not valid.
    #[error(transparent)]
    Keys(#[from] KeyringError),
}

/// A policy that was adopted.
#[derive(Clone, Debug)]
pub struct PolicyInLog {
    /// The policy.
    pub policy: Arc<Policy>,
    /// Where it was adopted.
    pub position: Position,
    /// When it was adopted.
    pub adopted_at: Timestamp,
}

/// A commit that is damaged, or that no correct writer appends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogFault {
    /// Where it is.
    pub position: Position,
    /// What is wrong; contains nothing of the commit but ids of codes and keys.
    pub what: String,
}

/// Faults that a timeline keeps; all are counted.
const MAX_FAULTS: usize = 100;

/// Batches of scan records whose digest is in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SealedBatches {
    /// The batches and their digest.
    pub batches: ScanBatches,
    /// Where the digest is.
    pub position: Position,
    /// When it was written.
    pub decided_at: Timestamp,
}

/// Places of a status list that were revoked because changes of the log were lost.
#[derive(Clone, Copy, Debug)]
struct RevokedRange {
    list: ListId,
    first_index: u32,
    count: u32,
    decided_at: Timestamp,
}

impl RevokedRange {
    fn includes(&self, place: StatusRef) -> bool {
        let distance = place.index.checked_sub(self.first_index);
        self.list == place.list && distance.is_some_and(|distance| distance < self.count)
    }
}

/// The lives of all codes, the keys and the policies of a log, or of the part of it that was folded. Every question is
/// answered as of any position up to the last folded commit.
///
/// Memory: 80 bytes for each code on average, and 16 for each change of one; `docs/audit.md` names the bound.
#[derive(Default)]
pub struct Timeline {
    lives: Lives,
    ranges: Vec<RevokedRange>,
    losses: Losses,
    keys: KeyHistory,
    /// Every adoption, in the order of the log: a policy may be adopted again after another one.
    adoptions: Vec<(PolicyDigest, PolicyInLog)>,
    /// The first adoption of each policy.
    policies: HashMap<PolicyDigest, usize>,
    sealed: Vec<SealedBatches>,
    faults: Vec<LogFault>,
    faults_total: u64,
}

impl Timeline {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Folds a commit. The commits of each partition must come in order; partitions and buckets may be left out.
    ///
    /// An event that cannot be folded changes nothing, and is one of [`Timeline::faults`]; the following events are folded,
    /// so that one bad commit does not hide the rest of the log.
    ///
    /// # Errors
    /// The first [`TimelineError`] of the commit.
    pub fn fold(&mut self, commit: &Commit<'_>) -> Result<(), TimelineError> {
        self.losses.read(commit.position, commit.decided_at);
        let mut first = Ok(());
        for event in commit.events {
            if let Err(error) = self.fold_event(event, commit.position, commit.decided_at) {
                self.note_fault(commit.position, error.to_string());
                first = first.and(Err(error));
            }
        }
        first
    }

    /// Notes a commit that a caller could not read.
    pub fn note_fault(&mut self, position: Position, what: String) {
        self.faults_total += 1;
        if self.faults.len() < MAX_FAULTS {
            self.faults.push(LogFault { position, what });
        }
    }

    /// The first hundred faults, in the order of reading.
    #[must_use]
    pub fn faults(&self) -> &[LogFault] {
        &self.faults
    }

    /// How many faults there are.
    #[must_use]
    pub fn faults_total(&self) -> u64 {
        self.faults_total
    }

    fn fold_event(&mut self, event: &Event, position: Position, decided_at: Timestamp) -> Result<(), TimelineError> {
        match event {
            Event::PolicyAdopted(adopted) => {
                // Verdicts under a policy that cannot be read any more are not recomputed; the others are.
                if let Ok(file) = PolicyFile::of(adopted) {
                    self.policies.entry(file.digest).or_insert(self.adoptions.len());
                    let adopted = PolicyInLog {
                        policy: file.policy,
                        position,
                        adopted_at: decided_at,
                    };
                    self.adoptions.push((file.digest, adopted));
                }
            }
            Event::ScanBatchesSealed(sealed) => {
                self.sealed.extend(sealed.batches.iter().map(|batches| SealedBatches {
                    batches: *batches,
                    position,
                    decided_at,
                }))
            }
            Event::IndexRangeRevoked(range) => {
                self.losses.accepted(decided_at);
                self.ranges.push(RevokedRange {
                    list: range.list,
                    first_index: range.first_index,
                    count: range.count,
                    decided_at,
                });
            }
            Event::SigningKeyAdded(_) | Event::SigningKeyRetired(_) | Event::SigningKeyCompromised(_) => {
                self.keys.fold(event, position.sequence.0, decided_at)?;
            }
            _ => self.fold_codes(event, position, decided_at)?,
        }
        Ok(())
    }

    fn fold_codes(&mut self, event: &Event, position: Position, decided_at: Timestamp) -> Result<(), TimelineError> {
        let mut folded = Ok(());
        effects_of(event, |code, effect| {
            let one = match (effect, event) {
                (Effect::Issue { .. }, Event::CodeIssued(issued)) => {
                    let inserted = self.lives.insert(issued, position, decided_at);
                    known(inserted, TimelineError::IssuedTwice(code.code_id), position)
                }
                (Effect::Change(change), _) => {
                    let change = LifeChange {
                        sequence: position.sequence.0,
                        decided_at,
                        change,
                        event: event.type_name(),
                    };
                    let changed = self.lives.change(code.code_id, change);
                    known(changed, TimelineError::NeverIssued(code.code_id), position)
                }
                (Effect::Issue { .. }, _) => Ok(()),
            };
            if folded.is_ok() {
                folded = one;
            }
        });
        folded
    }

    /// The life of a code.
    #[must_use]
    pub fn life(&self, code_id: CodeId) -> Option<CodeLife<'_>> {
        self.lives.life(code_id)
    }

    /// The code at a place of a status list.
    #[must_use]
    pub fn life_at(&self, place: StatusRef) -> Option<CodeLife<'_>> {
        self.lives.life_at(place)
    }

    /// Bytes of memory that the lives of the codes take; the rest is small.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.lives.bytes()
    }

    /// Whether a place without a code in this log was revoked at an instant, because changes of the log were lost.
    #[must_use]
    pub fn is_revoked_place_at(&self, place: StatusRef, at: Timestamp) -> bool {
        let mut ranges = self.ranges.iter();
        ranges.any(|range| range.decided_at <= at && range.includes(place))
    }

    /// Whether any place was revoked because changes of the log were lost.
    #[must_use]
    pub fn has_revoked_places(&self) -> bool {
        !self.ranges.is_empty()
    }

    /// The losses of changes that were accepted in this log.
    #[must_use]
    pub fn losses(&self) -> &Losses {
        &self.losses
    }

    /// The same for a caller that learns of losses before it folds the log.
    pub fn losses_mut(&mut self) -> &mut Losses {
        &mut self.losses
    }

    /// The signing keys.
    #[must_use]
    pub fn keys(&self) -> &KeyHistory {
        &self.keys
    }

    /// A policy by its digest, as it was adopted first.
    #[must_use]
    pub fn policy(&self, digest: PolicyDigest) -> Option<&PolicyInLog> {
        self.policies.get(&digest).map(|first| &self.adoptions[*first].1)
    }

    /// Every adoption of a policy, in the order of the log. A policy that was adopted again is there again.
    pub fn policies(&self) -> impl Iterator<Item = (PolicyDigest, &PolicyInLog)> {
        self.adoptions.iter().map(|(digest, policy)| (*digest, policy))
    }

    /// The digests of scan records, in the order of the log.
    #[must_use]
    pub fn sealed_batches(&self) -> &[SealedBatches] {
        &self.sealed
    }
}

fn known(done: Result<bool, Full>, otherwise: TimelineError, position: Position) -> Result<(), TimelineError> {
    match done {
        Ok(true) => Ok(()),
        Ok(false) => Err(otherwise),
        Err(Full) => Err(TimelineError::TooLarge(position)),
    }
}
