//! The content of a QR code: claims, their signature, the text, the phone's proof, and the keys that verify
//! them.
//!
//! A token is `CC1:` + Base45 (RFC 9285) of a CWT (RFC 8392) in a COSE_Sign1 (RFC 9052), signed with Ed25519
//! under its fully specified algorithm number (RFC 9864). A presentation, which a phone shows, is `CC1P:` +
//! Base45 of that token followed by a proof, as a CBOR sequence (RFC 8742).
//!
//! The crate is pure and synchronous: time, seeds and keys are arguments. It does not depend on what a place
//! does with a token, on the log or on storage. Verifying a token allocates nothing and costs little more than
//! one signature check.
//!
//! A typical scan:
//! ```
//! # use citycode_token::{Keyring, Scan, TokenError, VerifiedClaims, check_proof};
//! # use citycode_domain::{admission::ProofState, policy::ProofPolicy, time::Timestamp};
//! # fn scan(text: &str, keyring: &Keyring, now: Timestamp, policy: &ProofPolicy) -> Result<(VerifiedClaims, ProofState), TokenError> {
//! let scan = Scan::read(text)?;
//! let claims = scan.verify(keyring, "https://s.example/", now)?; // or from a cache keyed by scan.cwt_digest()
//! let proof = check_proof(&claims, scan.proof(), now, policy, None);
//! # Ok((claims, proof)) }
//! ```

mod cbor;
mod claims;
mod id_commitment;
mod key_set;
mod keyring;
mod proof;
mod sign;
mod sign1;
mod statement;
pub mod status_list;
mod text;
mod verify;

pub use claims::CodeClaimsToSign;
pub use id_commitment::{IdCheckKey, id_commitment, id_commitment_matches, stand_in_holder};
pub use key_set::{STATUS_LIST_USE, keys_cose_set, keys_jwks_json, status_keys_cose_set};
pub use keyring::{KeyEntry, Keyring, KeyringError, key_id_of};
pub use proof::{DeviceSigner, PresentError, check_proof, is_sound_device_key, make_proof, present};
pub use sign::{SignError, SignedToken, SigningKey, sign_code};
pub use statement::{StatementError, read_statement, sign_statement};
pub use text::{PRESENTATION_PREFIX, Scan, TOKEN_PREFIX, canonical_scan, is_framing};
pub use verify::{CwtDigest, TokenError, VerifiedClaims, verify, verify_cwt};

/// Maximum length of the base URI of status lists in bytes. Paper has room for 28 (see the size test); this
/// only bounds buffers.
pub const MAX_BASE_URI_LEN: usize = 64;

/// Maximum length of a CWT in bytes, including device-bound ones with the longest base URI (they need 259).
pub const MAX_CWT_LEN: usize = 288;

/// Maximum length of a CWT on paper: its text fills a version 11 symbol at level Q (259 characters).
pub const MAX_PAPER_CWT_LEN: usize = 170;

/// Maximum length of a proof in bytes; without an audience it needs 116.
pub const MAX_PROOF_LEN: usize = 192;

/// Maximum length of the audience of a proof in bytes.
pub const MAX_AUDIENCE_LEN: usize = 64;

/// Maximum length of a scanned text in characters: a presentation of the longest token and proof. A longer text
/// is refused without being parsed.
pub const MAX_SCAN_LEN: usize = PRESENTATION_PREFIX.len() + (MAX_CWT_LEN + MAX_PROOF_LEN) / 2 * 3;
