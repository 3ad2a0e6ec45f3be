//! A token's bytes: whatever is taken is deterministic CBOR, and exactly what our encoder writes for what it says.

use citycode_token::{
    CodeClaimsToSign, MAX_CWT_LEN, Scan, SignError, SigningKey, TOKEN_PREFIX, key_id_of, sign_code, verify_cwt,
};
use coset::cbor::value::Value;
use coset::{CoseSign1, TaggedCborSerializable as _};

use crate::city::{BASE_URI, CITY_SEED, KEYRING, LIVE_CWT, NOW, deterministic, signed};

/// Takes any bytes for a token, for the claims of one, and for its protected header, the latter two rightly signed.
///
/// # Panics
/// When something is read that ciborium does not find deterministic or that coset does not read, or something is
/// verified that our encoder would have written in other bytes.
pub fn run(input: &[u8]) {
    if input.len() > 2 * MAX_CWT_LEN {
        return;
    }
    structure(input);
    verified(input);
    verified(&signed(CITY_SEED, &protected(), b"", input));
    let live = coset_reads(&LIVE_CWT);
    verified(&signed(
        CITY_SEED,
        input,
        b"",
        live.payload.as_deref().expect("a token has its payload inside"),
    ));
}

/// Our protected header, written by hand: `{ 1: -19, 4: kid }`.
fn protected() -> Vec<u8> {
    let key_id = key_id_of(&SigningKey::from_seed(CITY_SEED).public_key());
    [&[0xA2, 0x01, 0x32, 0x04, 0x44], &key_id.0[..]].concat()
}

fn coset_reads(cwt: &[u8]) -> CoseSign1 {
    CoseSign1::from_tagged_slice(cwt).expect("coset reads what we read")
}

/// Before any signature: the envelope alone.
fn structure(input: &[u8]) {
    let Ok(scan) = Scan::read(&format!("{TOKEN_PREFIX}{}", base45::encode(input))) else {
        return;
    };
    assert_eq!(scan.cwt(), input, "read something else than was given");
    // ciborium, not coset: an algorithm that coset does not know stands here still, and is refused with the key.
    let Some(Value::Tag(18, message)) = deterministic(input) else {
        panic!("the envelope is not deterministic");
    };
    let Some([Value::Bytes(header), Value::Map(unprotected), ..]) = message.as_array().map(Vec::as_slice) else {
        panic!("no COSE_Sign1");
    };
    assert!(deterministic(header).is_some(), "the header is not deterministic");
    assert!(unprotected.is_empty(), "a header that nobody signs");
}

fn verified(cwt: &[u8]) {
    let Ok(claims) = verify_cwt(cwt, &KEYRING, BASE_URI, NOW) else {
        return;
    };
    structure(cwt);
    let payload = coset_reads(cwt).payload.expect("a token has its payload inside");
    assert!(deterministic(&payload).is_some(), "the claims are not deterministic");
    let said = CodeClaimsToSign::from(&*claims);
    match sign_code(&said, BASE_URI, &SigningKey::from_seed(CITY_SEED)) {
        Ok(token) => assert_eq!(token.cwt, cwt, "two tokens that say the same"),
        // The issuer asks before it binds a code to a key; a verifier finds that no proof fits it.
        Err(SignError::UnsoundDeviceKey) => {}
        Err(error) => panic!("verified, but would not be signed: {error}"),
    }
}
