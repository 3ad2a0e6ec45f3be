//! C2SP tlog-checkpoint: the signed head of a tree.
//!
//! ```text
//! text = origin %x0A size %x0A base64( root:32 ) %x0A *( extension %x0A )
//! ```
//! No line is empty, and the size has no leading zeros.

use crate::hash::Hash;
use crate::note::{NoteInvalid, NoteSignature, NoteSigner, SignedNote};
use crate::tile::decimal;
use crate::tree::{MAX_TREE_SIZE, TreeHead};

/// The head of the tree of one log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    origin: String,
    head: TreeHead,
    extensions: Vec<String>,
}

/// Why a text is not a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointInvalid {
    /// Not a signed note.
    #[error(transparent)]
    Note(#[from] NoteInvalid),
    /// A line is empty or missing, or the text does not end in a newline.
    #[error("a checkpoint has at least three lines, none of them empty")]
    Lines,
    /// Not a number without leading zeros that a tree can have.
    #[error("the size of the tree is malformed or out of range")]
    Size,
    /// Not the base64 of a hash.
    #[error("the root hash is malformed")]
    Root,
}

impl Checkpoint {
    /// The checkpoint of a tree, without extension lines.
    ///
    /// # Errors
    /// If the origin is empty or has more than one line, or the tree is too large.
    pub fn new(origin: &str, head: TreeHead) -> Result<Self, CheckpointInvalid> {
        if origin.is_empty() || origin.contains('\n') {
            return Err(CheckpointInvalid::Lines);
        }
        if head.size > MAX_TREE_SIZE {
            return Err(CheckpointInvalid::Size);
        }
        Ok(Self {
            origin: origin.to_owned(),
            head,
            extensions: Vec::new(),
        })
    }

    /// Parses the text of a note.
    ///
    /// # Errors
    /// If the text is not a checkpoint in its only form.
    pub fn parse(text: &str) -> Result<Self, CheckpointInvalid> {
        let text = text.strip_suffix('\n').ok_or(CheckpointInvalid::Lines)?;
        if text.split('\n').any(str::is_empty) {
            return Err(CheckpointInvalid::Lines);
        }
        let mut lines = text.split('\n');
        let mut line = || lines.next().ok_or(CheckpointInvalid::Lines);
        let (origin, size, root) = (line()?, line()?, line()?);
        let size = decimal(size).ok_or(CheckpointInvalid::Size)?;
        let root = Hash::from_base64(root).ok_or(CheckpointInvalid::Root)?;
        let mut checkpoint = Self::new(origin, TreeHead { size, root })?;
        checkpoint.extensions = lines.map(str::to_owned).collect();
        Ok(checkpoint)
    }

    /// The name of the log.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The head of its tree.
    #[must_use]
    pub const fn head(&self) -> TreeHead {
        self.head
    }

    /// Further lines, which mean nothing to a reader that does not know them.
    #[must_use]
    pub fn extensions(&self) -> &[String] {
        &self.extensions
    }

    /// The text that is signed.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = format!("{}\n{}\n{}\n", self.origin, self.head.size, self.head.root);
        for extension in &self.extensions {
            text.push_str(extension);
            text.push('\n');
        }
        text
    }

    /// Signs the checkpoint as its log. The log must never have signed a tree that is inconsistent with this one.
    ///
    /// # Errors
    /// If the origin contains control characters.
    pub fn sign(&self, log: &NoteSigner) -> Result<SignedCheckpoint, NoteInvalid> {
        let text = self.to_text();
        // A log's signature contains no time.
        let signature = log.sign(&text, 0);
        Ok(SignedCheckpoint {
            note: SignedNote::new(text, vec![signature])?,
            checkpoint: self.clone(),
        })
    }
}

/// A checkpoint with its signatures. It proves nothing before a [`TrustPolicy`](crate::TrustPolicy) verified it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedCheckpoint {
    note: SignedNote,
    checkpoint: Checkpoint,
}

impl SignedCheckpoint {
    /// Parses a signed note whose text is a checkpoint. No signature is verified.
    ///
    /// # Errors
    /// If the bytes are not such a note in its only form.
    pub fn parse(bytes: &[u8]) -> Result<Self, CheckpointInvalid> {
        let note = SignedNote::parse(bytes)?;
        let checkpoint = Checkpoint::parse(note.text())?;
        Ok(Self { note, checkpoint })
    }

    /// What is signed. Not to be trusted before the signatures were verified.
    #[must_use]
    pub const fn unverified(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The note.
    #[must_use]
    pub const fn note(&self) -> &SignedNote {
        &self.note
    }

    /// Adds signatures, for example those of witnesses.
    ///
    /// # Errors
    /// If there would be too many.
    pub fn add(&mut self, signatures: impl IntoIterator<Item = NoteSignature>) -> Result<(), NoteInvalid> {
        self.note.add(signatures)
    }

    /// The bytes to publish.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.note.to_bytes()
    }
}

#[cfg(test)]
mod tests;
