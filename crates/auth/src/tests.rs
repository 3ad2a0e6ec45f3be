//! Hostile tokens, and the layer over gRPC and HTTP.

use std::sync::Arc;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use axum::body::Body;
use axum::routing::get;
use data_encoding::{BASE64, BASE64URL_NOPAD};
use http::Request;
use http_body_util::BodyExt as _;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use tower::{Layer as _, ServiceExt as _};

use citycode_service_kit::peer::PeerKind;

use super::*;
use citycode_service_kit::clock::{Clock, ManualClock, UnixSeconds};
use citycode_service_kit::entropy::SeededEntropy;
use citycode_service_kit::files::FileError;
use citycode_service_kit::problem::{Code, Problem};

const NOW: UnixSeconds = UnixSeconds(1_800_000_000);
const ISSUER: &str = "https://idp.example";

struct Signer {
    key: EncodingKey,
    public: Vec<u8>,
}

fn ed25519(seed: u8) -> Signer {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
    Signer {
        key: EncodingKey::from_ed_der(pair.to_pkcs8().unwrap().as_ref()),
        public: pair.public_key().as_ref().to_vec(),
    }
}

fn pem(public: &[u8]) -> String {
    // RFC 8410 §4: SubjectPublicKeyInfo of an Ed25519 key.
    let mut der = vec![0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    der.extend_from_slice(public);
    format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        BASE64.encode(&der)
    )
}

fn trusted() -> TrustedKeys {
    TrustedKeys::new()
        .with_pem(ISSUER, "k1", pem(&ed25519(1).public).as_bytes())
        .unwrap()
}

fn tokens() -> AccessTokens {
    AccessTokens::new(AUDIENCE, trusted())
}

fn claims() -> Value {
    json!({"iss": ISSUER, "sub": "kiosk-4", "aud": AUDIENCE, "iat": NOW.0 - 10, "exp": NOW.0 + 600, "roles": ["channel:kiosk", "offline_access"]})
}

fn header(algorithm: Algorithm) -> Header {
    let mut header = Header::new(algorithm);
    header.kid = Some("k1".into());
    header
}

fn signed(claims: &Value) -> String {
    encode(&header(Algorithm::EdDSA), claims, &ed25519(1).key).unwrap()
}

fn with(change: impl FnOnce(&mut Value)) -> String {
    let mut claims = claims();
    change(&mut claims);
    signed(&claims)
}

fn verify(token: &str) -> Result<Arc<Caller>, AuthError> {
    tokens().verify(token, PeerKind::Remote, NOW)
}

fn refused(token: &str) -> AuthError {
    verify(token).unwrap_err()
}

#[test]
fn a_valid_token_identifies_its_caller() {
    let caller = verify(&signed(&claims())).unwrap();
    assert_eq!(caller.id.as_str(), "https://idp.example kiosk-4");
    assert!(caller.may_channel("kiosk") && !caller.card_reader && !caller.local_admin);
    assert_eq!(caller.roles.len(), 1, "foreign words grant nothing");
    verify(&with(|c| c["aud"] = json!(["other", AUDIENCE]))).unwrap();
    assert!(verify(&with(|c| c["card_reader"] = json!(true))).unwrap().card_reader);
}

#[test]
fn alg_none_is_refused_in_every_spelling() {
    for alg in ["none", "None", "NONE", "nOnE", ""] {
        let head = BASE64URL_NOPAD.encode(json!({"alg": alg, "kid": "k1", "typ": "JWT"}).to_string().as_bytes());
        let body = BASE64URL_NOPAD.encode(claims().to_string().as_bytes());
        for token in [format!("{head}.{body}."), format!("{head}.{body}.AAAA")] {
            assert_eq!(refused(&token), AuthError::WrongAlgorithm, "{alg:?}");
        }
        assert_eq!(refused(&format!("{head}.{body}")), AuthError::Malformed);
    }
}

