use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::*;

const NOW: UnixSeconds = UnixSeconds(1_800_001_000);
const ISSUER: &str = "https://idp.example";
const PERSON: &[u8] = b"11010519491231002X";

fn pair() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[5; 32]).unwrap()
}

fn keys() -> TrustedKeys {
    let x = BASE64URL_NOPAD.encode(pair().public_key().as_ref());
    let set = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "p1", "x": x}]}).to_string();
    TrustedKeys::new().with_jwks(ISSUER, "set", set.as_bytes()).unwrap()
}

fn assertions() -> Assertions {
    Assertions::new("citycode", keys())
}

fn claims(jti: &str) -> Value {
    json!({"iss": ISSUER, "aud": "citycode", "iat": NOW.0 - 5, "exp": NOW.0 + 200, "jti": jti, "method": "face", "person": person_claim(jti, PERSON)})
}

fn signed(typ: Option<&str>, claims: &Value) -> String {
    let mut header = Header::new(Algorithm::EdDSA);
    header.kid = Some("p1".into());
    header.typ = typ.map(str::to_owned);
    encode(
        &header,
        claims,
        &EncodingKey::from_ed_der(pair().to_pkcs8().unwrap().as_ref()),
    )
    .unwrap()
}

fn refused(change: impl FnOnce(&mut Value)) -> AssertionError {
    let mut claims = claims("j");
    change(&mut claims);
    assertions()
        .check(&signed(Some(TYPE), &claims), PERSON, NOW)
        .unwrap_err()
}

#[test]
fn an_assertion_is_valid_until_its_expiry_plus_the_leeway_and_has_a_digest() {
    let token = signed(Some(TYPE), &claims("j1"));
    let proof = assertions().check(&token, PERSON, NOW).unwrap();
    assert_eq!((proof.issuer.as_str(), proof.method.as_str()), (ISSUER, "face"));
    let refused_from = NOW.plus(200 + LEEWAY_SECONDS);
    assert_eq!((proof.made_at, proof.refused_from), (NOW.plus(-5), refused_from));
    let last = assertions().check(&token, PERSON, refused_from.plus(-1));
    assert_eq!(last.as_ref(), Ok(&proof));
    assert_eq!(
        assertions().check(&token, PERSON, refused_from),
        Err(AssertionError::Expired)
    );
}

#[test]
fn a_jti_signed_again_is_the_same_assertion_and_another_jti_is_another() {
    let named = |claims: &Value| {
        let checked = assertions().check(&signed(Some(TYPE), claims), PERSON, NOW);
        checked.unwrap().assertion
    };
    let mut again = claims("j1");
    again["exp"] = json!(NOW.0 + 250);
    assert_eq!(named(&claims("j1")), named(&again));
    assert_ne!(named(&claims("j1")), named(&claims("j2")));
}

#[test]
fn an_assertion_for_one_person_is_not_for_another() {
    let assertions = assertions();
    let token = signed(Some(TYPE), &claims("j1"));
    for other in [
        &b"110105194912310021"[..],
        b"",
        b"11010519491231002x",
        b"11010519491231002X ",
    ] {
        assert_eq!(assertions.check(&token, other, NOW), Err(AssertionError::AnotherPerson));
    }
    assertions.check(&token, PERSON, NOW).unwrap();
    assert_eq!(refused(|c| c["person"] = json!("")), AssertionError::AnotherPerson);
    assert_eq!(refused(|c| c["person"] = json!("%%")), AssertionError::Invalid);
}

#[test]
fn wrong_envelopes_windows_issuers_and_audiences_are_refused() {
    for typ in [None, Some("JWT"), Some("at+jwt")] {
        let token = signed(typ, &claims("j"));
        assert_eq!(assertions().check(&token, PERSON, NOW), Err(AssertionError::Invalid));
    }
    assert_eq!(refused(|c| c["iss"] = json!("https://other")), AssertionError::Invalid);
    assert_eq!(refused(|c| c["aud"] = json!("other")), AssertionError::Invalid);
    assert_eq!(refused(|c| c["jti"] = json!("")), AssertionError::Invalid);
    assert_eq!(
        refused(|c| c["exp"] = json!(NOW.0 - 5 + MAX_LIFETIME_SECONDS + 1)),
        AssertionError::Invalid
    );
    assert_eq!(refused(|c| c["exp"] = json!(NOW.0 - 5)), AssertionError::Invalid);
    assert_eq!(
        refused(|c| (c["iat"], c["exp"]) = (json!(NOW.0 + 11), json!(NOW.0 + 50))),
        AssertionError::OutsideWindow
    );
    assert_eq!(
        refused(|c| (c["iat"], c["exp"]) = (json!(i64::MIN), json!(i64::MAX))),
        AssertionError::Invalid
    );
    let token = signed(Some(TYPE), &claims("j"));
    assert_eq!(
        assertions().check(&token[..token.len() - 2], PERSON, NOW),
        Err(AssertionError::Invalid)
    );
}

#[test]
fn the_person_claim_has_a_fixed_form_that_providers_can_compute() {
    // printf 'citycode-person-v1j111010519491231002X' | openssl dgst -sha256 -binary | basenc --base64url
    assert_eq!(
        person_claim("j1", PERSON),
        "q6fr1yLBfwbKg2m5_i9la0Ey0JQVrbta0F7oTPR8sng"
    );
}
