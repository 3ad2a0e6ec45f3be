//! A service that can remember no more assertions: that says nothing of the caller's rights.

use std::sync::Arc;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use citycode_acts::{Desk, DeskLimits};
use citycode_issuer::Issuer;
use citycode_service_kit::assertion::{Assertions, TYPE, person_claim};
use citycode_service_kit::auth::TrustedKeys;
use citycode_service_kit::clock::UnixSeconds;
use citycode_service_kit::problem::{Code, Outcome};
use citycode_testkit::IdNumbers;
use citycode_wire::proto::issuer::v1::IssueRequest;
use citycode_wire::proto::model::v1::Authentication;
use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::json;

use crate::fixture::{City, TODAY};
use crate::issue;

const PROVIDER: &str = "https://idp.example";

fn pair() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[5; 32]).expect("a key")
}

fn assertion(id_number: &str, now: i64) -> String {
    let header = Header {
        kid: Some("p1".into()),
        typ: Some(TYPE.into()),
        ..Header::new(Algorithm::EdDSA)
    };
    let claims = json!({
        "iss": PROVIDER, "aud": "citycode", "iat": now, "exp": now + 200, "jti": "j1", "method": "face",
        "person": person_claim("j1", id_number.as_bytes()),
    });
    let key = EncodingKey::from_ed_der(pair().to_pkcs8().expect("a document").as_ref());
    encode(&header, &claims, &key).expect("a token")
}

/// The same issuer, whose channels need assertions of which it can remember so many.
fn with_assertions(issuer: &Issuer, capacity: usize) -> Issuer {
    let x = BASE64URL_NOPAD.encode(pair().public_key().as_ref());
    let set = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "p1", "x": x}]}).to_string();
    let keys = TrustedKeys::new()
        .with_jwks(PROVIDER, "set", set.as_bytes())
        .expect("keys");
    let mut policy = (*issuer.desk.policy).clone();
    policy
        .channels
        .iter_mut()
        .for_each(|channel| channel.needs_assertion = true);
    let desk = Desk {
        policy: Arc::new(policy),
        vault: Arc::clone(&issuer.desk.vault),
        log: Arc::clone(&issuer.desk.log),
        clock: Arc::clone(&issuer.desk.clock),
        entropy: Arc::clone(&issuer.desk.entropy),
        assertions: Some(Arc::new(Assertions::with_capacity(
            "citycode",
            keys,
            UnixSeconds(0),
            capacity,
        ))),
        limits: DeskLimits::new(&*issuer.desk.entropy),
    };
    Issuer {
        desk: Arc::new(desk),
        keys: Arc::clone(&issuer.keys),
        leases: Arc::clone(&issuer.leases),
        id_check_key: citycode_token::IdCheckKey::from_bytes([3; 32]),
        erasures: Arc::clone(&issuer.erasures),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_overloaded_issuer_is_unavailable_and_refuses_nobody() {
    let city = City::new().await;
    let person = city.resident(IdNumbers::new(21).aged(40, TODAY)).await;
    let assertion = assertion(&person, city.issuer.desk.clock.now().0);
    let request = IssueRequest {
        authentication: Some(Authentication {
            assertion,
            ..Authentication::default()
        }),
        ..issue("sampling", "app", &person)
    };
    let busy = with_assertions(&city.issuer, 0).issue(&city.admin, &request).await;
    let busy = busy.expect_err("it can remember none");
    assert_eq!(
        (busy.code(), busy.outcome()),
        (Code::Unavailable, Some(Outcome::NotDone))
    );
    // The assertion was not used up.
    let free = with_assertions(&city.issuer, 1);
    free.issue(&city.admin, &request).await.expect("issued");
    let replayed = free.issue(&city.admin, &request).await.expect_err("used up");
    assert_eq!(replayed.code(), Code::NotAllowed);
}
