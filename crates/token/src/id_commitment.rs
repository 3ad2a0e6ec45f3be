//! The commitment to the ID number in a paper code (R19): so short that it names nobody, long enough that a wrong card fails.

use core::fmt;

use citycode_domain::claims::ID_COMMITMENT_LEN;
use citycode_domain::ids::{CodeId, HolderId};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Keeps this use of the key apart from any other.
const PURPOSE: &[u8] = b"citycode-id-check-v1";

/// As [`PURPOSE`], for [`stand_in_holder`].
const STAND_IN_PURPOSE: &[u8] = b"citycode-stand-in-holder-v1";

/// The ID-check key of one epoch; lives as long as the codes of its epoch. Wiped when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct IdCheckKey([u8; 32]);

impl IdCheckKey {
    /// The key from 32 random bytes. The copy passed in is wiped; the caller's own is not.
    #[must_use]
    pub fn from_bytes(mut bytes: [u8; 32]) -> Self {
        let key = Self(bytes);
        bytes.zeroize();
        key
    }
}

impl fmt::Debug for IdCheckKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdCheckKey(…)")
    }
}

/// HMAC-SHA-256 over purpose, code id (of fixed length) and ID number, cut to its first three bytes.
///
/// `id_number` in its one spelling: 18 ASCII characters, `X` in capitals.
#[must_use]
pub fn id_commitment(key: &IdCheckKey, code_id: CodeId, id_number: &[u8]) -> [u8; ID_COMMITMENT_LEN] {
    let mut mac = Hmac::<Sha256>::new_from_slice(&key.0).expect("HMAC takes keys of any length");
    mac.update(PURPOSE);
    mac.update(&code_id.0);
    mac.update(id_number);
    let tag = mac.finalize().into_bytes();
    let mut commitment = [0; ID_COMMITMENT_LEN];
    commitment.copy_from_slice(&tag[..ID_COMMITMENT_LEN]);
    commitment
}

/// A holder that stands in for a person whom the city does not know, so that an ID card is judged by the same steps
/// whether or not its person is known (R31). Every verifier with the same key gets the same one; nobody is ever
/// registered under it, since holders are random.
///
/// HMAC-SHA-256 over a purpose of its own and the ID number, cut to 16 bytes; `id_number` as in [`id_commitment`].
#[must_use]
pub fn stand_in_holder(key: &IdCheckKey, id_number: &[u8]) -> HolderId {
    let mut mac = Hmac::<Sha256>::new_from_slice(&key.0).expect("HMAC takes keys of any length");
    mac.update(STAND_IN_PURPOSE);
    mac.update(id_number);
    let tag = mac.finalize().into_bytes();
    let mut holder = [0; 16];
    holder.copy_from_slice(&tag[..16]);
    HolderId(holder)
}

/// Whether a card's ID number is the one committed to, in constant time.
#[must_use]
pub fn id_commitment_matches(
    commitment: [u8; ID_COMMITMENT_LEN],
    key: &IdCheckKey,
    code_id: CodeId,
    id_number: &[u8],
) -> bool {
    id_commitment(key, code_id, id_number).ct_eq(&commitment).into()
}
