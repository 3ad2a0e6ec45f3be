//! The trees of a log, and their signed checkpoints.
//!
//! [`LogTrees::publish`] makes each tree durable, verifies that it is an extension of the last checkpoint that was
//! signed, signs the new head, stores the checkpoint durably, and only then shows it. So a crash at any moment leaves a
//! tree that has grown from every checkpoint that anybody has seen.
//!
//! A tree that is no such extension is never signed: the log was rolled back, or its past was changed. Publishing of that
//! partition then stops for good, and `/log/PP/checkpoint` is not answered any more. An operator who has accepted a loss
//! of the log begins with a new key and without the folder of trees, so that nobody mistakes the new log for the old one.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use citycode_event_store::follow::Fold;
use citycode_event_store::{EventStore, LogPosition, Partition, Position, RecordedCommit, Sequence};
use citycode_service_kit::files;
use citycode_service_kit::repeated::RepeatedInCalls;
use citycode_transparency::note::{NoteInvalid, NoteSignature};
use citycode_transparency::statement::CodeStatement;
use citycode_transparency::tile::{ReadError, TileId, TileReader, TileSource, first_difference};
use citycode_transparency::tree::verify_consistency;
use citycode_transparency::{
    Checkpoint, Hash, KeyKind, LogProof, NoteSigner, SignedCheckpoint, TreeHead, TrustPolicy, VerifierKey,
};
use parking_lot::{Mutex, RwLock};

use crate::cosigned::{self, Cosigned};
use crate::leaves::open_statement;
use crate::tree::{PartitionTree, TreeError};

const CHECKPOINT: &str = "checkpoint";

/// Why a checkpoint is not signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Stopped {
    /// The file with the last signed checkpoint is not one of this key.
    #[error(
        "the last signed checkpoint of partition {partition} cannot be used ({why}); restore the file, or begin with a \
         new key and without the folder of the log's trees (docs/audit.md)"
    )]
    Unusable {
        /// The partition.
        partition: Partition,
        /// The reason.
        why: String,
    },
    /// The log has fewer leaves than were signed.
    #[error(
        "the log WENT BACK in partition {partition}: a checkpoint of {signed} leaves was signed, but the log has {found}"
    )]
    RolledBack {
        /// The partition.
        partition: Partition,
        /// Leaves of the last signed checkpoint.
        signed: u64,
        /// Leaves of the log.
        found: u64,
    },
    /// The tree did not grow from the one that was signed.
    #[error(
        "THE PAST OF THE LOG WAS CHANGED in partition {partition}: its tree is not an extension of the signed one of \
         {signed} leaves{}", match at { Some(at) => format!("; the first difference is at {at}"), None => String::new() }
    )]
    Forked {
        /// The partition.
        partition: Partition,
        /// Leaves of the last signed checkpoint.
        signed: u64,
        /// The first commit that differs, if earlier tiles were kept that show it.
        at: Option<Position>,
    },
}

impl Stopped {
    /// The partition that is not published any more.
    #[must_use]
    pub const fn partition(&self) -> Partition {
        match self {
            Self::Unusable { partition, .. } | Self::RolledBack { partition, .. } | Self::Forked { partition, .. } => {
                *partition
            }
        }
    }

    /// The first commit that differs, if it is known.
    #[must_use]
    pub const fn at(&self) -> Option<Position> {
        match self {
            Self::Forked { at, .. } => *at,
            Self::Unusable { .. } | Self::RolledBack { .. } => None,
        }
    }
}

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    /// The event is not in a published checkpoint yet, or publishing has stopped.
    #[error("no published checkpoint includes the event yet")]
    NotPublished,
    /// The tree has another leaf for this commit.
    #[error(
        "the published tree has another leaf for the commit at {0}: run `citycode log check`; if it finds nothing, the \
         file `places` is damaged"
    )]
    OtherLeaf(Position),
    /// The tree cannot be read.
    #[error("the log's tree cannot be read: {0}")]
    Tree(String),
}

/// The tiles in a folder, only for reading: unlike the writer's store it may be opened any number of times.
#[derive(Debug, Clone)]
pub struct TileFolder(pub PathBuf);

impl TileSource for TileFolder {
    type Error = io::Error;

