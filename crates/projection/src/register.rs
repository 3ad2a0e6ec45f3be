//! The projection on which writers decide: the state of every holder and the tail of every bucket, in memory.
//!
//! Holders are packed (`packing`) into pages of shards chosen by their id (`shard`): about 130 bytes per holder
//! with 2.5 codes in total. Only folding changes the register.
//!
//! **The order that ensures R3.** A fold changes the holder first and its bucket's tail second;
//! [`HolderRegister::basis`] reads the tail first and the holder second. So the tail that a decision expects is
//! never newer than the state on which it is based: in the worst case the append is refused and decided again.

mod arena;
mod dependents;
mod packing;
mod partition;
mod saved;
mod shard;

pub use packing::{RECENT_COMMANDS, RecentCommands};

use citycode_domain::event::Event;
use citycode_domain::ids::{CodeId, HolderId, Position};
use citycode_domain::lifecycle::HolderState;
use citycode_log_position::BucketTail;
use parking_lot::RwLock;

use crate::commit::{ApplyError, Commit};
use crate::foreign::ForeignMessage;
use crate::point::PartitionPoint;
use dependents::Dependents;
use packing::Packed;
use partition::PartitionTails;
use shard::Shard;

/// Number of shards, one for each value of a byte: high enough that readers rarely wait for the fold and that growing
/// one shard's table takes 2 ms at ten million holders; low enough that a small deployment needs only 8 MiB.
const SHARDS: usize = 256;

/// The register of all holders. It is shared by reference; a fold locks one partition and one shard.
pub struct HolderRegister {
    partitions: Box<[RwLock<PartitionTails>]>,
    shards: Box<[RwLock<Shard>]>,
    dependents: Dependents,
}

/// The state on which one decision is based.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DecisionBasis {
    /// The tail that the append must expect; `None` if the bucket is empty.
    pub tail: Option<BucketTail>,
    /// The holder's state, at least as new as the tail; the default if the holder is unknown.
    pub state: HolderState,
    /// The holder's most recent commands.
    pub recent: RecentCommands,
}

impl HolderRegister {
    /// An empty register for a log with this many partitions, at the start of the log.
    #[must_use]
    pub fn new(partitions: u16) -> Self {
        Self {
            partitions: (0..partitions).map(|_| RwLock::default()).collect(),
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            dependents: Dependents::default(),
        }
    }

    fn shard(&self, holder: HolderId) -> &RwLock<Shard> {
        // The last byte, because the hash within the shard uses the first ones.
        &self.shards[usize::from(holder.0[HolderId::LEN - 1])]
    }

    /// The state of a holder and its most recent commands; `None` if the log contains nothing about the holder.
    #[must_use]
    pub fn get(&self, holder: HolderId) -> Option<(HolderState, RecentCommands)> {
        let mut packed = Packed::default();
        let found = self.shard(holder).read().read(holder, &mut packed);
        found.then_some((packed.state, packed.recent))
    }

    /// The tail of a bucket; `None` if the bucket is empty or the log does not have the partition.
    #[must_use]
    pub fn tail(&self, partition: u16, bucket: u16) -> Option<BucketTail> {
        let partition = self.partitions.get(usize::from(partition))?;
        partition.read().tail(bucket)
    }

    /// Tail and state, read in the order that a decision needs (see the module documentation).
    #[must_use]
    pub fn basis(&self, partition: u16, bucket: u16, holder: HolderId) -> DecisionBasis {
        let tail = self.tail(partition, bucket);
        let (state, recent) = self.get(holder).unwrap_or_default();
        DecisionBasis { tail, state, recent }
    }

    /// The holders for whom a relationship with this guardian is recorded, in no order.
    #[must_use]
    pub fn dependents_of(&self, guardian: HolderId) -> Vec<HolderId> {
        self.dependents.of(guardian)
    }

    /// The sequence of the first foreign message that confines a bucket, if the bucket is confined.
    #[must_use]
    pub fn confining(&self, partition: u16, bucket: u16) -> Option<u64> {
        let partition = self.partitions.get(usize::from(partition))?;
        partition.read().foreign.confining(bucket)
    }

    /// The foreign message at a sequence of a partition, if there is one.
    #[must_use]
    pub fn foreign_at(&self, partition: u16, sequence: u64) -> Option<ForeignMessage> {
        let partition = self.partitions.get(usize::from(partition))?;
        partition.read().foreign.at(sequence)
    }

    /// The confined buckets of a partition, ascending; `None` if the log does not have the partition.
    #[must_use]
    pub fn confined(&self, partition: u16) -> Option<Vec<u16>> {
        let partition = self.partitions.get(usize::from(partition))?;
        Some(partition.read().foreign.confined().collect())
    }

    /// Folds a message that is not a commit: its bucket is confined, and nothing else changes.
    ///
    /// # Errors
    /// [`ApplyError`]; the register is unchanged.
    pub fn apply_foreign(&self, position: Position, message: ForeignMessage) -> Result<(), ApplyError> {
        let (partition, sequence) = position.parts();
        let Some(tails) = self.partitions.get(usize::from(partition)) else {
            return Err(ApplyError::UnknownPartition {
                partition,
                partitions: u16::try_from(self.partitions.len()).unwrap_or(u16::MAX),
            });
        };
        let mut tails = tails.write();
        crate::commit::check_next(position, tails.point.sequence)?;
        if !tails.foreign.has_capacity() {
            return Err(ApplyError::TooManyForeign { partition });
        }
        tails.foreign.insert(sequence, message);
        tails.point.sequence = sequence;
        Ok(())
    }

