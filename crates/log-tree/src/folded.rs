//! The trees of what a service has folded, in memory, and how far witnesses vouch for them.
//!
//! A verifier that demands a witnessed log computes the leaves of every message that it folds, and keeps the compact
//! range of each partition's tree: some hundred bytes. It never trusts the published tree to be that of its own log.
//! From time to time it remembers its head, the *candidate*. Once witnesses have cosigned a tree that is an extension of
//! the candidate ([`crate::witnessed`]), everything up to the candidate is *covered*: the witnesses have seen exactly
//! the past that this verifier has folded.
//!
//! # Which codes are covered
//! The positions of births are not stored, because a city has a hundred million codes. Instead the earliest time of
//! issue among the births behind the covered head is kept: a code that was issued before it is none of them, so its
//! birth is covered. A birth that is dated back makes codes look uncovered that are covered, never the opposite.
//!
//! # Order
//! [`FoldedTrees::receive`] takes each message as the log has it, [`FoldedTrees::fold`] appends its leaves when the
//! message is folded, before its births become visible to readers. A reader must look a code up first and ask
//! [`FoldedTrees::covers`] afterwards; then it cannot find a birth in the state and miss that it is not covered.

use std::sync::atomic::{AtomicI64, Ordering};

use citycode_event_store::{LogPosition, Partition, Position, RecordedCommit};
use citycode_transparency::tree::CompactRangeInvalid;
use citycode_transparency::{CompactRange, Hash, TreeHead};
use parking_lot::Mutex;

use crate::leaves::leaf_hashes;

/// Nothing of the partition is covered.
const NOTHING: i64 = i64::MIN;
/// No birth is behind the head.
const NO_BIRTH: i64 = i64::MAX;

/// The trees of all partitions of a log, as far as it is folded.
pub struct FoldedTrees {
    partitions: Box<[OfPartition]>,
}

struct OfPartition {
    tree: Mutex<Tree>,
    /// Codes that were issued before this second are covered; [`NOTHING`] if none is.
    covered_before: AtomicI64,
}

struct Tree {
    /// The last folded message.
    sequence: u64,
    range: CompactRange,
    /// The leaves of the message that was received last, and its sequence.
    received: Option<(u64, Vec<Hash>)>,
    candidate: Option<TreeHead>,
    /// The earliest time of issue behind the candidate.
    born_behind_candidate: i64,
    covered: Option<TreeHead>,
    /// The earliest time of issue behind the covered head.
    born_behind_covered: i64,
    /// Whether witnesses have cosigned another past. Nothing is covered any more then.
    refuted: bool,
}

/// Why the trees of a snapshot cannot be continued.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TreesInvalid {
    /// A tree is not the serialised form of a range.
    #[error(transparent)]
    Range(#[from] CompactRangeInvalid),
    /// A tree does not begin at the first leaf, or has fewer leaves than its partition has messages.
    #[error("a tree does not belong to the position of its partition")]
    Position,
    /// There is another number of trees than of partitions.
    #[error("there is not one tree for each partition")]
    Partitions,
}

impl Tree {
    fn choose_candidate(&mut self) -> TreeHead {
        let head = self.range.head().expect("the range begins at the first leaf");
        self.candidate = Some(head);
        self.born_behind_candidate = NO_BIRTH;
        head
    }
}

impl OfPartition {
    fn at(sequence: u64, range: CompactRange) -> Self {
        let tree = Tree {
            sequence,
            range,
            received: None,
            candidate: None,
            born_behind_candidate: NO_BIRTH,
            covered: None,
            born_behind_covered: NO_BIRTH,
            refuted: false,
        };
        Self {
            tree: Mutex::new(tree),
            covered_before: AtomicI64::new(NOTHING),
        }
    }
}

impl FoldedTrees {
    /// The trees of a log of which nothing is folded.
    #[must_use]
    pub fn new(partitions: u16) -> Self {
        let empty = || OfPartition::at(0, CompactRange::default());
        Self {
            partitions: std::iter::repeat_with(empty).take(usize::from(partitions)).collect(),
        }
    }

    /// The trees of a snapshot that reaches up to `position`. Nothing is covered yet.
    ///
    /// # Errors
    /// [`TreesInvalid`].
    pub fn parse(trees: &[Vec<u8>], position: &LogPosition) -> Result<Self, TreesInvalid> {
        if trees.len() != position.iter().count() {
            return Err(TreesInvalid::Partitions);
        }
        let tree = |(bytes, (_, sequence)): (&Vec<u8>, (_, citycode_event_store::Sequence))| {
            let range = CompactRange::parse(bytes)?;
            // Every message has a leaf.
            if range.begin() != 0 || range.end() < sequence.0 {
                return Err(TreesInvalid::Position);
            }
            Ok(OfPartition::at(sequence.0, range))
        };
        let partitions = trees.iter().zip(position.iter()).map(tree);
        Ok(Self {
            partitions: partitions.collect::<Result<_, _>>()?,
        })
    }

