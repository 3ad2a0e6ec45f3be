//! C2SP signed-note: text that is signed by one or more keys.
//!
//! ```text
//! note      = text %x0A 1*signature          text ends in a newline; the last empty line separates it
//! signature = "— " name " " base64( key id:4 signature ) %x0A
//! vkey      = name "+" hex( key id ) "+" base64( type:1 public key )
//! ```
//! Two types of signatures are supported: Ed25519 of a log (`0x01`), and Ed25519 cosignatures of witnesses with a time
//! (`0x04`, C2SP tlog-cosignature). Signatures of unknown keys are ignored, as the specification demands.

mod key;
mod sign;
mod verify;

pub use key::{KeyKind, KeyNameInvalid, VerifierKey, VerifierKeyInvalid};
pub use sign::NoteSigner;
pub use verify::{NoteUnverified, VerifiedSignature};

use crate::base64;
use key::check_name;

/// Longest note in bytes. A note with post-quantum signatures of sixteen witnesses has 80 kB.
pub const MAX_NOTE_BYTES: usize = 128 * 1024;
/// Most signatures of a note; the specification demands at least 16.
pub const MAX_SIGNATURES: usize = 64;
/// What begins a line of a signature: an em dash and a space.
const SIGNATURE_PREFIX: &str = "— ";

/// One signature of a note. It proves nothing before it is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteSignature {
    pub(crate) name: String,
    pub(crate) key_id: [u8; 4],
    pub(crate) bytes: Vec<u8>,
}

impl NoteSignature {
    /// The name of the key, as the line states it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The line of the signature, with its newline.
    #[must_use]
    pub fn to_line(&self) -> String {
        let bytes = [&self.key_id[..], &self.bytes].concat();
        format!("{SIGNATURE_PREFIX}{} {}\n", self.name, base64::encode(&bytes))
    }

    fn parse(line: &str) -> Option<Self> {
        let (name, signature) = line.strip_prefix(SIGNATURE_PREFIX)?.split_once(' ')?;
        check_name(name).ok()?;
        let bytes = base64::decode(signature)?;
        let (key_id, bytes) = bytes.split_first_chunk()?;
        Some(Self {
            name: name.to_owned(),
            key_id: *key_id,
            bytes: bytes.to_vec(),
        })
    }
}

/// A text with signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedNote {
    text: String,
    signatures: Vec<NoteSignature>,
}

/// Why bytes are not a signed note.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoteInvalid {
    /// Longer than [`MAX_NOTE_BYTES`].
    #[error("the note is longer than {MAX_NOTE_BYTES} bytes")]
    TooLong,
    /// Not UTF-8, or with control characters.
    #[error("the note is not text without control characters")]
    Characters,
    /// No text, or no empty line between text and signatures.
    #[error("the note has no text that an empty line separates from its signatures")]
    Structure,
    /// A line of a signature is malformed. The first is number 1.
    #[error("line {0} of the signatures is malformed")]
    Signature(usize),
    /// No signature, or more than [`MAX_SIGNATURES`].
    #[error("a note has 1 to {MAX_SIGNATURES} signatures")]
    SignatureCount,
}

/// Whether a character may stand in a note's text.
fn allowed(character: char) -> bool {
    character == '\n' || character >= ' '
}

impl SignedNote {
    /// A note of this text and signatures.
    ///
    /// # Errors
    /// If the text does not end in a newline, contains control characters or is too long, or if the number of
    /// signatures is out of range.
    pub fn new(text: String, signatures: Vec<NoteSignature>) -> Result<Self, NoteInvalid> {
        if text.len() > MAX_NOTE_BYTES {
            return Err(NoteInvalid::TooLong);
        }
        if !text.chars().all(allowed) {
            return Err(NoteInvalid::Characters);
        }
        if !text.ends_with('\n') {
            return Err(NoteInvalid::Structure);
        }
        if signatures.is_empty() || signatures.len() > MAX_SIGNATURES {
            return Err(NoteInvalid::SignatureCount);
        }
        Ok(Self { text, signatures })
    }

    /// Parses a note. No signature is verified.
    ///
    /// # Errors
    /// If the bytes are not a note in its only form.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteInvalid> {
        if bytes.len() > MAX_NOTE_BYTES {
            return Err(NoteInvalid::TooLong);
        }
        let note = std::str::from_utf8(bytes).map_err(|_| NoteInvalid::Characters)?;
        let (before, signatures) = note.rsplit_once("\n\n").ok_or(NoteInvalid::Structure)?;
        let lines = signatures.strip_suffix('\n').ok_or(NoteInvalid::Structure)?;
        let signatures = (1..)
            .zip(lines.split('\n'))
            .take(MAX_SIGNATURES + 1)
            .map(|(number, line)| NoteSignature::parse(line).ok_or(NoteInvalid::Signature(number)))
            .collect::<Result<_, _>>()?;
        Self::new(format!("{before}\n"), signatures)
    }

    /// The text, with its last newline.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signatures in their order.
    #[must_use]
    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }

    /// Adds signatures, for example those that a witness returned.
    ///
    /// # Errors
    /// If there would be more than [`MAX_SIGNATURES`].
    pub fn add(&mut self, signatures: impl IntoIterator<Item = NoteSignature>) -> Result<(), NoteInvalid> {
        let mut all = self.signatures.clone();
        all.extend(signatures.into_iter().take(MAX_SIGNATURES + 1));
        if all.len() > MAX_SIGNATURES {
            return Err(NoteInvalid::SignatureCount);
        }
        self.signatures = all;
        Ok(())
    }

    /// Parses lines of signatures, as a witness returns them.
    ///
    /// # Errors
    /// If a line is malformed, or their number is out of range.
    pub fn parse_signatures(lines: &[u8]) -> Result<Vec<NoteSignature>, NoteInvalid> {
        // The same parser as for a whole note, so that both accept the same lines.
        let note = Self::parse(&[b"-\n\n", lines].concat())?;
        if note.text != "-\n" {
            return Err(NoteInvalid::Structure);
        }
        Ok(note.signatures)
    }

    /// The bytes of the note.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut note = format!("{}\n", self.text);
        self.signatures
            .iter()
            .for_each(|signature| note.push_str(&signature.to_line()));
        note.into_bytes()
    }
}

#[cfg(test)]
mod tests;
