//! A service whose register of used assertions is full: it is unavailable, and refuses no caller.

use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use citycode_assertion_uses::UsesKey;
use citycode_assertion_uses::embedded::EmbeddedAssertionUses;
use citycode_auth::TrustedKeys;
use citycode_auth::assertion::{Assertions, TYPE, person_claim};
use citycode_command_auth::{AssertionVerifier, Authorizer, CommandLimits};
use citycode_issuer::Issuer;
use citycode_service_kit::problem::{Code, Outcome};
use citycode_testkit::IdNumbers;
use citycode_wire::proto::issuer::v1::IssueRequest;
use citycode_wire::proto::model::v1::Authentication;
use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::json;
use zeroize::Zeroizing;

use crate::fixture::{City, Edge, TODAY};
use crate::issue;

const PROVIDER: &str = "https://idp.example";

fn pair() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[5; 32]).expect("a key")
}

fn assertion(id_number: &str, now: i64) -> String {
    assertion_named("j1", id_number, now)
}

/// An assertion with this `jti`.
pub(crate) fn assertion_named(name: &str, id_number: &str, now: i64) -> String {
    let header = Header {
        kid: Some("p1".into()),
        typ: Some(TYPE.into()),
        ..Header::new(Algorithm::EdDSA)
    };
    let claims = json!({
        "iss": PROVIDER, "aud": "citycode", "iat": now, "exp": now + 200, "jti": name, "method": "face",
        "person": person_claim(name, id_number.as_bytes()),
    });
    let key = EncodingKey::from_ed_der(pair().to_pkcs8().expect("a document").as_ref());
    encode(&header, &claims, &key).expect("a token")
}

/// The same issuer with channels that need assertions; its register, in this folder, has this capacity.
pub(crate) fn with_assertions(issuer: &Issuer, folder: &Path, room: u64) -> Edge {
    let x = BASE64URL_NOPAD.encode(pair().public_key().as_ref());
    let set = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "p1", "x": x}]}).to_string();
    let keys = TrustedKeys::new()
        .with_jwks(PROVIDER, "set", set.as_bytes())
        .expect("keys");
    let mut policy = (*issuer.authorizer.policy).clone();
    policy
        .channels
        .iter_mut()
        .for_each(|channel| channel.needs_assertion = true);
    let (file, key) = (folder.join("uses.redb"), UsesKey::new(Zeroizing::new([7; 32])));
    let uses = EmbeddedAssertionUses::with_capacity(&file, key, None, room).expect("a register");
    let authorizer = Authorizer {
        policy: Arc::new(policy),
        vault: Arc::clone(&issuer.authorizer.vault),
        log: Arc::clone(&issuer.authorizer.log),
        clock: Arc::clone(&issuer.authorizer.clock),
        entropy: Arc::clone(&issuer.authorizer.entropy),
        assertions: Some(AssertionVerifier {
            assertions: Assertions::new("citycode", keys),
            uses: Arc::new(uses),
        }),
        limits: CommandLimits::new(&*issuer.authorizer.entropy),
    };
    Edge(Arc::new(Issuer {
        authorizer: Arc::new(authorizer),
        keys: Arc::clone(&issuer.keys),
        leases: Arc::clone(&issuer.leases),
        id_check_key: citycode_token::IdCheckKey::from_bytes([3; 32]),
        erasures: Arc::clone(&issuer.erasures),
        queries: None,
    }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_issuer_with_a_full_register_is_unavailable_and_refuses_no_assertion() {
    let city = City::new().await;
    let person = city.resident(IdNumbers::new(21).aged(40, TODAY)).await;
    let assertion = assertion(&person, city.issuer.authorizer.clock.now().0);
    let request = IssueRequest {
        authentication: Some(Authentication {
            assertion,
            ..Authentication::default()
        }),
        ..issue("sampling", "app", &person)
    };
    let folder = tempfile::tempdir().expect("a folder");
    let full = with_assertions(&city.issuer, folder.path(), 0);
    let busy = full.issue(&city.admin, &request).await.expect_err("it has no room");
    drop(full);
    assert_eq!(
        (busy.code(), busy.outcome()),
        (Code::Unavailable, Some(Outcome::NotDone))
    );
    // The assertion was not consumed.
    let free = with_assertions(&city.issuer, folder.path(), 1);
    free.issue(&city.admin, &request).await.expect("issued");
    let replayed = free.issue(&city.admin, &request).await.expect_err("used up");
    assert_eq!(replayed.code(), Code::NotAllowed);
}
