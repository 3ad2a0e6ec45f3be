//! The claims of a token whose signature has been checked.

use crate::ids::{ClaimsDigest, CodeId, CodeKind, KeyId, StatusRef};
use crate::time::Timestamp;

/// Length of the commitment to the ID number in bytes. It is short on purpose: somebody who steals the
/// commitment key still finds dozens of possible people per code, while a wrong card passes only once in 16.7
/// million checks.
pub const ID_COMMITMENT_LEN: usize = 3;

/// The public key of a phone to which a live or family code is bound (R16).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeviceKey {
    /// Ed25519, 32 bytes (RFC 8032).
    Ed25519([u8; 32]),
    /// P-256, SEC 1 compressed point, 33 bytes: the curve that the secure hardware of phones supports.
    P256([u8; 33]),
}

impl DeviceKey {
    /// The key's bytes; their length determines the algorithm.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Ed25519(key) => key,
            Self::P256(key) => key,
        }
    }
}

/// The claims of one code. `Copy` and free of heap data, because verifiers cache them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CodeClaims {
    /// The code (`cti`).
    pub code_id: CodeId,
    /// Its kind.
    pub kind: CodeKind,
    /// Start of validity (`iat`), inclusive.
    pub issued_at: Timestamp,
    /// Expiry (`exp`), exclusive.
    pub expires_at: Timestamp,
    /// The status list that contains the code, and its index there.
    pub status: StatusRef,
    /// Commitment to the holder's ID number, for kinds that some place admits after an ID check (R19).
    pub id_commitment: Option<[u8; ID_COMMITMENT_LEN]>,
    /// The phone's key, for kinds that need a proof (R16).
    pub device_key: Option<DeviceKey>,
    /// The key that signed the token.
    pub key_id: KeyId,
    /// SHA-256 of the exact signed claims.
    pub digest: ClaimsDigest,
}