    /// Names that are not the path of a hash tile have no bytes.
    fn get(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        if name.parse::<TileId>().is_err() {
            return Ok(None);
        }
        match std::fs::read(self.0.join(name)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// What was published of a partition.
#[derive(Clone, Default)]
struct Published {
    signed: Option<Arc<SignedCheckpoint>>,
    cosigned: Cosigned,
    stopped: Option<Stopped>,
}

struct OfPartition {
    tree: Mutex<PartitionTree>,
    published: RwLock<Published>,
    signer: NoteSigner,
    folder: PathBuf,
    /// Failures to store the cosigned checkpoint.
    unstored: RepeatedInCalls,
}

/// The trees of every partition of a log.
pub struct LogTrees {
    partitions: Vec<OfPartition>,
}

/// The name of a partition's tree, which its checkpoints and keys have.
#[must_use]
pub fn origin(host: &str, partition: Partition) -> String {
    format!("{host}/log/{partition}")
}

/// Why the trees cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The files cannot be used.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] citycode_event_store::ReadError),
    /// The host cannot be part of a key's name.
    #[error("`{0}` cannot be the host in a log's name")]
    Host(String),
}

impl LogTrees {
    /// Opens or creates the trees in a folder; also returns the position from which to follow the log.
    ///
    /// A tree that does not end as the log does is written again from the log. `host` is the first part of the origins,
    /// and `seed` that of the key that signs all of them.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(
        folder: &Path,
        store: &dyn EventStore,
        host: &str,
        seed: &[u8; 32],
    ) -> Result<(Self, LogPosition), OpenError> {
        let mut from = LogPosition::start(store.layout().partitions());
        let mut partitions = Vec::new();
        for partition in store.layout().all_partitions() {
            let folder = folder.join(partition.to_string());
            let tree = open_tree(&folder, store, partition).await?;
            from.set(partition, Sequence(tree.sequence()));
            let name = origin(host, partition);
            let signer = NoteSigner::from_seed(&name, KeyKind::Log, seed);
            let signer = signer.map_err(|_| OpenError::Host(host.to_owned()))?;
            let published = match signed_by(&folder.join(CHECKPOINT), signer.verifier()) {
                Ok(signed) => Published {
                    signed: signed.map(Arc::new),
                    cosigned: Cosigned::load(&folder, signer.verifier()),
                    stopped: None,
                },
                Err(why) => Published {
                    stopped: Some(Stopped::Unusable { partition, why }),
                    ..Published::default()
                },
            };
            partitions.push(OfPartition {
                tree: Mutex::new(tree),
                published: RwLock::new(published),
                signer,
                folder,
                unstored: RepeatedInCalls::new(),
            });
        }
        Ok((Self { partitions }, from))
    }

    fn of(&self, partition: Partition) -> Option<&OfPartition> {
        self.partitions.get(usize::from(partition.0))
    }

    /// The partitions of the log.
    pub fn partitions(&self) -> impl Iterator<Item = Partition> + use<> {
        (0..).take(self.partitions.len()).map(Partition)
    }

    /// The proof that the tree with this head grew from its first `old_size` leaves.
    ///
    /// # Errors
    /// [`ProveError::Tree`].
    pub fn consistency(&self, partition: Partition, head: TreeHead, old_size: u64) -> Result<Vec<Hash>, ProveError> {
        let of = self.of(partition).ok_or(ProveError::NotPublished)?;
        let tiles = TileFolder(of.folder.clone());
        let mut reader = TileReader::open(&tiles, head).map_err(|error| ProveError::Tree(error.to_string()))?;
        let proof = reader.consistency_proof(old_size);
        proof.map_err(|error| ProveError::Tree(error.to_string()))
    }

    /// Adds the cosignature of a witness to the checkpoint for which it was asked, and to the published one if it still
    /// has the same head. The next [`LogTrees::publish`] stores it.
    pub fn add_cosignatures(&self, partition: Partition, asked: &SignedCheckpoint, cosignatures: Vec<NoteSignature>) {
        let Some(of) = self.of(partition) else { return };
        let mut published = of.published.write();
        let Some(signed) = published.cosigned.add(asked, cosignatures) else {
            return;
        };
        let head = asked.unverified().head();
        if published
            .signed
            .as_ref()
            .is_some_and(|signed| signed.unverified().head() == head)
        {
            published.signed = Some(signed);
        }
    }

    /// The public keys, one for each partition.
    pub fn keys(&self) -> impl Iterator<Item = &VerifierKey> {
        self.partitions.iter().map(|partition| partition.signer.verifier())
    }

    /// Why publishing has stopped, by partition.
    #[must_use]
    pub fn stopped(&self) -> Vec<Stopped> {
        let stopped = self.partitions.iter().map(|of| of.published.read().stopped.clone());
        stopped.flatten().collect()
    }

    /// The last signed checkpoint of a partition; `None` before the first and after publishing has stopped.
    #[must_use]
    pub fn checkpoint(&self, partition: Partition) -> Option<Arc<SignedCheckpoint>> {
        let published = self.of(partition)?.published.read();
        published.signed.clone().filter(|_| published.stopped.is_none())
    }

    /// The recent checkpoint of a partition that most witnesses have cosigned, and the largest of these; `None` before
    /// the first cosignature, and after publishing has stopped.
    ///
    /// The published checkpoint is replaced each second, so that a reader may never find one that is cosigned already.
    #[must_use]
    pub fn witnessed(&self, partition: Partition) -> Option<Arc<SignedCheckpoint>> {
        let published = self.of(partition)?.published.read();
        published.cosigned.best().filter(|_| published.stopped.is_none())
    }

    /// The last checkpoint that was signed, also after publishing has stopped.
    #[must_use]
    pub fn last_signed(&self, partition: Partition) -> Option<Arc<SignedCheckpoint>> {
        self.of(partition)?.published.read().signed.clone()
    }

    /// The tiles of a partition.
    #[must_use]
    pub fn tiles(&self, partition: Partition) -> Option<TileFolder> {
        Some(TileFolder(self.of(partition)?.folder.clone()))
    }

    /// The number of leaves before the message at a position; `None` if the tree does not reach it.
    #[must_use]
    pub fn leaves_before(&self, position: Position) -> Option<u64> {
        let tree = self.of(position.partition)?.tree.lock();
        let is_known = (1..=tree.sequence() + 1).contains(&position.sequence.0);
        is_known.then(|| tree.places().leaves_before(position.sequence.0).ok())?
    }

    /// Signs the heads of all trees that have grown, and returns the sum of their leaves. Blocks its thread for the
    /// writes. `live` says whether the whole log was folded before this call.
    ///
    /// # Errors
    /// [`TreeError`], if files cannot be written; the next call tries again.
    pub fn publish(&self, live: bool) -> Result<u64, TreeError> {
        let mut leaves = 0;
        for (number, of) in (0..).zip(&self.partitions) {
            leaves += of.publish(Partition(number), live)?;
        }
        Ok(leaves)
    }

    /// Proves that the log contains the statement of this commit for which `wanted` holds; `None` if the commit makes no
    /// such statement.
    ///
    /// # Errors
    /// [`ProveError`].
    pub fn prove(
        &self,
        commit: &RecordedCommit,
        wanted: impl Fn(&CodeStatement) -> bool,
    ) -> Result<Option<LogProof>, ProveError> {
        let failed = |error: &dyn std::fmt::Display| ProveError::Tree(error.to_string());
        let Some(opening) = open_statement(commit, wanted).map_err(|error| failed(&error))? else {
            return Ok(None);
        };
        let position = commit.position;
        let of = self.of(position.partition).ok_or(ProveError::NotPublished)?;
        let signed = self.checkpoint(position.partition).ok_or(ProveError::NotPublished)?;
        let head = signed.unverified().head();
        let first = {
            let tree = of.tree.lock();
            if tree.sequence() < position.sequence.0 {
                return Err(ProveError::NotPublished);
            }
            tree.places().leaves_before(position.sequence.0)
        };
        let index = first.map_err(|error| failed(&error))? + u64::from(opening.position().event);
        if index >= head.size {
            return Err(ProveError::NotPublished);
        }
        let tiles = TileFolder(of.folder.clone());
        let mut reader = TileReader::open(&tiles, head).map_err(|error| failed(&error))?;
        if reader.leaf(index).map_err(|error| failed(&error))? != opening.leaf_hash() {
            return Err(ProveError::OtherLeaf(position));
        }
        Ok(Some(LogProof {
            extra: opening.to_bytes(),
            index,
            hashes: reader.inclusion_proof(index).map_err(|error| failed(&error))?,
            checkpoint: (*signed).clone(),
        }))
    }
}

/// The tree of a partition if it ends as the log does, otherwise an empty one.
async fn open_tree(folder: &Path, store: &dyn EventStore, partition: Partition) -> Result<PartitionTree, OpenError> {
    let why = match PartitionTree::open(folder) {
        Ok(tree) => match Sequence(tree.sequence()) {
            Sequence::START => return Ok(tree),
            sequence => {
                let last = store.read_at(Position { partition, sequence }).await?;
                if last.is_some_and(|commit| tree.ends_with(&commit)) {
                    return Ok(tree);
                }
                format!("it does not agree with the log at {partition}/{sequence}")
            }
        },
        Err(TreeError::File(error)) => return Err(TreeError::File(error).into()),
        Err(error) => error.to_string(),
    };
    tracing::warn!(%partition, why, "THE LOG'S TREE IS WRITTEN AGAIN: the earlier tiles were set aside");
    PartitionTree::set_aside(folder)?;
    Ok(PartitionTree::open(folder)?)
}

/// A stored checkpoint, if it is one of this key.
pub(crate) fn signed_by(file: &Path, key: &VerifierKey) -> Result<Option<SignedCheckpoint>, String> {
    let bytes = match std::fs::read(file) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let signed = SignedCheckpoint::parse(&bytes).map_err(|error| error.to_string())?;
    let policy = TrustPolicy::new(vec![key.clone()], Vec::new(), 0).map_err(|error| error.to_string())?;
    policy.verify(&signed).map_err(|error| error.to_string())?;
    Ok(Some(signed))
}

impl OfPartition {
    fn publish(&self, partition: Partition, live: bool) -> Result<u64, TreeError> {
        let mut tree = self.tree.lock();
        let head = tree.commit()?;
        self.store_cosigned(partition);
        let published = self.published.read().clone();
        if published.stopped.is_some() {
            return Ok(head.size);
        }
        let signed = published.signed.map(|signed| signed.unverified().head());
        match signed {
            Some(signed) if signed == head => return Ok(head.size),
            // The tree is being written again from the log.
            Some(signed) if head.size < signed.size && !live => return Ok(head.size),
            Some(signed) => {
                if let Some(stopped) = self.refuse(&tree, partition, &signed, &head)? {
                    tracing::error!(reason = %stopped, "NO CHECKPOINT IS SIGNED ANY MORE");
                    self.published.write().stopped = Some(stopped);
                    return Ok(head.size);
                }
            }
            None => {}
        }
        let checkpoint = self.sign(head).map_err(|error| io::Error::other(error.to_string()))?;
        let written = files::write_atomic(
            &tree.folder().join(CHECKPOINT),
            &checkpoint.to_bytes(),
            files::PUBLIC_FILE_MODE,
        );
        written.map_err(|error| io::Error::other(error.to_string()))?;
        self.published.write().signed = Some(Arc::new(checkpoint));
        Ok(head.size)
    }