#[test]
fn hs256_with_the_public_key_as_secret_is_refused() {
    let public = ed25519(1).public;
    for secret in [
        public.clone(),
        pem(&public).into_bytes(),
        pem(&public).trim().as_bytes().to_vec(),
    ] {
        let token = encode(&header(Algorithm::HS256), &claims(), &EncodingKey::from_secret(&secret)).unwrap();
        assert_eq!(refused(&token), AuthError::WrongAlgorithm);
    }
}

#[test]
fn another_keys_signature_and_changed_bytes_are_refused() {
    let token = encode(&header(Algorithm::EdDSA), &claims(), &ed25519(2).key).unwrap();
    assert_eq!(refused(&token), AuthError::BadSignature);
    let good = signed(&claims());
    let (signing_input, signature) = good.rsplit_once('.').unwrap();
    let head = signing_input.split('.').next().unwrap();
    let mut better = claims();
    better["roles"] = json!(["admin"]);
    let body = BASE64URL_NOPAD.encode(better.to_string().as_bytes());
    assert_eq!(refused(&format!("{head}.{body}.{signature}")), AuthError::BadSignature);
    for end in 0..good.len() {
        verify(&good[..end]).unwrap_err();
    }
}

#[test]
fn a_key_inside_the_token_is_never_used() {
    let attacker = ed25519(9);
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "kid": "k1", "x": BASE64URL_NOPAD.encode(&attacker.public)});
    for (kid, expected) in [("k1", AuthError::BadSignature), ("mine", AuthError::UnknownKey)] {
        let mut header = header(Algorithm::EdDSA);
        header.kid = Some(kid.into());
        header.jwk = Some(serde_json::from_value(jwk.clone()).unwrap());
        header.jku = Some("https://attacker.example/jwks".into());
        header.x5u = Some("https://attacker.example/x5".into());
        header.x5c = Some(vec!["AAAA".into()]);
        assert_eq!(refused(&encode(&header, &claims(), &attacker.key).unwrap()), expected);
    }
}

#[test]
fn unknown_or_missing_kid_crit_and_foreign_types_are_refused() {
    let key = ed25519(1).key;
    let sign = |change: &dyn Fn(&mut Header)| {
        let mut header = header(Algorithm::EdDSA);
        change(&mut header);
        encode(&header, &claims(), &key).unwrap()
    };
    assert_eq!(refused(&sign(&|h| h.kid = None)), AuthError::UnknownKey);
    assert_eq!(refused(&sign(&|h| h.kid = Some("K1".into()))), AuthError::UnknownKey);
    assert_eq!(
        refused(&sign(&|h| h.kid = Some("../../k1".into()))),
        AuthError::UnknownKey
    );
    assert_eq!(
        refused(&sign(&|h| h.crit = Some(vec!["exp".into()]))),
        AuthError::Malformed
    );
    assert_eq!(
        refused(&sign(&|h| h.typ = Some("citycode-person+jwt".into()))),
        AuthError::WrongType
    );
    verify(&sign(&|h| h.typ = None)).unwrap();
    verify(&sign(&|h| h.typ = Some("at+JWT".into()))).unwrap();
}

#[test]
fn issuer_and_audience_are_those_of_the_configuration() {
    assert_eq!(
        refused(&with(|c| c["iss"] = json!("https://idp.example/"))),
        AuthError::WrongIssuer
    );
    for audience in [json!("citycode2"), json!([]), json!(["other"]), json!("")] {
        assert_eq!(
            refused(&with(|c| c["aud"] = audience.clone())),
            AuthError::WrongAudience
        );
    }
    for missing in ["iss", "sub", "aud", "iat", "exp"] {
        let token = with(|c| drop(c.as_object_mut().unwrap().remove(missing)));
        assert_eq!(refused(&token), AuthError::Malformed, "{missing}");
    }
}

