//! Verifying a token. Only this module can create verified claims.
//!
//! The signature is checked before the claims are parsed, so only payloads signed by a key of the keyring are
//! parsed.

use core::ops::Deref;

use citycode_domain::claims::CodeClaims;
use citycode_domain::ids::{ClaimsDigest, KeyId};
use citycode_domain::time::Timestamp;
use ed25519_dalek::Signature;
use sha2::{Digest, Sha256};

use crate::MAX_CWT_LEN;
use crate::claims::CodeClaimsToSign;
use crate::keyring::Keyring;
use crate::sign1::{ALG_ED25519, Sign1};
use crate::text::Scan;

/// SHA-256 of a token's exact bytes including the signature; a phone's proof is bound to it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct CwtDigest(pub [u8; 32]);

/// Why a scan is not a valid token.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
pub enum TokenError {
    /// It is not a token of this format.
    #[error("this is not a code of this system")]
    Unreadable,
    /// The key or algorithm is not accepted, or the key was not valid for that time.
    #[error("the code was not signed by a key of this city, or not at a time when that key signed")]
    BadSignature,
}

/// Claims whose signature was checked. Only this module can create them. They need no further signature check,
/// but the caller must still compare times, and ask the keyring ([`Keyring::covers`]) if it has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VerifiedClaims {
    claims: CodeClaims,
    cwt_digest: CwtDigest,
}

impl VerifiedClaims {
    /// The claims.
    #[must_use]
    pub fn claims(&self) -> &CodeClaims {
        &self.claims
    }

    /// SHA-256 of the token that contained them.
    #[must_use]
    pub fn cwt_digest(&self) -> CwtDigest {
        self.cwt_digest
    }
}

impl Deref for VerifiedClaims {
    type Target = CodeClaims;

    fn deref(&self) -> &CodeClaims {
        &self.claims
    }
}

/// Verifies the token in a scanned text; of a presentation only the token (for its proof see
/// [`crate::check_proof`]).
///
/// `base_uri` is the prefix of this city's status lists' URIs. Expiry is not checked here; admission checks it.
///
/// # Errors
/// [`TokenError`].
pub fn verify(text: &str, keyring: &Keyring, base_uri: &str, now: Timestamp) -> Result<VerifiedClaims, TokenError> {
    Scan::read(text)?.verify(keyring, base_uri, now)
}

impl Scan {
    /// Verifies the scan's token like [`verify`].
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn verify(&self, keyring: &Keyring, base_uri: &str, now: Timestamp) -> Result<VerifiedClaims, TokenError> {
        verify_cwt(self.cwt(), keyring, base_uri, now)
    }
}

/// Verifies a token's bytes like [`verify`].
///
/// # Errors
/// [`TokenError`].
pub fn verify_cwt(cwt: &[u8], keyring: &Keyring, base_uri: &str, now: Timestamp) -> Result<VerifiedClaims, TokenError> {
    if cwt.len() > MAX_CWT_LEN {
        return Err(TokenError::Unreadable);
    }
    let message = Sign1::read(cwt)
        .filter(|message| message.len == cwt.len())
        .ok_or(TokenError::Unreadable)?;
    if message.alg != ALG_ED25519 {
        return Err(TokenError::BadSignature);
    }
    let key = message
        .kid
        .and_then(KeyId::from_slice)
        .and_then(|key_id| keyring.get(key_id))
        .ok_or(TokenError::BadSignature)?;
    let signed = message.to_be_signed(b"").ok_or(TokenError::Unreadable)?;
    key.verifying_key()
        .verify_strict(signed.as_bytes(), &Signature::from_bytes(message.signature))
        .map_err(|_| TokenError::BadSignature)?;
    let claims = CodeClaimsToSign::read(message.payload, base_uri).ok_or(TokenError::Unreadable)?;
    if !key.covers(claims.issued_at, now) {
        return Err(TokenError::BadSignature);
    }
    Ok(VerifiedClaims {
        claims: CodeClaims {
            code_id: claims.code_id,
            kind: claims.kind,
            issued_at: claims.issued_at,
            expires_at: claims.expires_at,
            status: claims.status,
            id_commitment: claims.id_commitment,
            device_key: claims.device_key,
            key_id: key.key_id,
            digest: ClaimsDigest(Sha256::digest(message.payload).into()),
        },
        cwt_digest: CwtDigest(Sha256::digest(cwt).into()),
    })
}