    /// Stores the cosignatures that have arrived since the last call. A failure prevents no publishing, because only
    /// the next start needs the file; the next call tries again.
    fn store_cosigned(&self, partition: Partition) {
        let unstored = self.published.read().cosigned.unstored();
        let Some(signed) = unstored else { return };
        match cosigned::store(&self.folder, &signed) {
            Ok(()) => self.published.write().cosigned.stored(signed),
            Err(error) => {
                let error = error.to_string();
                if let Some(unreported) = self.unstored.failed(&error) {
                    tracing::warn!(%partition, error, unreported, "the cosigned checkpoint is not stored");
                }
            }
        }
    }

    fn sign(&self, head: TreeHead) -> Result<SignedCheckpoint, NoteInvalid> {
        let checkpoint = Checkpoint::new(self.signer.verifier().name(), head);
        let checkpoint = checkpoint.expect("an origin that is a key's name, and a tree that exists");
        checkpoint.sign(&self.signer)
    }

    /// Why `head` must not be signed after `signed`. The proof is computed from the tiles, as any reader would do.
    fn refuse(
        &self,
        tree: &PartitionTree,
        partition: Partition,
        signed: &TreeHead,
        head: &TreeHead,
    ) -> Result<Option<Stopped>, TreeError> {
        if head.size < signed.size {
            return Ok(Some(Stopped::RolledBack {
                partition,
                signed: signed.size,
                found: head.size,
            }));
        }
        let proof = TileReader::open(tree.tiles(), *head).and_then(|mut reader| reader.consistency_proof(signed.size));
        let is_extension = match proof {
            Ok(proof) => verify_consistency(signed, head, &proof).is_ok(),
            Err(ReadError::Source(error)) => return Err(error.into()),
            Err(_) => false,
        };
        Ok((!is_extension).then(|| Stopped::Forked {
            partition,
            signed: signed.size,
            at: self.locate(tree, partition, signed, head),
        }))
    }

    /// The first commit in which the log differs from the tiles that were set aside, if these are of the signed tree.
    fn locate(
        &self,
        tree: &PartitionTree,
        partition: Partition,
        signed: &TreeHead,
        head: &TreeHead,
    ) -> Option<Position> {
        let aside = TileFolder(PartitionTree::aside(&self.folder));
        let mut before = TileReader::open(&aside, *signed).ok()?;
        let mut now = TileReader::open(tree.tiles(), *head).ok()?;
        let leaf = first_difference(&mut before, &mut now).ok()??;
        let (sequence, _) = tree.places().commit_of(leaf).ok()?;
        Some(Position {
            partition,
            sequence: Sequence(sequence),
        })
    }
}

/// Folds the log into its trees. Every message is a leaf, whether or not it belongs to the chain of its bucket.
pub struct TreeFold(pub Arc<LogTrees>);

impl Fold for TreeFold {
    fn fold(&mut self, commit: &RecordedCommit) -> Result<(), String> {
        let of = self
            .0
            .of(commit.position.partition)
            .ok_or("the log has no such partition")?;
        of.tree.lock().append(commit)
    }
}