#[test]
fn times_are_checked_with_a_small_leeway_also_for_a_cached_token() {
    let tokens = tokens();
    let token = signed(&claims());
    let at = |seconds: i64| tokens.verify(&token, PeerKind::Remote, NOW.plus(seconds)).map(drop);
    assert_eq!(at(0), Ok(()));
    assert_eq!(at(600 + LEEWAY_SECONDS - 1), Ok(()));
    assert_eq!(at(600 + LEEWAY_SECONDS), Err(AuthError::Expired));
    assert_eq!(at(-10 - LEEWAY_SECONDS), Ok(()));
    assert_eq!(at(-11 - LEEWAY_SECONDS), Err(AuthError::NotYetValid));
    let future = |seconds: i64| with(|c| c["nbf"] = json!(NOW.0 + seconds));
    verify(&future(LEEWAY_SECONDS)).unwrap();
    assert_eq!(refused(&future(LEEWAY_SECONDS + 1)), AuthError::NotYetValid);
    assert_eq!(
        refused(&with(|c| c["iat"] = json!(NOW.0 + LEEWAY_SECONDS + 1))),
        AuthError::NotYetValid
    );
    assert_eq!(refused(&with(|c| c["exp"] = json!(NOW.0 - 10))), AuthError::Expired);
}

#[test]
fn a_token_with_too_long_a_lifetime_is_refused_and_extreme_times_do_not_overflow() {
    let lives = |iat: i64, exp: i64| with(|c| (c["iat"], c["exp"]) = (json!(iat), json!(exp)));
    verify(&lives(NOW.0, NOW.0 + MAX_LIFETIME_SECONDS)).unwrap();
    assert_eq!(
        refused(&lives(NOW.0, NOW.0 + MAX_LIFETIME_SECONDS + 1)),
        AuthError::LivesTooLong
    );
    assert_eq!(refused(&lives(i64::MIN, i64::MAX)), AuthError::LivesTooLong);
    assert_eq!(refused(&lives(i64::MAX, i64::MIN)), AuthError::LivesTooLong);
    assert_eq!(refused(&lives(i64::MAX - 5, i64::MAX)), AuthError::NotYetValid);
    assert_eq!(refused(&with(|c| c["exp"] = json!(1e300))), AuthError::Malformed);
}

#[test]
fn oversized_and_malformed_tokens_are_refused() {
    assert_eq!(
        refused(&with(|c| c["pad"] = json!("x".repeat(MAX_TOKEN_BYTES)))),
        AuthError::TooLong
    );
    assert_eq!(refused(&"x".repeat(50 << 20)), AuthError::TooLong);
    for token in ["", ".", "..", "...", "a.b.c", "核.酸.码", "e30.e30.e30", "\0.\0.\0"] {
        assert_eq!(refused(token), AuthError::Malformed, "{token:?}");
    }
    assert_eq!(refused(&with(|c| c["sub"] = json!("张三"))), AuthError::Malformed);
    assert_eq!(refused(&with(|c| c["roles"] = json!("admin"))), AuthError::Malformed);
    assert_eq!(
        refused(&with(|c| c["roles"] = json!(["verifier:sentinel"]))),
        AuthError::BadRole
    );
    assert_eq!(
        refused(&with(|c| c["roles"] = json!(vec!["x"; 65]))),
        AuthError::BadRole
    );
}

#[expect(
    clippy::disallowed_methods,
    reason = "the library makes P-256 keys from its own randomness only, and the test needs any key"
)]
fn es256() -> (Signer, Value) {
    let pkcs8 =
        EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &aws_lc_rs::rand::SystemRandom::new()).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref()).unwrap();
    let public = pair.public_key().as_ref().to_vec();
    let part = |range: std::ops::Range<usize>| BASE64URL_NOPAD.encode(&public[range]);
    let jwk = json!({"kty": "EC", "crv": "P-256", "kid": "e1", "use": "sig", "alg": "ES256", "x": part(1..33), "y": part(33..65)});
    (
        Signer {
            key: EncodingKey::from_ec_der(pkcs8.as_ref()),
            public,
        },
        jwk,
    )
}

