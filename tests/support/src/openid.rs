//! A test OpenID Connect provider on loopback: authorization code flow with PKCE (OpenID Connect Core 1.0 §3.1, RFC
//! 7636). Whoever opens the authorization address with `login=NAME` is that person, without a password.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use axum::extract::{Form, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use citycode_service_kit::clock::{Clock as _, SystemClock};
use citycode_service_kit::entropy::{Draw as _, OsEntropy};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Lifetime of an ID token in seconds.
const LIFETIME_SECONDS: i64 = 120;
type Fields = BTreeMap<String, String>;

/// A provider, which runs until this is dropped.
pub struct OpenIdProvider {
    provider: Arc<Shared>,
    serving: JoinHandle<()>,
}

struct Shared {
    issuer: String,
    key: Ed25519KeyPair,
    /// The claims of each login.
    people: Mutex<BTreeMap<String, Value>>,
    /// The request and the login of each code that was not redeemed.
    codes: Mutex<BTreeMap<String, (Fields, String)>>,
}

impl OpenIdProvider {
    /// Starts a provider.
    ///
    /// # Panics
    /// If no port is available.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let issuer = format!("http://{}", listener.local_addr().expect("an address"));
        let provider = Arc::new(Shared {
            issuer,
            key: Ed25519KeyPair::from_seed_unchecked(&[3; 32]).expect("a seed"),
            people: Mutex::default(),
            codes: Mutex::default(),
        });
        let routes = Router::new()
            .route("/.well-known/openid-configuration", get(configuration))
            .route("/authorize", get(authorize))
            .route("/token", post(token))
            .route("/jwks", get(keys))
            .with_state(Arc::clone(&provider));
        let serving = tokio::spawn(async move {
            let _ = axum::serve(listener, routes).await;
        });
        Self { provider, serving }
    }

    /// Its name in `iss`, which is also its address.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.provider.issuer
    }

    /// Adds a person with these claims.
    pub fn knows(&self, login: &str, claims: Value) {
        lock(&self.provider.people).insert(login.to_owned(), claims);
    }
}

impl Drop for OpenIdProvider {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn lock<T>(shared: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn configuration(State(provider): State<Arc<Shared>>) -> Json<Value> {
    let issuer = &provider.issuer;
    Json(json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
        "jwks_uri": format!("{issuer}/jwks"),
    }))
}

async fn keys(State(provider): State<Arc<Shared>>) -> Json<Value> {
    let x = BASE64URL_NOPAD.encode(provider.key.public_key().as_ref());
    Json(json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "kid": "o1", "x": x }] }))
}

async fn authorize(State(provider): State<Arc<Shared>>, Query(asked): Query<Fields>) -> Response {
    let field = |name: &str| asked.get(name).cloned().unwrap_or_default();
    let is_valid = field("response_type") == "code"
        && field("scope").split(' ').any(|scope| scope == "openid")
        && field("code_challenge_method") == "S256"
        && !field("nonce").is_empty();
    let login = field("login");
    if !is_valid || !lock(&provider.people).contains_key(&login) {
        return StatusCode::BAD_REQUEST.into_response();
    }
    let code = BASE64URL_NOPAD.encode(&OsEntropy.array::<16>());
    let (back, state, issuer) = (field("redirect_uri"), field("state"), &provider.issuer);
    let to = format!("{back}?code={code}&state={state}&iss={issuer}");
    lock(&provider.codes).insert(code, (asked, login));
    Redirect::to(&to).into_response()
}

async fn token(State(provider): State<Arc<Shared>>, Form(sent): Form<Fields>) -> Response {
    let field = |name: &str| sent.get(name).cloned().unwrap_or_default();
    let Some((asked, login)) = lock(&provider.codes).remove(&field("code")) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let challenge = BASE64URL_NOPAD.encode(digest(&SHA256, field("code_verifier").as_bytes()).as_ref());
    let same = |name: &str| asked.get(name) == sent.get(name);
    if asked.get("code_challenge") != Some(&challenge) || !same("redirect_uri") || !same("client_id") {
        return StatusCode::BAD_REQUEST.into_response();
    }
    let now = SystemClock::new().now().0;
    let mut claims = lock(&provider.people).get(&login).cloned().unwrap_or_default();
    claims["iss"] = json!(provider.issuer);
    claims["sub"] = json!(login);
    claims["aud"] = json!(asked.get("client_id"));
    claims["nonce"] = json!(asked.get("nonce"));
    claims["iat"] = json!(now);
    claims["exp"] = json!(now + LIFETIME_SECONDS);
    let header = json!({ "alg": "EdDSA", "typ": "JWT", "kid": "o1" });
    let [header, claims] = [header, claims].map(|part| BASE64URL_NOPAD.encode(part.to_string().as_bytes()));
    let signed = format!("{header}.{claims}");
    let signature = BASE64URL_NOPAD.encode(provider.key.sign(signed.as_bytes()).as_ref());
    let answer =
        json!({ "token_type": "Bearer", "access_token": "unused", "id_token": format!("{signed}.{signature}") });
    Json(answer).into_response()
}
