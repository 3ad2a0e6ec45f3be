//! The commitment to the ID number in a paper code (R19): too short to identify a person, long enough that a
//! wrong card fails.

use core::fmt;

use citycode_domain::claims::ID_COMMITMENT_LEN;
use citycode_domain::ids::{CodeId, HolderId};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Domain separation of this use of the key from any other.
const PURPOSE: &[u8] = b"citycode-id-check-v1";

/// Like [`PURPOSE`], for [`stand_in_holder`].
const STAND_IN_PURPOSE: &[u8] = b"citycode-stand-in-holder-v1";

/// The ID-check key of one epoch, which is needed as long as codes of that epoch are valid. It is wiped when
/// dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct IdCheckKey([u8; 32]);

impl IdCheckKey {
    /// Builds the key from 32 random bytes. The copy that is passed in is wiped; the caller's own copy is not.
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

/// HMAC-SHA-256 over purpose, code id (of fixed length) and ID number, truncated to the first three bytes.
///
/// `id_number` is in its canonical form: 18 ASCII characters with a capital `X`.
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

/// A substitute holder id for a person who is not registered, so that an ID card is judged by the same steps
/// whether or not its person is registered (R31). Every verifier with the same key computes the same id. No
/// holder has this id, because holder ids are random.
///
/// It is HMAC-SHA-256 over a purpose of its own and the ID number, truncated to 16 bytes; `id_number` as in
/// [`id_commitment`].
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

/// Compares a card's ID number with the commitment, in constant time.
#[must_use]
pub fn id_commitment_matches(
    commitment: [u8; ID_COMMITMENT_LEN],
    key: &IdCheckKey,
    code_id: CodeId,
    id_number: &[u8],
) -> bool {
    id_commitment(key, code_id, id_number).ct_eq(&commitment).into()
}