#[test]
fn the_usable_keys_of_a_key_set_are_trusted_each_with_its_own_algorithm() {
    let (signer, ec) = es256();
    let ed = json!({"kty": "OKP", "crv": "Ed25519", "kid": "k1", "x": BASE64URL_NOPAD.encode(&ed25519(1).public)});
    let rsa = json!({"kty": "RSA", "kid": "r1", "n": "AQAB", "e": "AQAB"});
    let enc = json!({"kty": "OKP", "crv": "Ed25519", "kid": "x1", "use": "enc", "x": BASE64URL_NOPAD.encode(&ed25519(3).public)});
    let set = json!({"keys": [rsa, ec, ed, enc]}).to_string();
    let tokens = AccessTokens::new(
        AUDIENCE,
        TrustedKeys::new().with_jwks(ISSUER, "set", set.as_bytes()).unwrap(),
    );
    let sign = |alg, kid: &str, key: &EncodingKey| {
        let mut header = Header::new(alg);
        header.kid = Some(kid.into());
        let token = encode(&header, &claims(), key).unwrap();
        tokens.verify(&token, PeerKind::Remote, NOW).map(drop)
    };
    assert_eq!(signer.public.len(), 65);
    assert_eq!(sign(Algorithm::ES256, "e1", &signer.key), Ok(()));
    assert_eq!(sign(Algorithm::EdDSA, "k1", &ed25519(1).key), Ok(()));
    assert_eq!(
        sign(Algorithm::ES256, "k1", &signer.key),
        Err(AuthError::WrongAlgorithm)
    );
    assert_eq!(
        sign(Algorithm::EdDSA, "e1", &ed25519(1).key),
        Err(AuthError::WrongAlgorithm)
    );
    assert_eq!(
        sign(Algorithm::EdDSA, "x1", &ed25519(3).key),
        Err(AuthError::UnknownKey)
    );
}

