//! Signing notes, and cosigning checkpoints.

use std::fmt;

use ed25519_dalek::{Signer as _, SigningKey};

use super::verify::cosigned_message;
use super::{KeyKind, NoteSignature, VerifierKey, VerifierKeyInvalid};

/// A private key with its name. Wiped from memory when dropped.
pub struct NoteSigner {
    key: SigningKey,
    verifier: VerifierKey,
}

impl fmt::Debug for NoteSigner {
    /// Shows the public key only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NoteSigner({})", self.verifier)
    }
}

impl NoteSigner {
    /// The key of a seed of 32 random bytes (RFC 8032 section 5.1.5).
    ///
    /// # Errors
    /// If the name is invalid.
    pub fn from_seed(name: &str, kind: KeyKind, seed: &[u8; 32]) -> Result<Self, VerifierKeyInvalid> {
        let key = SigningKey::from_bytes(seed);
        let verifier = VerifierKey::new(name, kind, key.verifying_key().as_bytes())?;
        Ok(Self { key, verifier })
    }

    /// The public key.
    #[must_use]
    pub const fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// Signs the text of a note: as a log, or as a witness that states `unix_seconds` as the time. A log's signature
    /// contains no time.
    ///
    /// A witness must sign a time after 1970 (C2SP tlog-witness demands a time other than 0), and must first have
    /// checked and stored what it signs; see [`Witness`](crate::witness::Witness).
    #[must_use]
    pub fn sign(&self, text: &str, unix_seconds: u64) -> NoteSignature {
        let bytes = match self.verifier.kind() {
            KeyKind::Log => self.key.sign(text.as_bytes()).to_bytes().to_vec(),
            KeyKind::Witness => {
                let signature = self.key.sign(&cosigned_message(text, unix_seconds));
                [&unix_seconds.to_be_bytes()[..], &signature.to_bytes()].concat()
            }
        };
        NoteSignature {
            name: self.verifier.name().to_owned(),
            key_id: self.verifier.id(),
            bytes,
        }
    }
}
