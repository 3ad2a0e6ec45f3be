//! The phone's proof of possession of the key of a live or family code (R16).
//!
//! ```text
//! proof   = COSE_Sign1, protected { 1: −19 / −9 }, no unprotected header, external data "citycode-proof-v1"
//! payload = [ SHA-256 of the token's bytes: bstr .size 32, time in seconds: uint, audience: tstr / null ]
//! ```
//! An audience binds the proof to one verifier; null means any verifier. A proof does not prevent a live relay,
//! or a holder who signs in advance.

use core::fmt;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey};
use citycode_domain::admission::ProofState;
use citycode_domain::claims::DeviceKey;
use citycode_domain::policy::ProofPolicy;
use citycode_domain::time::Timestamp;
use ed25519_dalek::{Signature, Signer, VerifyingKey};
use minicbor::Encoder;
use sha2::{Digest, Sha256};
use zeroize::Zeroize;

use crate::cbor::{Strict, VEC_GROWS};
use crate::keyring::is_canonical_point;
use crate::sign1::{self, ALG_ED25519, ALG_ESP256, Header, Sign1};
use crate::text::{Scan, write_presentation};
use crate::verify::{CwtDigest, TokenError, VerifiedClaims};
use crate::{MAX_AUDIENCE_LEN, MAX_PROOF_LEN};

/// The external data of the signature, so that a proof cannot be used for another purpose.
const EXTERNAL_DATA: &[u8] = b"citycode-proof-v1";

/// A software replacement for a phone's key store: an Ed25519 key, wiped when dropped.
#[derive(Clone)]
pub struct DeviceSigner {
    inner: ed25519_dalek::SigningKey,
}

impl DeviceSigner {
    /// Builds the key from a seed of 32 random bytes. The copy that is passed in is wiped; the caller's own
    /// copy is not.
    #[must_use]
    pub fn from_seed(mut seed: [u8; 32]) -> Self {
        let inner = ed25519_dalek::SigningKey::from_bytes(&seed);
        seed.zeroize();
        Self { inner }
    }

    /// The public key, for the issuer.
    #[must_use]
    pub fn device_key(&self) -> DeviceKey {
        DeviceKey::Ed25519(self.inner.verifying_key().to_bytes())
    }
}

impl fmt::Debug for DeviceSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DeviceSigner(…)")
    }
}

/// Why a token cannot be presented.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PresentError {
    /// The text is not a token.
    #[error("the text is not a token")]
    Token(#[source] TokenError),
    /// The time is before 1970.
    #[error("the time of a proof cannot be before 1970")]
    Time,
    /// The audience is longer than [`MAX_AUDIENCE_LEN`].
    #[error("an audience has at most {MAX_AUDIENCE_LEN} bytes")]
    AudienceTooLong,
}

/// Builds a presentation: the token with a fresh proof. `token` may itself be a presentation, whose proof is
/// replaced.
///
/// # Errors
/// [`PresentError`].
pub fn present(
    token: &str,
    signer: &DeviceSigner,
    time: Timestamp,
    audience: Option<&str>,
) -> Result<String, PresentError> {
    let scan = Scan::read(token).map_err(PresentError::Token)?;
    let proof = make_proof(scan.cwt_digest(), signer, time, audience)?;
    Ok(write_presentation(scan.cwt(), &proof))
}

/// Builds a proof for the token with this digest.
///
/// # Errors
/// [`PresentError::Time`], [`PresentError::AudienceTooLong`].
pub fn make_proof(
    token: CwtDigest,
    signer: &DeviceSigner,
    time: Timestamp,
    audience: Option<&str>,
) -> Result<Vec<u8>, PresentError> {
    let seconds = u64::try_from(time.0).map_err(|_| PresentError::Time)?;
    if audience.is_some_and(|audience| audience.len() > MAX_AUDIENCE_LEN) {
        return Err(PresentError::AudienceTooLong);
    }
    let mut payload = Encoder::new(Vec::with_capacity(MAX_PROOF_LEN));
    payload
        .array(3)
        .and_then(|e| e.bytes(&token.0))
        .and_then(|e| e.u64(seconds))
        .and_then(|e| match audience {
            Some(audience) => e.str(audience),
            None => e.null(),
        })
        .expect(VEC_GROWS);
    let sign = |bytes: &[u8]| signer.inner.sign(bytes).to_bytes();
    let header = Header {
        alg: ALG_ED25519,
        kid: None,
        media_type: None,
    };
    Ok(sign1::write_signed(header, EXTERNAL_DATA, &payload.into_writer(), sign))
}