#[test]
fn key_sets_with_private_keys_without_usable_keys_or_with_one_kid_twice_are_refused() {
    let load = |json: Value| {
        TrustedKeys::new()
            .with_jwks(ISSUER, "set", json.to_string().as_bytes())
            .unwrap_err()
    };
    let x = BASE64URL_NOPAD.encode(&ed25519(1).public);
    let key = json!({"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": x});
    let mut private = key.clone();
    private["d"] = json!("AAAA");
    assert!(matches!(load(json!({"keys": [private]})), KeyError::Private(_)));
    assert!(matches!(
        load(json!({"keys": [{"kty": "oct", "kid": "s", "k": "AAAA"}]})),
        KeyError::Private(_)
    ));
    assert!(matches!(load(json!({"keys": [key, key]})), KeyError::DuplicateKid(_)));
    assert!(matches!(load(json!({"keys": []})), KeyError::NoUsableKey(_)));
    assert!(matches!(
        load(json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": "AAAA"}]})),
        KeyError::NoUsableKey(_)
    ));
    assert!(matches!(load(json!([])), KeyError::NotAKeySet(_)));
    let error = TrustedKeys::new()
        .with_pem(ISSUER, "k", b"-----BEGIN PRIVATE KEY-----\nAAAA\n")
        .unwrap_err();
    assert!(matches!(error, KeyError::Private(_)));
    assert!(matches!(
        TrustedKeys::new().with_pem(ISSUER, "k", b"nonsense").unwrap_err(),
        KeyError::NotAPublicKey(_)
    ));
}

fn local() -> (LocalAuthority, AccessTokens) {
    let authority = LocalAuthority::ephemeral(&SeededEntropy::new(1));
    let keys = trusted().with_local(&authority).unwrap();
    (authority, AccessTokens::new(AUDIENCE, keys))
}

#[test]
fn the_local_admin_token_is_valid_on_this_machine_only_also_once_cached() {
    let (authority, tokens) = local();
    let token = authority.mint_local_admin(AUDIENCE, NOW).unwrap();
    let admin = tokens.verify(&token, PeerKind::Loopback, NOW).unwrap();
    assert!(admin.local_admin && admin.is_admin());
    tokens.verify(&token, PeerKind::InProcess, NOW).unwrap();
    assert_eq!(
        tokens.verify(&token, PeerKind::Remote, NOW).unwrap_err(),
        AuthError::LocalOnly
    );
}

#[test]
fn the_local_admin_is_the_same_caller_after_a_restart_and_its_old_token_is_invalid() {
    let lasting = LocalAuthority::ephemeral(&SeededEntropy::new(1));
    let start = |seed| {
        let authority = lasting.ephemeral_with_same_issuer(&SeededEntropy::new(seed));
        let tokens = AccessTokens::new(AUDIENCE, trusted().with_local(&authority).unwrap());
        (authority.mint_local_admin(AUDIENCE, NOW).unwrap(), tokens)
    };
    let ((first, before), (second, after)) = (start(2), start(3));
    let caller = before.verify(&first, PeerKind::Loopback, NOW).unwrap();
    assert_eq!(caller.id, after.verify(&second, PeerKind::Loopback, NOW).unwrap().id);
    let refused = after.verify(&first, PeerKind::Loopback, NOW).unwrap_err();
    assert_eq!(refused, AuthError::UnknownKey);
}

#[test]
fn only_this_machines_authority_can_create_a_local_admin_or_a_long_lived_token() {
    let token = with(|c| (c["local_only"], c["roles"]) = (json!(true), json!(["admin"])));
    let tokens = tokens();
    assert!(!tokens.verify(&token, PeerKind::Loopback, NOW).unwrap().local_admin);
    assert_eq!(
        tokens.verify(&token, PeerKind::Remote, NOW).unwrap_err(),
        AuthError::LocalOnly
    );

    let (authority, tokens) = local();
    let mut grant = Grant {
        subject: "gate-7",
        roles: &[Role::Officer],
        card_reader: false,
        local_only: false,
        lifetime_seconds: LOCAL_MAX_LIFETIME_SECONDS,
    };
    let token = authority.mint(&grant, AUDIENCE, NOW).unwrap();
    let caller = tokens.verify(&token, PeerKind::Remote, NOW).unwrap();
    assert!(caller.is_officer() && !caller.is_admin() && !caller.local_admin);
    for lifetime in [0, -1, i64::MAX, LOCAL_MAX_LIFETIME_SECONDS + 1] {
        grant.lifetime_seconds = lifetime;
        assert!(matches!(
            authority.mint(&grant, AUDIENCE, NOW),
            Err(LocalAuthorityError::Lifetime)
        ));
    }
}

#[test]
fn the_authoritys_key_is_private_and_is_reopened_unchanged() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let keys = dir.path().join("keys");
    let first = LocalAuthority::create_or_open(&keys, &SeededEntropy::new(1)).unwrap();
    let again = LocalAuthority::create_or_open(&keys, &SeededEntropy::new(2)).unwrap();
    assert_eq!(first.kid(), again.kid());
    let file = keys.join("access-authority.key");
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&keys), mode(&file)), (0o700, 0o600));
    assert!(!format!("{first:?}").contains("signing"));

    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let error = LocalAuthority::create_or_open(&keys, &SeededEntropy::new(1)).unwrap_err();
    assert!(
        matches!(error, LocalAuthorityError::File(FileError::TooOpen { mode: 0o644, .. })),
        "{error}"
    );
    assert!(error.to_string().contains("chmod"), "{error}");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&file, "citycode-access-authority-v1 AAAA\n").unwrap();
    assert!(matches!(
        LocalAuthority::create_or_open(&keys, &SeededEntropy::new(1)),
        Err(LocalAuthorityError::Damaged(_))
    ));
}

#[test]
fn peers_are_distinguished_and_a_forwarded_request_counts_as_remote() {
    use axum::extract::ConnectInfo;
    let kind = |address: &str| PeerKind::of(address.parse().unwrap());
    for address in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
        assert_eq!(kind(address), PeerKind::Loopback, "{address}");
    }
    for address in ["10.0.0.1", "::", "0.0.0.0", "::ffff:10.0.0.1", "fe80::1"] {
        assert_eq!(kind(address), PeerKind::Remote, "{address}");
    }
    let (mut parts, ()) = Request::new(()).into_parts();
    let of = |parts: &http::request::Parts| PeerKind::of_request(&parts.headers, &parts.extensions);
    assert_eq!(of(&parts), PeerKind::Remote, "an unknown origin counts as remote");
    parts
        .extensions
        .insert(ConnectInfo(std::net::SocketAddr::from(([127, 0, 0, 1], 5))));
    assert_eq!(of(&parts), PeerKind::Loopback);
    parts.headers.insert("x-forwarded-for", "127.0.0.1".parse().unwrap());
    assert_eq!(of(&parts), PeerKind::Remote);
}

