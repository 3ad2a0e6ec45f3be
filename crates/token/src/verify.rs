//! Checking a token. What comes out can be made nowhere else.
//!
//! The signature is checked before the claims are looked at, so only what a key of the ring signed is parsed.

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

/// SHA-256 of a token's exact bytes, signature included: what a phone's proof is bound to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct CwtDigest(pub [u8; 32]);

/// Why a scan gave no claims.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
pub enum TokenError {
    /// Not a token of this format.
    #[error("this is not a code of this system")]
    Unreadable,
    /// A token by a key or an algorithm that we do not take, or for which the key had no right at that time.
    #[error("the code was not signed by a key of this city, or not at a time when that key signed")]
    BadSignature,
}

/// Claims whose signature was checked. Only this module can make one; whoever holds one need not check again,
/// but must still compare times and ask the keyring ([`Keyring::covers`]) if it has changed.
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

    /// SHA-256 of the token that they came in.
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

/// Checks the token of a scan's text; of a presentation the token only (for its proof see [`crate::check_proof`]).
///
/// `base_uri` is the start of this city's status lists' URIs. Expiry is not looked at: that is for the judge.
///
/// # Errors
/// [`TokenError`].
pub fn verify(text: &str, keyring: &Keyring, base_uri: &str, now: Timestamp) -> Result<VerifiedClaims, TokenError> {
    Scan::read(text)?.verify(keyring, base_uri, now)
}

impl Scan {
    /// Checks the scan's token, as [`verify`].
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn verify(&self, keyring: &Keyring, base_uri: &str, now: Timestamp) -> Result<VerifiedClaims, TokenError> {
        verify_cwt(self.cwt(), keyring, base_uri, now)
    }
}

/// Checks a token's bytes, as [`verify`].
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
