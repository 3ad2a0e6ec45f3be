//! The bytes of a token: every accepted token is deterministic CBOR, and is the one encoding that the issuer's encoder
//! gives to its claims.

use citycode_token::{
    CodeClaimsToSign, MAX_CWT_LEN, Scan, SignError, SigningKey, TOKEN_PREFIX, key_id_of, sign_code, verify_cwt,
};
use coset::cbor::value::Value;
use coset::{CoseSign1, TaggedCborSerializable as _};

use crate::city::{BASE_URI, CITY_SEED, KEYRING, LIVE_CWT, NOW, deterministic, signed};

/// Decodes any bytes as a token, as the claims of a token, and as its protected header; the last two with a valid
/// signature.
///
/// # Panics
/// If something is read that is not deterministic according to `ciborium` or that `coset` cannot read, or if a token is
/// verified that the product's encoder would have written in other bytes.
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

/// The protected header of tokens, `{ 1: -19, 4: kid }`, encoded by hand.
fn protected() -> Vec<u8> {
    let key_id = key_id_of(&SigningKey::from_seed(CITY_SEED).public_key());
    [&[0xA2, 0x01, 0x32, 0x04, 0x44], &key_id.0[..]].concat()
}

fn coset_reads(cwt: &[u8]) -> CoseSign1 {
    CoseSign1::from_tagged_slice(cwt).expect("coset reads what we read")
}

/// Checks what is read before the signature: the `COSE_Sign1` structure alone.
fn structure(input: &[u8]) {
    let Ok(scan) = Scan::read(&format!("{TOKEN_PREFIX}{}", base45::encode(input))) else {
        return;
    };
    assert_eq!(scan.cwt(), input, "the scan contains other bytes than the text");
    // `ciborium` and not `coset`: the algorithm may be one that `coset` does not know, because it is checked later,
    // with the key.
    let Some(Value::Tag(18, message)) = deterministic(input) else {
        panic!("the envelope is not deterministic");
    };
    let Some([Value::Bytes(header), Value::Map(unprotected), ..]) = message.as_array().map(Vec::as_slice) else {
        panic!("not a COSE_Sign1");
    };
    assert!(deterministic(header).is_some(), "the header is not deterministic");
    assert!(unprotected.is_empty(), "a header that the signature does not cover");
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
        Ok(token) => assert_eq!(token.cwt, cwt, "two encodings of the same claims"),
        // Only the issuer checks a phone's key, before it binds a code to it. A verifier accepts such a token, and no
        // proof verifies under its key.
        Err(SignError::UnsoundDeviceKey) => {}
        Err(error) => panic!("verified, but would not be signed: {error}"),
    }
}
