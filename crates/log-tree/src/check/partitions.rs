//! The check of the messages of some partitions.

use std::collections::{BTreeMap, HashMap};

use citycode_domain::event::Event;
use citycode_event_store::follow::{FollowError, resolve_chain_break};
use citycode_event_store::{
    BucketId, CommitHash, EventStore, LogPosition, Partition, Position, ReadError, RecordedCommit, Sequence,
    SubscriptionError, Undelivered, foreign,
};
use citycode_transparency::tile::TileReader;
use citycode_transparency::{CompactRange, Hash, TreeHead};
use citycode_wire::event::decode_for_projection;

use super::{CheckError, Checked, Fault, FaultKind, MAX_FAULTS, MAX_FOREIGN};
use crate::leaves::leaf_hashes;
use crate::publish::{LogTrees, TileFolder};

/// The published tree of a partition, compared with the log while it is read.
struct Comparison {
    head: TreeHead,
    /// `None` once a tile was wrong.
    reader: Option<TileReader<TileFolder>>,
    tree: CompactRange,
    /// Whether the number of leaves before the next message is known.
    in_step: bool,
    differs: bool,
}

pub(super) struct Checking<'a> {
    store: &'a dyn EventStore,
    trees: Option<&'a LogTrees>,
    from: Option<Position>,
    ends: HashMap<BucketId, CommitHash>,
    compared: BTreeMap<Partition, Comparison>,
    undeclared: BTreeMap<Position, CommitHash>,
    faults: BTreeMap<(Partition, FaultKind), Fault>,
    pub(super) found: Checked,
}

impl<'a> Checking<'a> {
    pub(super) fn new(
        store: &'a dyn EventStore,
        trees: Option<&'a LogTrees>,
        partitions: &[Partition],
        from: Option<Position>,
    ) -> Self {
        let mut checking = Self {
            store,
            trees,
            from,
            ends: HashMap::new(),
            compared: BTreeMap::new(),
            undeclared: BTreeMap::new(),
            faults: BTreeMap::new(),
            found: Checked::default(),
        };
        if let Some(trees) = trees {
            let stopped = trees.stopped().into_iter();
            for stopped in stopped.filter(|stopped| partitions.contains(&stopped.partition())) {
                let (partition, at) = (stopped.partition(), stopped.at());
                let first = at.unwrap_or(Position {
                    partition,
                    sequence: Sequence(1),
                });
                checking.fault(FaultKind::Checkpoint, first, stopped.to_string());
            }
            for partition in partitions {
                checking.compare(trees, *partition);
            }
        }
        checking
    }

    /// Prepares the comparison of a partition with its published tree.
    fn compare(&mut self, trees: &LogTrees, partition: Partition) {
        let (Some(signed), Some(tiles)) = (trees.last_signed(partition), trees.tiles(partition)) else {
            return;
        };
        let head = signed.unverified().head();
        let first = self.from.filter(|from| from.partition == partition);
        let first = first.map_or(Sequence(1), |from| from.sequence);
        let reader = match TileReader::open(tiles, head) {
            Ok(reader) => Some(reader),
            Err(error) => {
                let at = Position {
                    partition,
                    sequence: first,
                };
                self.fault(FaultKind::Tile, at, error.to_string());
                None
            }
        };
        self.found.checkpoints.push((partition, head));
        let comparison = Comparison {
            head,
            reader,
            tree: CompactRange::default(),
            in_step: true,
            differs: false,
        };
        self.compared.insert(partition, comparison);
    }

    /// The position after which a partition is read.
    pub(super) fn begin(&mut self, partition: Partition, head: Sequence) -> Sequence {
        let Some(from) = self.from else { return Sequence::START };
        let before = Sequence(from.sequence.0.saturating_sub(1)).min(head);
        if before > Sequence::START {
            let leaves = self.trees.and_then(|trees| trees.leaves_before(from));
            match (leaves, self.compared.get_mut(&partition)) {
                (Some(leaves), Some(comparison)) => comparison.tree = CompactRange::from_leaf(leaves),
                _ => drop(self.compared.remove(&partition)),
            }
        }
        before
    }

    fn fault(&mut self, kind: FaultKind, at: Position, what: String) {
        if let Some(fault) = self.faults.get_mut(&(at.partition, kind)) {
            fault.count += 1;
        } else if self.faults.len() < MAX_FAULTS {
            let fault = Fault {
                kind,
                first: at,
                count: 1,
                what,
            };
            self.faults.insert((at.partition, kind), fault);
        }
    }

    /// Records why a subscription ended, and continues after the message that it could not deliver.
    pub(super) fn broken(&mut self, position: &mut LogPosition, error: SubscriptionError) -> Result<(), CheckError> {
        let kind = match error {
            SubscriptionError::Gap { .. } => FaultKind::Gap,
            _ => FaultKind::Unreadable,
        };
        let undelivered = error.undelivered(position).map_err(|error| match error {
            SubscriptionError::Read(error) if !matches!(error, ReadError::Damaged { .. }) => CheckError::Log(error),
            error => CheckError::Subscription(error),
        })?;
        let Undelivered {
            position: at,
            last,
            what,
        } = undelivered;
        self.fault(kind, at, what);
        self.out_of_step(at.partition);
        position.set(at.partition, last);
        Ok(())
    }

