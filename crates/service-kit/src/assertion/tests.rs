use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::*;

const START: UnixSeconds = UnixSeconds(1_800_000_000);
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
    Assertions::new("citycode", keys(), START)
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
        .redeem(&signed(Some(TYPE), &claims), PERSON, NOW)
        .unwrap_err()
}

#[test]
fn an_assertion_is_good_once_and_never_again() {
    let assertions = assertions();
    let token = signed(Some(TYPE), &claims("j1"));
    let proof = assertions.redeem(&token, PERSON, NOW).unwrap();
    assert_eq!((proof.issuer.as_str(), proof.method.as_str()), (ISSUER, "face"));
    for later in [0, 1, 100, 199, 200 + LEEWAY_SECONDS - 1] {
        assert_eq!(
            assertions.redeem(&token, PERSON, NOW.plus(later)),
            Err(AssertionError::Replayed)
        );
    }
    assert_eq!(
        assertions.redeem(&token, PERSON, NOW.plus(200 + LEEWAY_SECONDS)),
        Err(AssertionError::Expired)
    );
}

#[test]
fn the_same_jti_signed_anew_is_a_replay() {
    let assertions = assertions();
    assertions
        .redeem(&signed(Some(TYPE), &claims("j1")), PERSON, NOW)
        .unwrap();
    let mut other = claims("j1");
    other["exp"] = json!(NOW.0 + 250);
    assert_eq!(
        assertions.redeem(&signed(Some(TYPE), &other), PERSON, NOW),
        Err(AssertionError::Replayed)
    );
}

#[test]
fn a_clock_set_back_does_not_revive_a_forgotten_assertion() {
    let assertions = assertions();
    let token = signed(Some(TYPE), &claims("j1"));
    assertions.redeem(&token, PERSON, NOW).unwrap();
    let mut late = claims("late");
    (late["iat"], late["exp"]) = (json!(NOW.0 + 1_000), json!(NOW.0 + 1_100));
    assertions
        .redeem(&signed(Some(TYPE), &late), PERSON, NOW.plus(1_000))
        .unwrap();
    assert_eq!(assertions.redeem(&token, PERSON, NOW), Err(AssertionError::Expired));
}

#[test]
fn an_assertion_for_one_person_is_not_for_another_and_is_not_used_up_by_trying() {
    let assertions = assertions();
    let token = signed(Some(TYPE), &claims("j1"));
    for other in [
        &b"110105194912310021"[..],
        b"",
        b"11010519491231002x",
        b"11010519491231002X ",
    ] {
        assert_eq!(
            assertions.redeem(&token, other, NOW),
            Err(AssertionError::AnotherPerson)
        );
    }
    assertions.redeem(&token, PERSON, NOW).unwrap();
    assert_eq!(refused(|c| c["person"] = json!("")), AssertionError::AnotherPerson);
    assert_eq!(refused(|c| c["person"] = json!("%%")), AssertionError::Invalid);
}

#[test]
fn a_restart_forgets_nothing_since_older_assertions_are_refused() {
    let token = signed(Some(TYPE), &claims("j1"));
    assertions().redeem(&token, PERSON, NOW).unwrap();
    let restarted = |at: i64| Assertions::new("citycode", keys(), UnixSeconds(at));
    let refused = restarted(NOW.0 + 1).redeem(&token, PERSON, NOW.plus(2));
    assert_eq!(refused, Err(AssertionError::OutsideWindow));
    let refused = restarted(NOW.0 - 5 - LEEWAY_SECONDS + 1).redeem(&token, PERSON, NOW);
    assert_eq!(refused, Err(AssertionError::OutsideWindow), "an issuer ahead of us");
    restarted(NOW.0 - 5 - LEEWAY_SECONDS)
        .redeem(&token, PERSON, NOW)
        .unwrap();
}

#[test]
fn wrong_envelopes_windows_issuers_and_audiences_are_refused() {
    for typ in [None, Some("JWT"), Some("at+jwt")] {
        let token = signed(typ, &claims("j"));
        assert_eq!(assertions().redeem(&token, PERSON, NOW), Err(AssertionError::Invalid));
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
        assertions().redeem(&token[..token.len() - 2], PERSON, NOW),
        Err(AssertionError::Invalid)
    );
}

#[test]
fn memory_is_bounded_new_ones_wait_and_old_ones_are_never_forgotten_early() {
    let small = Assertions::with_capacity("citycode", keys(), START, 2);
    let token = |jti: &str| signed(Some(TYPE), &claims(jti));
    small.redeem(&token("a"), PERSON, NOW).unwrap();
    small.redeem(&token("b"), PERSON, NOW).unwrap();
    assert_eq!(small.redeem(&token("c"), PERSON, NOW), Err(AssertionError::Busy));
    assert_eq!(small.redeem(&token("a"), PERSON, NOW), Err(AssertionError::Replayed));
    let mut late = claims("d");
    (late["iat"], late["exp"]) = (json!(NOW.0 + 300), json!(NOW.0 + 400));
    small
        .redeem(&signed(Some(TYPE), &late), PERSON, NOW.plus(300))
        .expect("the expired ones made room");
}

#[test]
fn too_many_at_once_is_no_refusal_of_the_caller() {
    let busy = Problem::from(AssertionError::Busy);
    assert_eq!(
        (busy.code(), busy.outcome()),
        (Code::Unavailable, Some(Outcome::NotDone))
    );
    assert!(
        busy.retry_after_seconds().is_some() && busy.to_string().contains("same assertion"),
        "{busy}"
    );
    for refusal in [
        AssertionError::Invalid,
        AssertionError::Expired,
        AssertionError::OutsideWindow,
        AssertionError::AnotherPerson,
        AssertionError::Replayed,
    ] {
        assert_eq!(Problem::from(refusal).code(), Code::NotAllowed, "{refusal}");
    }
}

#[test]
fn two_at_once_redeem_once() {
    let assertions = assertions();
    let token = signed(Some(TYPE), &claims("j"));
    let wins: usize = std::thread::scope(|scope| {
        let tries: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| usize::from(assertions.redeem(&token, PERSON, NOW).is_ok())))
            .collect();
        tries.into_iter().map(|t| t.join().unwrap()).sum()
    });
    assert_eq!(wins, 1);
}

#[test]
fn the_person_claim_has_a_fixed_form_that_providers_can_build() {
    // printf 'citycode-person-v1j111010519491231002X' | openssl dgst -sha256 -binary | basenc --base64url
    assert_eq!(
        person_claim("j1", PERSON),
        "q6fr1yLBfwbKg2m5_i9la0Ey0JQVrbta0F7oTPR8sng"
    );
}
