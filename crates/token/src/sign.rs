//! Signing codes, for the issuer.

use core::fmt;

use citycode_domain::ids::{ClaimsDigest, KeyId};
use ed25519_dalek::Signer;
use sha2::{Digest, Sha256};
use zeroize::Zeroize;

use crate::claims::CodeClaimsToSign;
use crate::keyring::key_id_of;
use crate::proof::is_sound_device_key;
use crate::sign1::{self, ALG_ED25519, Header};
use crate::text;
use crate::{MAX_BASE_URI_LEN, MAX_CWT_LEN};

/// A private key that signs tokens, or status lists. Wiped from memory when dropped.
#[derive(Clone)]
pub struct SigningKey {
    inner: ed25519_dalek::SigningKey,
    key_id: KeyId,
}

impl SigningKey {
    /// Builds the key from a seed of 32 random bytes (RFC 8032 §5.1.5). The copy that is passed in is wiped;
    /// the caller's own copy is not.
    #[must_use]
    pub fn from_seed(mut seed: [u8; 32]) -> Self {
        let inner = ed25519_dalek::SigningKey::from_bytes(&seed);
        seed.zeroize();
        let key_id = key_id_of(inner.verifying_key().as_bytes());
        Self { inner, key_id }
    }

    /// The key's id in tokens: the first four bytes of SHA-256 of the public key.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// The public key in the encoding of RFC 8032.
    #[must_use]
    pub fn public_key(&self) -> [u8; 32] {
        self.inner.verifying_key().to_bytes()
    }

    /// An Ed25519 signature over these bytes.
    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.inner.sign(message).to_bytes()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.key_id)
    }
}

/// A signed code. `Debug` does not show the text, because anybody who has the text can use the code.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedToken {
    /// The text in the QR code.
    pub text: String,
    /// The CWT that the text encodes.
    pub cwt: Vec<u8>,
    /// SHA-256 of the signed claims, for the log.
    pub digest: ClaimsDigest,
}

impl fmt::Debug for SignedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SignedToken({} bytes)", self.cwt.len())
    }
}

/// Why claims were not signed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SignError {
    /// The expiry is not after the issue, or a time is out of range.
    #[error("the claims contradict each other: times out of order or range, or a status list of another kind")]
    Incoherent,
    /// The device key is not a point of its curve, or is weak.
    #[error("the phone's key is not a sound public key")]
    UnsoundDeviceKey,
    /// The base URI is longer than [`MAX_BASE_URI_LEN`].
    #[error("the status lists' base URI is longer than {MAX_BASE_URI_LEN} bytes")]
    BaseUriTooLong,
}

/// Signs a code's claims. Deterministic: the same claims and key give the same bytes.
///
/// # Errors
/// [`SignError`] if no verifier would accept the claims.
pub fn sign_code(claims: &CodeClaimsToSign, base_uri: &str, key: &SigningKey) -> Result<SignedToken, SignError> {
    if !claims.is_coherent() {
        return Err(SignError::Incoherent);
    }
    if base_uri.len() > MAX_BASE_URI_LEN {
        return Err(SignError::BaseUriTooLong);
    }
    if claims.device_key.is_some_and(|key| !is_sound_device_key(&key)) {
        return Err(SignError::UnsoundDeviceKey);
    }
    let payload = claims.write(base_uri);
    let digest = ClaimsDigest(Sha256::digest(&payload).into());
    let header = Header {
        alg: ALG_ED25519,
        kid: Some(&key.key_id.0),
        media_type: None,
    };
    let cwt = sign1::write_signed(header, b"", &payload, |bytes| key.sign(bytes));
    assert!(cwt.len() <= MAX_CWT_LEN, "MAX_CWT_LEN is derived from MAX_BASE_URI_LEN");
    Ok(SignedToken {
        text: text::write_token(&cwt),
        cwt,
        digest,
    })
}