fn layered(layer: fn(Arc<AccessTokens>, Arc<dyn Clock>) -> Authenticate) -> axum::Router {
    let layer = layer(Arc::new(tokens()), Arc::new(ManualClock::at(NOW)));
    axum::Router::new()
        .route("/who", get(|caller: Caller| async move { caller.id.to_string() }))
        .route("/open", get(|| async { "open" }))
        .layer(layer)
}

async fn ask(router: axum::Router, path: &str, headers: &[(&str, &str)]) -> (u16, http::HeaderMap, String) {
    let mut request = Request::get(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = router.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (
        parts.status.as_u16(),
        parts.headers,
        String::from_utf8(body.to_vec()).unwrap(),
    )
}

#[tokio::test]
async fn the_layer_passes_the_caller_on_or_ends_the_call_as_not_allowed() {
    let bearer = format!("Bearer {}", signed(&claims()));
    for layer in [Authenticate::required, Authenticate::optional] {
        let (status, _, body) = ask(layered(layer), "/who", &[("authorization", &bearer)]).await;
        assert_eq!((status, body.as_str()), (200, "https://idp.example kiosk-4"));
        for headers in [
            vec![],
            vec![("authorization", "Basic YTpi")],
            vec![("authorization", "Bearer")],
            vec![("authorization", "Bearer x.y.z")],
            vec![("authorization", bearer.as_str()), ("authorization", bearer.as_str())],
        ] {
            let (status, head, body) = ask(layered(layer), "/who", &headers).await;
            let json: Value = serde_json::from_str(&body).unwrap();
            assert_eq!((status, &json["code"]), (401, &json!("not_allowed")), "{headers:?}");
            assert_eq!(head["content-type"], "application/problem+json");
        }
    }
    assert_eq!(ask(layered(Authenticate::required), "/open", &[]).await.0, 401);
    assert_eq!(ask(layered(Authenticate::optional), "/open", &[]).await.0, 200);
    assert_eq!(
        ask(
            layered(Authenticate::optional),
            "/open",
            &[("authorization", "Bearer bad")]
        )
        .await
        .0,
        401
    );
}

#[tokio::test]
async fn a_refused_grpc_call_gets_a_status_that_carries_the_problem() {
    let (status, headers, _) = ask(
        layered(Authenticate::required),
        "/who",
        &[("content-type", "application/grpc")],
    )
    .await;
    assert_eq!(status, 200, "gRPC errors are in the trailers");
    let status = tonic::Status::from_header_map(&headers).unwrap();
    assert_eq!(status.code(), tonic::Code::Unauthenticated);
    assert_eq!(Problem::from(status).code(), Code::NotAllowed);
}

#[tokio::test]
async fn in_process_applies_only_without_a_socket() {
    let (authority, tokens) = local();
    let token = format!("Bearer {}", *authority.mint_local_admin(AUDIENCE, NOW).unwrap());
    let layer = Authenticate::required(Arc::new(tokens), Arc::new(ManualClock::at(NOW)));
    let inner = || axum::Router::new().route("/", get(|| async { "in" }));
    let call = async |layer: &Authenticate, address: Option<[u8; 4]>| {
        let mut request = Request::get("/")
            .header("authorization", &token)
            .body(Body::empty())
            .unwrap();
        if let Some(address) = address {
            let address = std::net::SocketAddr::from((address, 1));
            request.extensions_mut().insert(axum::extract::ConnectInfo(address));
        }
        layer.layer(inner()).oneshot(request).await.unwrap().status().as_u16()
    };
    assert_eq!(call(&layer, None).await, 401);
    assert_eq!(call(&layer, Some([127, 0, 0, 1])).await, 200);
    assert_eq!(call(&layer, Some([10, 0, 0, 1])).await, 401);
    let inside = layer.in_process();
    assert_eq!(call(&inside, None).await, 200);
    assert_eq!(call(&inside, Some([10, 0, 0, 1])).await, 401);
}
