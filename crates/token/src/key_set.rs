//! The public keys for third parties: as JWKS (RFC 7517, RFC 8037) and as a COSE key set (RFC 9052 §7).
//!
//! Besides the standard members each key has its windows: in JWKS `signs_from`, `signs_until`, `verifies_until`
//! (RFC 3339) and `compromised`; in COSE the private label −65537, `[ from, until / null, verifies until /
//! null, compromised ]` with times in seconds. A reader that does not support them ignores them, as both
//! standards require.
//!
//! The keys that sign status lists are in separate sets and have a separate use, so that they are never
//! confused with code-signing keys: in JWK, which the portal writes, `"use":"status-list"` (RFC 7517 §4.2
//! permits other values), in COSE the private label −65538 with the same text. They have no windows: each list
//! contains its own expiry.

use citycode_domain::time::Timestamp;
use data_encoding::BASE64URL_NOPAD;
use minicbor::Encoder;

use crate::cbor::VEC_GROWS;
use crate::keyring::{KeyEntry, Keyring, key_id_of};
use crate::sign1::ALG_ED25519;

/// Private COSE key label for a key's windows, in the range for private use.
const LABEL_WINDOWS: i64 = -65_537;

/// Private COSE key label for a key's use, if that is not signing codes.
const LABEL_USE: i64 = -65_538;
/// The use of a key that signs status lists.
pub const STATUS_LIST_USE: &str = "status-list";

/// The keyring as a JWK set. `kid` is the key id in hex.
#[must_use]
pub fn keys_jwks_json(keyring: &Keyring) -> String {
    let keys: Vec<String> = keyring.entries().iter().map(jwk).collect();
    format!(r#"{{"keys":[{}]}}"#, keys.join(","))
}

fn jwk(entry: &KeyEntry) -> String {
    // Every value is hex, Base64url, a number or a time, so nothing needs escaping.
    let time = |time: Timestamp| format!("\"{}\"", rfc3339(time));
    let until = |until: Option<Timestamp>| until.map_or_else(|| String::from("null"), time);
    format!(
        r#"{{"kty":"OKP","crv":"Ed25519","x":"{}","kid":"{}","alg":"Ed25519","use":"sig","signs_from":{},"signs_until":{},"verifies_until":{},"compromised":{}}}"#,
        BASE64URL_NOPAD.encode(&entry.public_key()),
        entry.key_id,
        time(entry.signs_from),
        until(entry.signs_until),
        until(entry.verifies_until),
        entry.compromised,
    )
}

/// UTC with `Z` in whole seconds; an instant outside the range of RFC 3339 is clamped to it.
fn rfc3339(time: Timestamp) -> String {
    let seconds = time.0.clamp(0, 253_402_207_200);
    jiff::Timestamp::from_second(seconds)
        .expect("clamped to the years that jiff supports")
        .to_string()
}

/// The keyring as a COSE key set in deterministic CBOR.
#[must_use]
pub fn keys_cose_set(keyring: &Keyring) -> Vec<u8> {
    let mut out = Encoder::new(Vec::new());
    write_set(&mut out, keyring).expect(VEC_GROWS);
    out.into_writer()
}

fn write_set(
    out: &mut Encoder<Vec<u8>>,
    keyring: &Keyring,
) -> Result<(), minicbor::encode::Error<core::convert::Infallible>> {
    let entries = keyring.entries();
    out.array(entries.len() as u64)?;
    for entry in entries {
        out.map(7)?;
        out.u8(1)?.u8(1)?; // kty: OKP
        out.u8(2)?.bytes(&entry.key_id.0)?; // kid
        out.u8(3)?.i64(ALG_ED25519)?;
        out.u8(4)?.array(1)?.u8(2)?; // key_ops: verify
        out.i8(-1)?.u8(6)?; // crv: Ed25519
        out.i8(-2)?.bytes(&entry.public_key())?;
        out.i64(LABEL_WINDOWS)?.array(4)?.i64(entry.signs_from.0)?;
        for until in [entry.signs_until, entry.verifies_until] {
            match until {
                Some(until) => out.i64(until.0)?,
                None => out.null()?,
            };
        }
        out.bool(entry.compromised)?;
    }
    Ok(())
}

/// The public keys that sign status lists, as a COSE key set in deterministic CBOR.
#[must_use]
pub fn status_keys_cose_set(public_keys: &[[u8; 32]]) -> Vec<u8> {
    let mut out = Encoder::new(Vec::new());
    write_status_keys(&mut out, public_keys).expect(VEC_GROWS);
    out.into_writer()
}

fn write_status_keys(
    out: &mut Encoder<Vec<u8>>,
    public_keys: &[[u8; 32]],
) -> Result<(), minicbor::encode::Error<core::convert::Infallible>> {
    out.array(public_keys.len() as u64)?;
    for public_key in public_keys {
        out.map(7)?;
        out.u8(1)?.u8(1)?; // kty: OKP
        out.u8(2)?.bytes(&key_id_of(public_key).0)?; // kid
        out.u8(3)?.i64(ALG_ED25519)?;
        out.u8(4)?.array(1)?.u8(2)?; // key_ops: verify
        out.i8(-1)?.u8(6)?; // crv: Ed25519
        out.i8(-2)?.bytes(public_key)?;
        out.i64(LABEL_USE)?.str(STATUS_LIST_USE)?;
    }
    Ok(())
}
