//! Verification of the signatures of a note.

use ed25519_dalek::Signature;

use super::{KeyKind, NoteSignature, SignedNote, VerifierKey};

/// Latest time of a cosignature (C2SP tlog-cosignature).
const MAX_TIME: u64 = i64::MAX as u64;

/// A signature of a known key that was verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifiedSignature<'k> {
    /// The key.
    pub key: &'k VerifierKey,
    /// When a witness signed, in Unix seconds; `None` for a log.
    pub unix_seconds: Option<u64>,
}

/// A signature of a known key does not verify. The whole note must be refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the signature of {name} does not verify")]
pub struct NoteUnverified {
    /// The name of the key.
    pub name: String,
}

/// What a witness signs (C2SP tlog-cosignature, Ed25519 signed message).
pub(super) fn cosigned_message(text: &str, unix_seconds: u64) -> Vec<u8> {
    format!("cosignature/v1\ntime {unix_seconds}\n{text}").into_bytes()
}

/// The time of a valid signature; `None` if it is not valid.
fn verify<'k>(key: &'k VerifierKey, text: &str, bytes: &[u8]) -> Option<VerifiedSignature<'k>> {
    let (message, signature, unix_seconds) = match key.kind() {
        KeyKind::Log => (text.as_bytes().to_vec(), bytes, None),
        KeyKind::Witness => {
            let (time, signature) = bytes.split_first_chunk()?;
            let time = u64::from_be_bytes(*time);
            if time > MAX_TIME {
                return None;
            }
            (cosigned_message(text, time), signature, Some(time))
        }
    };
    let signature = Signature::from_bytes(signature.try_into().ok()?);
    key.verifying_key().verify_strict(&message, &signature).ok()?;
    Some(VerifiedSignature { key, unix_seconds })
}

impl SignedNote {
    /// Verifies the signatures of these keys, at most one for each key, in the order of the note. Signatures of other
    /// keys are ignored; a caller must check that those which it demands are in the result.
    ///
    /// # Errors
    /// If a signature of one of these keys does not verify.
    pub fn verify<'k>(&self, keys: &'k [VerifierKey]) -> Result<Vec<VerifiedSignature<'k>>, NoteUnverified> {
        let mut verified: Vec<VerifiedSignature<'k>> = Vec::new();
        for signature in self.signatures() {
            let known = |key: &&VerifierKey| is_of(signature, key);
            for key in keys.iter().filter(known) {
                let valid = verify(key, self.text(), &signature.bytes).ok_or_else(|| NoteUnverified {
                    name: signature.name.clone(),
                })?;
                if verified.iter().all(|earlier| earlier.key != key) {
                    verified.push(valid);
                }
            }
        }
        Ok(verified)
    }
}

fn is_of(signature: &NoteSignature, key: &VerifierKey) -> bool {
    signature.key_id == key.id() && signature.name == key.name()
}
