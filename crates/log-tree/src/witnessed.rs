//! Compares the trees of what a verifier has folded with a checkpoint that witnesses cosigned.
//!
//! Nothing that the source of checkpoints and tiles sends is trusted: the checkpoint must have the signature of the log's
//! key and the cosignatures of enough known witnesses, and each tile must belong to the checkpoint. From these tiles a
//! consistency proof is computed from the verifier's own head to the witnessed tree. If it holds, the witnesses have seen
//! the past that the verifier has folded, up to that head. If it does not, the log's key and the witnesses have signed
//! another past than the one that this verifier was shown: the log was rewritten, or forked. Missing or wrong tiles and
//! checkpoints without enough cosignatures prove nothing; then what is covered stays as it is.

use citycode_event_store::Partition;
use citycode_transparency::checkpoint::CheckpointInvalid;
use citycode_transparency::policy::CheckpointUntrusted;
use citycode_transparency::tile::{ReadError, TileReader, TileSource};
use citycode_transparency::tree::verify_consistency;
use citycode_transparency::{SignedCheckpoint, TreeHead, TrustPolicy};

use crate::folded::FoldedTrees;
use crate::publish::{LogTrees, origin};

/// Where the published files of a log are read. Blocks its thread.
pub trait LogFiles {
    /// Why a file could not be read.
    type Error: std::error::Error + Send + Sync + 'static;

    /// The latest checkpoint of a partition that was cosigned; `None` if there is none.
    ///
    /// # Errors
    /// The source does not answer.
    fn witnessed(&self, partition: Partition) -> Result<Option<Vec<u8>>, Self::Error>;

    /// A tile of a partition by its path; `None` if there is none.
    ///
    /// # Errors
    /// The source does not answer.
    fn tile(&self, partition: Partition, name: &str) -> Result<Option<Vec<u8>>, Self::Error>;
}

impl LogFiles for LogTrees {
    type Error = std::io::Error;

    fn witnessed(&self, partition: Partition) -> std::io::Result<Option<Vec<u8>>> {
        Ok(self.witnessed(partition).map(|signed| signed.to_bytes()))
    }

    fn tile(&self, partition: Partition, name: &str) -> std::io::Result<Option<Vec<u8>>> {
        self.tiles(partition).map_or(Ok(None), |tiles| tiles.get(name))
    }
}

/// What a comparison found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compared {
    /// Witnesses have seen everything that was folded up to this head.
    Covered(TreeHead),
    /// The witnessed tree has not reached the candidate yet.
    Behind {
        /// Leaves of the witnessed tree.
        witnessed: u64,
        /// Leaves of the candidate.
        own: u64,
    },
    /// The witnessed tree is not an extension of the verifier's own tree.
    Differs {
        /// The verifier's head.
        own: TreeHead,
        /// The head that witnesses cosigned.
        witnessed: TreeHead,
    },
}

/// Why nothing could be compared.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// The source has no cosigned checkpoint.
    #[error("no witnessed checkpoint of partition {0} is published")]
    None(Partition),
    /// The source does not answer.
    #[error("the published log cannot be read: {0}")]
    Source(String),
    /// The checkpoint is malformed.
    #[error(transparent)]
    Malformed(#[from] CheckpointInvalid),
    /// The checkpoint is that of another log.
    #[error("the checkpoint is of {found} and not of {wanted}")]
    Origin {
        /// The origin that it states.
        found: String,
        /// The origin of the partition.
        wanted: String,
    },
    /// The log's signature or enough cosignatures are missing.
    #[error(transparent)]
    Untrusted(#[from] CheckpointUntrusted),
    /// A tile is missing, or is not one of the checkpoint's tree.
    #[error("{0}")]
    Tiles(String),
}

/// The keys of a log and of its witnesses.
#[derive(Debug, Clone)]
pub struct WitnessedLog {
    /// Names the city, as in the origins of its trees.
    host: String,
    policy: TrustPolicy,
}

/// The tiles of one partition.
struct TilesOf<'a, F>(&'a F, Partition);

impl<F: LogFiles> TileSource for TilesOf<'_, F> {
    type Error = F::Error;

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, F::Error> {
        self.0.tile(self.1, name)
    }
}

impl WitnessedLog {
    /// The log of the city with this host in its origins, under a policy with its keys, witnesses and quorum.
    #[must_use]
    pub fn new(host: &str, policy: TrustPolicy) -> Self {
        Self {
            host: host.to_owned(),
            policy,
        }
    }

    /// Compares one partition, and records in `trees` what is covered or refuted. Blocks its thread while it reads.
    ///
    /// # Errors
    /// [`CompareError`]; nothing changes then.
    pub fn compare<F: LogFiles>(
        &self,
        trees: &FoldedTrees,
        partition: Partition,
        files: &F,
    ) -> Result<Compared, CompareError> {
        let (own, covered) = trees.heads(partition).map_err(CompareError::Source)?;
        if own.size == 0 {
            // Nothing was folded, so there is nothing to vouch for.
            trees.cover(partition, own);
            return Ok(Compared::Covered(own));
        }
        let witnessed = self.witnessed(partition, files)?;
        // A tree that is shorter than the candidate is at least compared with what was covered before.
        let mut bases = [Some(own), covered].into_iter().flatten();
        let base = bases.find(|base| base.size <= witnessed.size);
        let behind = Compared::Behind {
            witnessed: witnessed.size,
            own: own.size,
        };
        let Some(base) = base else { return Ok(behind) };
        if !extends(&base, &witnessed, &TilesOf(files, partition))? {
            trees.refute(partition);
            return Ok(Compared::Differs { own: base, witnessed });
        }
        if base.size < own.size {
            return Ok(behind);
        }
        trees.cover(partition, own);
        Ok(Compared::Covered(own))
    }

    /// The head of the published checkpoint, if this log's key and enough witnesses have signed it.
    fn witnessed<F: LogFiles>(&self, partition: Partition, files: &F) -> Result<TreeHead, CompareError> {
        let bytes = files.witnessed(partition);
        let bytes = bytes.map_err(|error| CompareError::Source(error.to_string()))?;
        let signed = SignedCheckpoint::parse(&bytes.ok_or(CompareError::None(partition))?)?;
        let trusted = self.policy.verify(&signed)?;
        let wanted = origin(&self.host, partition);
        if trusted.checkpoint.origin() != wanted {
            return Err(CompareError::Origin {
                found: trusted.checkpoint.origin().to_owned(),
                wanted,
            });
        }
        Ok(trusted.checkpoint.head())
    }
}

/// Whether the tree with the head `new` begins with the leaves of the one with the head `old`, which is not larger.
fn extends<S: TileSource>(old: &TreeHead, new: &TreeHead, tiles: &S) -> Result<bool, CompareError> {
    if old.size == new.size {
        return Ok(old.root == new.root);
    }
    let proof = TileReader::open(tiles, *new).and_then(|mut reader| reader.consistency_proof(old.size));
    // Every hash of the proof belongs to the new tree, so only the old one can be another.
    let proof = proof.map_err(|error| match error {
        ReadError::Source(error) => CompareError::Source(error.to_string()),
        error => CompareError::Tiles(error.to_string()),
    })?;
    Ok(verify_consistency(old, new, &proof).is_ok())
}

#[cfg(test)]
mod tests;