    /// The relationships whose guardian is erased, as (dependent, guardian), in ascending order. Another writer
    /// recorded them while the guardian was erased. Codes that depend on them stay valid until the relationship
    /// is ended. The call costs nothing while there are none.
    #[must_use]
    pub fn orphaned_relationships(&self) -> Vec<(HolderId, HolderId)> {
        let stands = |(dependent, guardian): &(HolderId, HolderId)| {
            let state = self.get(*dependent).map(|(state, _)| state);
            state.is_some_and(|state| state.has_guardian(*guardian))
        };
        let orphaned = self.dependents.orphaned();
        let (stand, ended) = orphaned.into_iter().partition::<Vec<_>, _>(stands);
        self.dependents.forget_orphaned(&ended);
        stand
    }

    /// Searches all relationships for guardians who are erased, because a saved register does not list them. It
    /// must be called after loading; afterwards folding detects them.
    pub(crate) fn find_orphaned(&self) {
        for guardian in self.dependents.guardians() {
            if self.is_erased(guardian) {
                self.dependents.orphan_all_of(guardian);
            }
        }
    }

    fn is_erased(&self, holder: HolderId) -> bool {
        self.get(holder).is_some_and(|(state, _)| state.erased)
    }

    /// How far a partition was folded; `None` if the log does not have it.
    #[must_use]
    pub fn point(&self, partition: u16) -> Option<PartitionPoint> {
        let partition = self.partitions.get(usize::from(partition))?;
        Some(partition.read().point)
    }

    /// The number of holders, including erased ones.
    #[must_use]
    pub fn holder_count(&self) -> u64 {
        let shards = self.shards.iter();
        shards.map(|shard| shard.read().len() as u64).sum()
    }

    /// The holder of a code, if it is the last code of its slot; a replaced code is not found. This scans all
    /// holders one at a time, so that folding hardly waits: it takes some seconds for ten million.
    #[must_use]
    pub fn holder_of_code(&self, code_id: CodeId) -> Option<HolderId> {
        let mut packed = Packed::default();
        self.shards.iter().find_map(|shard| {
            let holders: Vec<HolderId> = shard.read().holders().collect();
            let mut holders = holders.into_iter();
            holders.find(|holder| {
                let found = shard.read().read(*holder, &mut packed);
                found && packed.state.slots.iter().any(|slot| slot.code.code_id == code_id)
            })
        })
    }

    /// All holders including erased ones, in no order. Folding waits for one shard at a time.
    #[must_use]
    pub fn holders(&self) -> Vec<HolderId> {
        let mut holders = Vec::new();
        for shard in &self.shards {
            holders.extend(shard.read().holders());
        }
        holders
    }

    /// The erased holders, in no order. This scans all holders; folding waits for one shard at a time.
    #[must_use]
    pub fn erased(&self) -> Vec<HolderId> {
        let mut erased = Vec::new();
        for shard in &self.shards {
            erased.extend(shard.read().erased());
        }
        erased
    }

    /// Folds one complete commit: first the holder, then the bucket's tail, then the position.
    ///
    /// Different threads may fold different partitions; commits of one partition must be folded in order.
    ///
    /// # Errors
    /// [`ApplyError`]; the register is unchanged.
    pub fn apply(&self, commit: &Commit<'_>) -> Result<(), ApplyError> {
        let (partition, sequence) = commit.position.parts();
        let Some(tails) = self.partitions.get(usize::from(partition)) else {
            return Err(ApplyError::UnknownPartition {
                partition,
                partitions: u16::try_from(self.partitions.len()).unwrap_or(u16::MAX),
            });
        };
        let mut tails = tails.write();
        crate::commit::check_next(commit.position, tails.point.sequence)?;
        if let Some(holder) = commit.holder {
            self.fold_holder(holder, commit);
        }
        for event in commit.events {
            if let Event::ForeignMessageDeclared(declared) = event {
                tails
                    .foreign
                    .declare(commit.bucket, declared.sequence, &declared.digest);
            }
        }
        tails.set(commit.bucket, commit.tail);
        tails.point = PartitionPoint {
            sequence,
            reaches: commit.reaches(tails.point.reaches),
        };
        Ok(())
    }

    fn fold_holder(&self, holder: HolderId, commit: &Commit<'_>) {
        let (mut before, mut after, mut erased) = (Vec::new(), Vec::new(), false);
        self.shard(holder).write().update(holder, |packed| {
            before.clone_from(&packed.state.guardians);
            erased = packed.state.erased;
            for event in commit.events {
                packed.state.apply(event, commit.position, commit.decided_at);
            }
            packed.recent.push(commit.message_id_prefix);
            after.clone_from(&packed.state.guardians);
            erased = packed.state.erased && !erased;
        });
        // This compares the states, not the events: one commit may record, end and erase.
        for gone in before.iter().filter(|guardian| !after.contains(guardian)) {
            self.dependents.remove(*gone, holder);
        }
        for new in after.iter().filter(|guardian| !before.contains(guardian)) {
            self.dependents.add(*new, holder);
            // Both this step and the guardian's own erasure record their change before they look for the other
            // one, so in any order at least one of them sees both.
            if self.is_erased(*new) {
                self.dependents.orphan_all_of(*new);
            }
        }
        if erased {
            self.dependents.orphan_all_of(holder);
        }
    }
}

#[cfg(test)]
mod tests;
