//! Signed statements between services: a COSE_Sign1 (RFC 9052 §4.2) of any payload. The protected header
//! contains the media type (RFC 9596), so that a signature for one purpose is not valid for another.
//!
//! ```text
//! 18([ protected: bstr .cbor { 1: -19, 4: kid, 16: media type }, unprotected: {}, payload: bstr, signature: 64 ])
//! ```

use ed25519_dalek::{Signature, VerifyingKey};

use crate::cbor::Strict;
use crate::keyring::key_id_of;
use crate::sign::SigningKey;
use crate::sign1::{self, ALG_ED25519, Header};

/// Why a statement is rejected.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StatementError {
    /// The bytes are not a statement in the one accepted form.
    #[error("it is not a signed statement")]
    Unreadable,
    /// None of the known keys signed it for this purpose.
    #[error("none of the known keys signed it")]
    BadSignature,
}

/// Signs a payload for one purpose. Deterministic.
#[must_use]
pub fn sign_statement(key: &SigningKey, media_type: &str, payload: &[u8]) -> Vec<u8> {
    let kid = key.key_id();
    sign1::write_signed(header(&kid.0, media_type), b"", payload, |bytes| key.sign(bytes))
}

/// Returns the payload of a statement that one of these keys signed for this purpose.
///
/// # Errors
/// [`StatementError`].
pub fn read_statement<'a>(
    bytes: &'a [u8],
    media_type: &str,
    public_keys: &[[u8; 32]],
) -> Result<&'a [u8], StatementError> {
    let message = read(bytes).ok_or(StatementError::Unreadable)?;
    let signed = sign1::signed_bytes(message.protected, b"", message.payload);
    let signature = Signature::from_bytes(message.signature);
    let is_signed_by = |public_key: &[u8; 32]| {
        message.protected == header(&key_id_of(public_key).0, media_type).write()
            && VerifyingKey::from_bytes(public_key).is_ok_and(|key| key.verify_strict(&signed, &signature).is_ok())
    };
    if public_keys.iter().any(is_signed_by) {
        Ok(message.payload)
    } else {
        Err(StatementError::BadSignature)
    }
}

fn header<'a>(kid: &'a [u8], media_type: &'a str) -> Header<'a> {
    Header {
        alg: ALG_ED25519,
        kid: Some(kid),
        media_type: Some(media_type),
    }
}

/// The parts of a COSE_Sign1 without unprotected headers (RFC 9052, section 4.2).
pub(crate) struct Message<'a> {
    pub(crate) protected: &'a [u8],
    pub(crate) payload: &'a [u8],
    pub(crate) signature: &'a [u8; 64],
}

pub(crate) fn read(bytes: &[u8]) -> Option<Message<'_>> {
    let mut reader = Strict::new(bytes);
    reader.tag(18)?;
    (reader.array()? == 4).then_some(())?;
    let protected = reader.bytes()?;
    (reader.map()? == 0).then_some(())?;
    let message = Message {
        protected,
        payload: reader.bytes()?,
        signature: reader.bytes()?.try_into().ok()?,
    };
    reader.end()?;
    Some(message)
}
