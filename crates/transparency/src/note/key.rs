//! Verifier keys, in the text form that a reader is configured with.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use ed25519_dalek::VerifyingKey;

use crate::base64;
use crate::hash::sha256;

/// Longest key name in bytes.
const MAX_NAME_BYTES: usize = 255;
/// Longest verifier key in text form: name, key id, and the base64 of 33 bytes.
const MAX_VKEY_BYTES: usize = MAX_NAME_BYTES + 1 + 8 + 1 + 44;

/// What a key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KeyKind {
    /// Notes of a log: type `0x01`, Ed25519 over the text.
    Log,
    /// Cosignatures of a witness: type `0x04`, Ed25519 over a time and the text.
    Witness,
}

impl KeyKind {
    /// The signature type identifier byte of C2SP signed-note.
    #[must_use]
    pub const fn type_byte(self) -> u8 {
        match self {
            Self::Log => 0x01,
            Self::Witness => 0x04,
        }
    }
}

/// The text is not a key name: 1 to 255 bytes without spaces, control characters and `+`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key name has 1 to {MAX_NAME_BYTES} bytes without spaces, control characters and plus signs")]
pub struct KeyNameInvalid;

pub(crate) fn check_name(name: &str) -> Result<(), KeyNameInvalid> {
    let refused = |c: char| c.is_whitespace() || c.is_control() || c == '+';
    if name.is_empty() || name.len() > MAX_NAME_BYTES || name.chars().any(refused) {
        return Err(KeyNameInvalid);
    }
    Ok(())
}

/// Why a text is not a usable verifier key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerifierKeyInvalid {
    /// Not name, key id and key, separated by `+`.
    #[error("a verifier key is a name, a key id of eight lower-case hex digits and a base64 key, joined by `+`")]
    Format,
    /// The name is invalid.
    #[error(transparent)]
    Name(#[from] KeyNameInvalid),
    /// A type of signature that is not supported.
    #[error("signature type {0:#04x} is not supported")]
    Kind(u8),
    /// Not an Ed25519 public key, or a weak one, for which anyone can make signatures.
    #[error("the public key is not a sound Ed25519 key")]
    PublicKey,
    /// The key id belongs to another key.
    #[error("the key id does not belong to this key")]
    KeyId,
}

/// A public key with its name.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    kind: KeyKind,
    key: VerifyingKey,
    id: [u8; 4],
}

impl VerifierKey {
    /// The key of this name; the public key is in the encoding of RFC 8032.
    ///
    /// # Errors
    /// If the name or the public key cannot be used.
    pub fn new(name: &str, kind: KeyKind, public_key: &[u8; 32]) -> Result<Self, VerifierKeyInvalid> {
        check_name(name)?;
        let key = VerifyingKey::from_bytes(public_key).map_err(|_| VerifierKeyInvalid::PublicKey)?;
        // The bytes must be the only encoding of the point: RFC 8032 decodes some points from two.
        if key.is_weak() || key.to_edwards().compress().as_bytes() != public_key {
            return Err(VerifierKeyInvalid::PublicKey);
        }
        let hash = sha256(&[name.as_bytes(), b"\n", &[kind.type_byte()], public_key]);
        let id = *hash.0.first_chunk().expect("a hash is longer than a key id");
        Ok(Self {
            name: name.to_owned(),
            kind,
            key,
            id,
        })
    }

    /// The name: the origin of a log, or what a witness calls itself.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the key signs.
    #[must_use]
    pub const fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The key id in signature lines: the first four bytes of SHA-256 over name, newline, type and public key.
    #[must_use]
    pub const fn id(&self) -> [u8; 4] {
        self.id
    }

    /// The public key in the encoding of RFC 8032. Two keys with the same one are one signer.
    #[must_use]
    pub fn public_key(&self) -> &[u8; 32] {
        self.key.as_bytes()
    }

    pub(super) const fn verifying_key(&self) -> &VerifyingKey {
        &self.key
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = [&[self.kind.type_byte()], self.public_key().as_slice()].concat();
        write!(
            f,
            "{}+{}+{}",
            self.name,
            HEXLOWER.encode(&self.id),
            base64::encode(&key)
        )
    }
}

impl fmt::Debug for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifierKey({self})")
    }
}

impl FromStr for VerifierKey {
    type Err = VerifierKeyInvalid;

    fn from_str(text: &str) -> Result<Self, VerifierKeyInvalid> {
        if text.len() > MAX_VKEY_BYTES {
            return Err(VerifierKeyInvalid::Format);
        }
        // A name has no `+`, but the base64 may have.
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(VerifierKeyInvalid::Format);
        };
        check_name(name)?;
        let id = HEXLOWER.decode(id.as_bytes()).map_err(|_| VerifierKeyInvalid::Format)?;
        let id: [u8; 4] = id.try_into().map_err(|_| VerifierKeyInvalid::Format)?;
        let key = base64::decode(key).ok_or(VerifierKeyInvalid::Format)?;
        let (kind, public_key) = key.split_first().ok_or(VerifierKeyInvalid::Format)?;
        let kind = match kind {
            0x01 => KeyKind::Log,
            0x04 => KeyKind::Witness,
            other => return Err(VerifierKeyInvalid::Kind(*other)),
        };
        let public_key = public_key.try_into().map_err(|_| VerifierKeyInvalid::PublicKey)?;
        let key = Self::new(name, kind, public_key)?;
        if key.id != id {
            return Err(VerifierKeyInvalid::KeyId);
        }
        Ok(key)
    }
}
