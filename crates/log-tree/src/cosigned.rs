//! The recent checkpoints of a partition that witnesses have cosigned.
//!
//! ```text
//! FOLDER/witnessed    the one that most witnesses have cosigned, as `/log/PP/witnessed` shows it
//! ```
//! The file lets a service that was restarted show a cosigned checkpoint before its witnesses have answered again. It is
//! written after the checkpoint itself; if it is lost or damaged, the witnesses are asked again. If it cannot be
//! written, checkpoints are published all the same. Whoever reads the checkpoint verifies the cosignatures, whose keys this
//! crate does not know.

use std::io;
use std::path::Path;
use std::sync::Arc;

use citycode_service_kit::files;
use citycode_transparency::note::NoteSignature;
use citycode_transparency::{SignedCheckpoint, VerifierKey};

use crate::publish::signed_by;

const FILE: &str = "witnessed";
/// Cosigned checkpoints that are kept: a slow witness may still add its cosignature to one that was replaced some seconds
/// ago.
const KEPT: usize = 8;

/// The cosigned checkpoints of one partition.
#[derive(Clone, Default)]
pub(crate) struct Cosigned {
    /// The last ones, in the order of their first cosignatures.
    recent: Vec<Arc<SignedCheckpoint>>,
    /// The one in the file.
    stored: Option<Arc<SignedCheckpoint>>,
}

impl Cosigned {
    /// What an earlier process stored, if it is signed with the log's key.
    pub(crate) fn load(folder: &Path, key: &VerifierKey) -> Self {
        let stored = match signed_by(&folder.join(FILE), key) {
            Ok(stored) => stored.map(Arc::new),
            Err(why) => {
                tracing::warn!(
                    log = key.name(),
                    why,
                    "the stored cosigned checkpoint is not used: the witnesses are asked again"
                );
                None
            }
        };
        Self {
            recent: stored.iter().cloned().collect(),
            stored,
        }
    }

    /// Adds the cosignature of a witness to the checkpoint for which it was asked; returns the checkpoint with it.
    pub(crate) fn add(
        &mut self,
        asked: &SignedCheckpoint,
        cosignatures: Vec<NoteSignature>,
    ) -> Option<Arc<SignedCheckpoint>> {
        let head = asked.unverified().head();
        let known = self.recent.iter().position(|signed| signed.unverified().head() == head);
        let mut signed = known.map_or_else(|| asked.clone(), |known| (*self.recent[known]).clone());
        // At most one for each witness; more than a note may have are left out.
        signed.add(cosignatures.into_iter().take(1)).ok()?;
        let signed = Arc::new(signed);
        match known {
            Some(known) => self.recent[known] = Arc::clone(&signed),
            None => {
                self.recent.push(Arc::clone(&signed));
                let excess = self.recent.len().saturating_sub(KEPT);
                self.recent.drain(..excess);
            }
        }
        Some(signed)
    }

    /// The one that most witnesses have cosigned, and the largest of these.
    pub(crate) fn best(&self) -> Option<Arc<SignedCheckpoint>> {
        let rank = |signed: &&Arc<SignedCheckpoint>| {
            let signatures = signed.note().signatures().len();
            (signatures, signed.unverified().head().size)
        };
        self.recent.iter().max_by_key(rank).cloned()
    }

    /// The best one, if it is not in the file yet.
    pub(crate) fn unstored(&self) -> Option<Arc<SignedCheckpoint>> {
        let best = self.best()?;
        let is_stored = self.stored.as_ref().is_some_and(|stored| Arc::ptr_eq(stored, &best));
        (!is_stored).then_some(best)
    }

    /// It was written to the file.
    pub(crate) fn stored(&mut self, signed: Arc<SignedCheckpoint>) {
        self.stored = Some(signed);
    }
}

/// Writes a cosigned checkpoint to the file of a partition.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn store(folder: &Path, signed: &SignedCheckpoint) -> io::Result<()> {
    let written = files::write_atomic(&folder.join(FILE), &signed.to_bytes(), files::PUBLIC_FILE_MODE);
    written.map_err(|error| io::Error::other(error.to_string()))
}
