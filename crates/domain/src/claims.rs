//! What a token says of itself once its signature has been checked.

use crate::ids::{ClaimsDigest, CodeId, CodeKind, KeyId, StatusRef};
use crate::time::Timestamp;

/// Length of the commitment to the ID number in bytes. So short that a thief of its key is left with dozens
/// of possible people per code, while a wrong card passes once in 16.7 million.
pub const ID_COMMITMENT_LEN: usize = 3;

/// A public key on a phone, to which a live or family code is bound (R16).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeviceKey {
    /// Ed25519, 32 bytes (RFC 8032).
    Ed25519([u8; 32]),
    /// P-256, SEC 1 compressed point, 33 bytes: what phones' secure hardware has.
    P256([u8; 33]),
}

/// The claims of one code. Copy and without heap: it lives in a verifier's memory of tokens seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CodeClaims {
    /// The code (`cti`).
    pub code_id: CodeId,
    /// Its kind.
    pub kind: CodeKind,
    /// Valid from this instant (`iat`).
    pub issued_at: Timestamp,
    /// Dead from this instant (`exp`).
    pub expires_at: Timestamp,
    /// Where its status stands.
    pub status: StatusRef,
    /// Commitment to the holder's ID number, in kinds that some place admits after an ID check (R19).
    pub id_commitment: Option<[u8; ID_COMMITMENT_LEN]>,
    /// The phone's key, in kinds that are shown with a proof (R16).
    pub device_key: Option<DeviceKey>,
    /// The key that signed.
    pub key_id: KeyId,
    /// SHA-256 of the exact signed claims.
    pub digest: ClaimsDigest,
}