/// Checks a proof for these claims at `now`. `audience` is the verifier's own name, if it has one.
///
/// The result is `Absent` if no proof was shown or the code is not bound to a phone. It is `BadSignature` if
/// the proof is malformed, for another token or audience, or signed by another key, and `Stale` if it is signed
/// correctly but outside the policy's window.
#[must_use]
pub fn check_proof(
    claims: &VerifiedClaims,
    proof: Option<&[u8]>,
    now: Timestamp,
    policy: &ProofPolicy,
    audience: Option<&str>,
) -> ProofState {
    let (Some(proof), Some(key)) = (proof, &claims.device_key) else {
        return ProofState::Absent;
    };
    let Some(signed_at) = signed_time(proof, claims.cwt_digest(), key, audience) else {
        return ProofState::BadSignature;
    };
    let age_seconds = now.seconds_since(signed_at);
    if age_seconds > policy.max_age_seconds || age_seconds < policy.max_ahead_seconds.saturating_neg() {
        ProofState::Stale
    } else {
        ProofState::Fresh
    }
}

/// Returns the time in a proof if everything else about it is correct.
fn signed_time(proof: &[u8], token: CwtDigest, key: &DeviceKey, audience: Option<&str>) -> Option<Timestamp> {
    (proof.len() <= MAX_PROOF_LEN).then_some(())?;
    let message = Sign1::read(proof).filter(|message| message.len == proof.len() && message.kid.is_none())?;
    let mut reader = Strict::new(message.payload);
    (reader.array()? == 3).then_some(())?;
    (reader.byte_array()? == token.0).then_some(())?;
    let signed_at = Timestamp(i64::try_from(reader.uint()?).ok()?);
    if reader.next_is(0xF6) {
        reader.null()?;
    } else {
        let named = reader.text()?;
        (named.len() <= MAX_AUDIENCE_LEN && audience == Some(named)).then_some(())?;
    }
    reader.end()?;
    is_signed_by(&message, key).then_some(signed_at)
}

fn is_signed_by(message: &Sign1<'_>, key: &DeviceKey) -> bool {
    let Some(signed) = message.to_be_signed(EXTERNAL_DATA) else {
        return false;
    };
    match (message.alg, key) {
        (ALG_ED25519, DeviceKey::Ed25519(key)) => VerifyingKey::from_bytes(key).is_ok_and(|key| {
            key.verify_strict(signed.as_bytes(), &Signature::from_bytes(message.signature))
                .is_ok()
        }),
        (ALG_ESP256, DeviceKey::P256(point)) => ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
            .is_ok_and(|key| key.verify_sig(signed.as_bytes(), message.signature).is_ok()),
        _ => false,
    }
}

/// Whether a phone's key is a point of its curve and not weak; the issuer checks this before it binds a code to
/// it.
#[must_use]
pub fn is_sound_device_key(key: &DeviceKey) -> bool {
    match key {
        DeviceKey::Ed25519(key) => {
            VerifyingKey::from_bytes(key).is_ok_and(|key| !key.is_weak() && is_canonical_point(&key))
        }
        DeviceKey::P256(point) => {
            matches!(point[0], 2 | 3) && ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).is_ok()
        }
    }
}

impl CwtDigest {
    /// Computes the digest of a token's bytes.
    #[must_use]
    pub fn of(cwt: &[u8]) -> Self {
        Self(Sha256::digest(cwt).into())
    }
}