    /// The number of leaves of a message is unknown, so later ones cannot be compared.
    fn out_of_step(&mut self, partition: Partition) {
        if let Some(comparison) = self.compared.get_mut(&partition) {
            comparison.in_step = false;
        }
    }

    /// Checks a message; returns whether it is a commit of its bucket's chain.
    pub(super) async fn message(&mut self, commit: &RecordedCommit) -> Result<bool, CheckError> {
        self.found.commits += 1;
        self.leaves(commit);
        let at = commit.position;
        if self.store.layout().is_heartbeat_bucket(commit.bucket) {
            return Ok(false);
        }
        if let Some(message) = &commit.foreign {
            self.foreign(at, message.digest);
            return Ok(false);
        }
        match self.ends.get(&commit.bucket) {
            Some(end) if *end != commit.previous_hash => match resolve_chain_break(self.store, commit).await {
                Ok(Some(copy)) => {
                    self.foreign(at, copy.hash);
                    return Ok(false);
                }
                Ok(None) => {}
                Err(FollowError::Subscription(SubscriptionError::Read(ReadError::Closed))) => {
                    return Err(ReadError::Closed.into());
                }
                Err(error) => self.fault(FaultKind::Chain, at, error.to_string()),
            },
            None if self.from.is_none() && commit.previous_hash != CommitHash::NONE => {
                let what = "the first commit of its bucket names an earlier one".to_owned();
                self.fault(FaultKind::Chain, at, what);
            }
            _ => {}
        }
        self.ends.insert(commit.bucket, commit.hash);
        self.declarations(commit);
        Ok(true)
    }

    fn foreign(&mut self, at: Position, digest: CommitHash) {
        if self.undeclared.len() < MAX_FOREIGN {
            self.undeclared.insert(at, digest);
        }
    }

    /// Removes the messages that the commit declares from those that are not declared.
    fn declarations(&mut self, commit: &RecordedCommit) {
        if self.undeclared.is_empty() || !foreign::is_declarations(&commit.commit.stream) {
            return;
        }
        for data in &commit.commit.events {
            let event = decode_for_projection(&data.event_type, data.version, &data.payload);
            if let Ok(Event::ForeignMessageDeclared(declared)) = event {
                let at = Position {
                    partition: commit.position.partition,
                    sequence: Sequence(declared.sequence),
                };
                if self.undeclared.get(&at) == Some(&CommitHash(declared.digest)) {
                    self.undeclared.remove(&at);
                }
            }
        }
    }

    /// Compares the leaves of a message with the published tree.
    fn leaves(&mut self, commit: &RecordedCommit) {
        let at = commit.position;
        let leaves = match leaf_hashes(commit) {
            Ok(leaves) => leaves,
            Err(error) => {
                self.fault(FaultKind::Event, at, error.to_string());
                self.out_of_step(at.partition);
                return;
            }
        };
        let Some(comparison) = self
            .compared
            .get_mut(&at.partition)
            .filter(|comparison| comparison.in_step)
        else {
            return;
        };
        let mut faults = Vec::new();
        for leaf in leaves {
            if comparison.tree.end() < comparison.head.size {
                faults.extend(comparison.next(leaf));
                self.found.compared += 1;
            }
        }
        for (kind, what) in faults {
            self.fault(kind, at, what);
        }
    }

    pub(super) fn end(mut self, heads: &LogPosition) -> Checked {
        for (at, digest) in std::mem::take(&mut self.undeclared) {
            self.fault(
                FaultKind::Foreign,
                at,
                format!("a message that is not a commit, digest {digest}"),
            );
        }
        let compared = std::mem::take(&mut self.compared);
        for (partition, comparison) in compared {
            let size = comparison.head.size;
            let sequence = heads.sequence(partition);
            if !comparison.in_step {
                continue;
            }
            if comparison.tree.end() < size {
                let what = format!(
                    "the log has {} leaves, but a checkpoint of {size} was signed",
                    comparison.tree.end()
                );
                let at = Position {
                    partition,
                    sequence: sequence.next(),
                };
                self.fault(FaultKind::RolledBack, at, what);
            } else if !comparison.differs && comparison.tree.head().is_some_and(|head| head != comparison.head) {
                let what = format!("the first {size} leaves have another root than the signed checkpoint");
                self.fault(FaultKind::Root, Position { partition, sequence }, what);
            }
        }
        self.found.faults = self.faults.into_values().collect();
        self.found
    }
}

impl Comparison {
    /// Compares the next leaf of the log with that of the published tree.
    fn next(&mut self, leaf: Hash) -> Option<(FaultKind, String)> {
        let index = self.tree.end();
        self.tree.append(leaf);
        let reader = self.reader.as_mut()?;
        match reader.leaf(index) {
            Ok(published) if published == leaf => None,
            Ok(_) => {
                self.differs = true;
                Some((
                    FaultKind::Leaf,
                    format!("leaf {index} of the published tree is another one"),
                ))
            }
            Err(error) => {
                self.reader = None;
                Some((FaultKind::Tile, error.to_string()))
            }
        }
    }
}