    /// The serialised trees, if they reach exactly up to `position`.
    #[must_use]
    pub fn to_bytes(&self, position: &LogPosition) -> Option<Vec<Vec<u8>>> {
        let trees = self.partitions.iter().zip(position.iter());
        trees
            .map(|(of, (_, sequence))| {
                let tree = of.tree.lock();
                (tree.sequence == sequence.0).then(|| tree.range.to_bytes())
            })
            .collect()
    }

    fn of(&self, partition: Partition) -> Result<&OfPartition, String> {
        let of = self.partitions.get(usize::from(partition.0));
        of.ok_or_else(|| format!("the log has no partition {partition}"))
    }

    /// The partitions of the log.
    pub fn partitions(&self) -> impl Iterator<Item = Partition> + use<> {
        (0..).take(self.partitions.len()).map(Partition)
    }

    /// Computes the leaves of a message, as the log has it.
    ///
    /// # Errors
    /// A sentence, if the message has no leaves.
    pub fn receive(&self, message: &RecordedCommit) -> Result<(), String> {
        let leaves = leaf_hashes(message).map_err(|error| error.to_string())?;
        let mut tree = self.of(message.position.partition)?.tree.lock();
        tree.received = Some((message.position.sequence.0, leaves));
        Ok(())
    }

    /// Appends the leaves of the message that was received last, unless they were appended before. `born` is the earliest
    /// time of issue among the codes that it issues, in Unix seconds.
    ///
    /// # Errors
    /// A sentence, if another message was received, or one is missing in between.
    pub fn fold(&self, position: Position, born: Option<i64>) -> Result<(), String> {
        let of = self.of(position.partition)?;
        let mut tree = of.tree.lock();
        let sequence = position.sequence.0;
        if sequence <= tree.sequence {
            return Ok(());
        }
        let leaves = match tree.received.take() {
            Some((received, leaves)) if received == sequence && sequence == tree.sequence + 1 => leaves,
            _ => return Err(format!("the tree ends at {}, not before {position}", tree.sequence)),
        };
        tree.range.extend(&leaves);
        tree.sequence = sequence;
        if let Some(born) = born {
            // `NOTHING` is no time.
            let born = born.max(NOTHING + 1);
            tree.born_behind_candidate = tree.born_behind_candidate.min(born);
            tree.born_behind_covered = tree.born_behind_covered.min(born);
            if of.covered_before.load(Ordering::Relaxed) != NOTHING {
                of.covered_before.store(tree.born_behind_covered, Ordering::Release);
            }
        }
        Ok(())
    }

    /// Whether everything that was folded about the partition up to its covered head was seen by witnesses, and there is
    /// such a head.
    #[must_use]
    pub fn is_vouched_for(&self, partition: Partition) -> bool {
        self.covered_before(partition) != NOTHING
    }

    /// Whether the birth of a code that was issued at this second is covered; `None` is any partition. Ask this after the
    /// state was read, see the module's documentation.
    #[must_use]
    pub fn covers(&self, partition: Option<Partition>, issued_at: i64) -> bool {
        match partition {
            Some(partition) => issued_at < self.covered_before(partition),
            None => self
                .partitions()
                .all(|partition| issued_at < self.covered_before(partition)),
        }
    }

    fn covered_before(&self, partition: Partition) -> i64 {
        let of = self.partitions.get(usize::from(partition.0));
        of.map_or(NOTHING, |of| of.covered_before.load(Ordering::Acquire))
    }

    /// The head that is to be covered next, and the one that is. The first candidate is the head of this moment.
    pub(crate) fn heads(&self, partition: Partition) -> Result<(TreeHead, Option<TreeHead>), String> {
        let mut tree = self.of(partition)?.tree.lock();
        let candidate = match tree.candidate {
            Some(candidate) => candidate,
            None => tree.choose_candidate(),
        };
        Ok((candidate, tree.covered))
    }

    /// Everything up to the candidate is covered; the head of this moment is the next candidate.
    pub(crate) fn cover(&self, partition: Partition, candidate: TreeHead) {
        let Ok(of) = self.of(partition) else { return };
        let mut tree = of.tree.lock();
        if tree.refuted || tree.candidate != Some(candidate) {
            return;
        }
        tree.covered = Some(candidate);
        tree.born_behind_covered = tree.born_behind_candidate;
        tree.choose_candidate();
        of.covered_before.store(tree.born_behind_covered, Ordering::Release);
    }

    /// Witnesses have cosigned another past of this partition: nothing of it is covered any more.
    pub(crate) fn refute(&self, partition: Partition) {
        let Ok(of) = self.of(partition) else { return };
        let mut tree = of.tree.lock();
        tree.refuted = true;
        of.covered_before.store(NOTHING, Ordering::Release);
    }

    /// Whether witnesses have cosigned another past of this partition.
    #[must_use]
    pub fn is_refuted(&self, partition: Partition) -> bool {
        self.of(partition).is_ok_and(|of| of.tree.lock().refuted)
    }
}
