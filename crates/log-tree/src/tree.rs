//! The tree of one partition on disk.
//!
//! ```text
//! PP/tile/…       hash tiles (C2SP tlog-tiles), which anybody may read
//! PP/state        the committed tree
//! PP/places       which leaf begins which commit, see `places`
//! PP/checkpoint   the last checkpoint that was signed, see `publish`
//! PP.damaged/     tiles that were set aside because they were damaged
//! ```
//! Everything but the checkpoint is derived from the log. If it is damaged it is set aside and written again from the
//! log; the checkpoint then decides whether the result may be published.

use std::io;
use std::path::{Path, PathBuf};

use citycode_event_store::RecordedCommit;
use citycode_transparency::tile::{DirectoryTiles, TileReader, TileWriter, WriteError};
use citycode_transparency::{Hash, TreeHead};

use crate::leaves::leaf_hashes;
use crate::places::{Place, Places};

/// Leaves that are kept in memory before they are written to tiles.
const WRITE_FROM: usize = 4_096;

/// Why a tree cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// A file cannot be used.
    #[error("the log's tree cannot be read or written: {0}")]
    File(#[from] io::Error),
    /// The tiles cannot be used.
    #[error(transparent)]
    Tiles(#[from] WriteError<io::Error>),
}

/// The tree of one partition.
pub(crate) struct PartitionTree {
    folder: PathBuf,
    writer: TileWriter<DirectoryTiles>,
    places: Places,
    /// The last folded commit.
    sequence: u64,
    /// Leaves of folded commits.
    leaves: u64,
    /// Leaves that were not given to the writer yet.
    waiting: Vec<Hash>,
}

impl PartitionTree {
    /// Opens the tree in this folder and continues after its last committed commit.
    pub(crate) fn open(folder: &Path) -> Result<Self, TreeError> {
        std::fs::create_dir_all(folder)?;
        let writer = TileWriter::open(DirectoryTiles::open(folder)?)?;
        let size = writer.committed_size();
        let (places, last) = Places::open(&folder.join("places"), size)?;
        Ok(Self {
            folder: folder.to_owned(),
            writer,
            places,
            sequence: last.sequence + (size - last.leaves),
            leaves: size,
            waiting: Vec::new(),
        })
    }

    /// The folder of files that were set aside.
    pub(crate) fn aside(folder: &Path) -> PathBuf {
        folder.with_extension("damaged")
    }

    /// Sets the derived files aside, so that the tree is written anew.
    pub(crate) fn set_aside(folder: &Path) -> Result<(), TreeError> {
        let aside = Self::aside(folder);
        match std::fs::remove_dir_all(&aside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => std::fs::create_dir_all(&aside)?,
        }
        for name in ["state", "places", "tile"] {
            match std::fs::rename(folder.join(name), aside.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    }

    pub(crate) const fn sequence(&self) -> u64 {
        self.sequence
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Appends the leaves of the next commit.
    ///
    /// # Errors
    /// A sentence, if the commit has no leaves or the tiles cannot be written.
    pub(crate) fn append(&mut self, commit: &RecordedCommit) -> Result<(), String> {
        let sequence = commit.position.sequence.0;
        if sequence != self.sequence + 1 {
            return Err(format!("the tree ends at {}, not before {sequence}", self.sequence));
        }
        let leaves = leaf_hashes(commit).map_err(|error| error.to_string())?;
        self.sequence = sequence;
        self.leaves += leaves.len() as u64;
        if leaves.len() != 1 {
            self.places.push(Place {
                sequence,
                leaves: self.leaves,
            });
        }
        self.waiting.extend(leaves);
        if self.waiting.len() >= WRITE_FROM {
            self.write().map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), TreeError> {
        self.writer.append(&self.waiting)?;
        self.waiting.clear();
        Ok(())
    }

    /// Makes everything durable that was appended.
    pub(crate) fn commit(&mut self) -> Result<TreeHead, TreeError> {
        self.write()?;
        self.places.sync()?;
        Ok(self.writer.commit()?)
    }

    /// The tiles.
    pub(crate) fn tiles(&self) -> &DirectoryTiles {
        self.writer.store()
    }

    pub(crate) fn places(&self) -> &Places {
        &self.places
    }

    /// Whether the last committed commit still has the leaves that the tree has for it. If not, the log was rolled back
    /// and has grown again since, or the tree's files were changed.
    pub(crate) fn ends_with(&self, commit: &RecordedCommit) -> bool {
        let Ok(leaves) = leaf_hashes(commit) else { return false };
        let Some(head) = self.writer.compact_range().head() else {
            return false;
        };
        let Some(first) = head.size.checked_sub(leaves.len() as u64) else {
            return false;
        };
        let Ok(mut reader) = TileReader::open(self.tiles(), head) else {
            return false;
        };
        (first..)
            .zip(&leaves)
            .all(|(index, leaf)| reader.leaf(index).is_ok_and(|known| known == *leaf))
    }
}
