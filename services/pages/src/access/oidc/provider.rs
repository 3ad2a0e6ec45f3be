//! The provider: its addresses (OpenID Connect Discovery 1.0), the exchange of a code for an ID token, and the check of
//! that token against the provider's keys.

#[cfg(test)]
mod tests;

use std::time::Duration;

use aws_lc_rs::digest;
use citycode_service_kit::clock::Clock;
use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use reqwest::Url;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use crate::problem_page::NotSignedIn;

/// The provider's answers are small; a person waits for them.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The provider's addresses are asked for again after this time, so that nobody is sent to a provider that is down.
const KNOWN_FOR: Duration = Duration::from_secs(10);
/// After a failure the provider is left alone for this time: meanwhile nobody waits for [`TIMEOUT`].
const LEFT_ALONE_FOR: Duration = Duration::from_secs(2);
/// Clocks of provider and portal may differ by this many seconds.
const LEEWAY_SECONDS: u64 = 30;
/// Signatures that are accepted: no symmetric ones, and none without a key.
const ALGORITHMS: [Algorithm; 3] = [Algorithm::ES256, Algorithm::EdDSA, Algorithm::RS256];

/// How people sign in through an OpenID Connect provider.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignInSettings {
    /// The provider's issuer identifier, such as `https://id.example.org`.
    pub issuer: String,
    /// The client id that the provider gave.
    pub client_id: String,
    /// A file with the client's secret; absent for a public client.
    pub client_secret_file: Option<std::path::PathBuf>,
    /// The address of these pages as browsers see it, such as `https://code.example.org`.
    pub public_url: String,
    /// The scopes to ask for.
    #[serde(default = "scopes")]
    pub scopes: String,
    /// The claim with the resident's ID number.
    #[serde(default = "id_number_claim")]
    pub id_number_claim: String,
    /// The claim with the person's name.
    #[serde(default = "name_claim")]
    pub name_claim: String,
    /// The claim with the roles, as in access tokens: `officer`, `auditor`, `verifier:PLACES:DEVICE`.
    #[serde(default = "roles_claim")]
    pub roles_claim: String,
}

fn scopes() -> String {
    "openid profile".to_owned()
}

fn id_number_claim() -> String {
    "id_number".to_owned()
}

fn name_claim() -> String {
    "name".to_owned()
}

fn roles_claim() -> String {
    "roles".to_owned()
}

/// What the provider says of a person.
pub(crate) struct Identity {
    pub(crate) subject: String,
    pub(crate) id_number: Option<String>,
    pub(crate) name: String,
    pub(crate) roles: Vec<String>,
}

/// The addresses of a provider.
#[derive(Clone, Deserialize)]
struct Addresses {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
}

/// A configured provider.
pub(crate) struct Provider {
    settings: SignInSettings,
    secret: Option<Zeroizing<String>>,
    http: reqwest::Client,
    /// Asked for when somebody signs in, because the provider may start later than the portal.
    addresses: Mutex<Option<Asked>>,
}

/// What the provider last answered to the question for its addresses, and when that was, on the monotonic clock.
struct Asked {
    at: Duration,
    addresses: Result<Addresses, NotSignedIn>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    id_token: String,
}

impl Provider {
    /// # Errors
    /// Why the settings cannot be used.
    pub(crate) fn new(settings: SignInSettings) -> Result<Self, String> {
        let secret = settings.client_secret_file.as_ref().map(|path| {
            let text = citycode_service_kit::files::read_private(path).map_err(|error| error.to_string())?;
            let text = std::str::from_utf8(&text).map_err(|_| "the client's secret is not text".to_owned())?;
            Ok::<_, String>(Zeroizing::new(text.trim().to_owned()))
        });
        let http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none());
        Ok(Self {
            secret: secret.transpose()?,
            http: http.build().map_err(|error| error.to_string())?,
            settings,
            addresses: Mutex::default(),
        })
    }

    pub(crate) fn issuer(&self) -> &str {
        &self.settings.issuer
    }

    /// The address to which the provider sends the person back.
    fn return_address(&self) -> String {
        format!("{}/sign-in/return", self.settings.public_url.trim_end_matches('/'))
    }

    /// Where the person signs in.
    ///
    /// # Errors
    /// The provider cannot be asked for its addresses.
    pub(crate) async fn authorization(
        &self,
        state: &str,
        nonce: &str,
        verifier: &str,
        clock: &dyn Clock,
    ) -> Result<String, NotSignedIn> {
        let endpoint = self.addresses(clock).await?.authorization_endpoint;
        let mut address = Url::parse(&endpoint).map_err(|_| NotSignedIn::Refused)?;
        let challenge = digest::digest(&digest::SHA256, verifier.as_bytes());
        address
            .query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.settings.client_id)
            .append_pair("redirect_uri", &self.return_address())
            .append_pair("scope", &self.settings.scopes)
            .append_pair("state", state)
            .append_pair("nonce", nonce)
            .append_pair("code_challenge", &BASE64URL_NOPAD.encode(challenge.as_ref()))
            .append_pair("code_challenge_method", "S256");
        Ok(address.into())
    }

    /// Exchanges a code for the person's claims.
    ///
    /// # Errors
    /// The provider refuses the code, its ID token is not for this sign-in, or it does not answer.
    pub(crate) async fn redeem(
        &self,
        code: &str,
        verifier: &str,
        nonce: &str,
        clock: &dyn Clock,
    ) -> Result<Identity, NotSignedIn> {
        let addresses = self.addresses(clock).await?;
        let return_address = self.return_address();
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &return_address),
            ("client_id", &self.settings.client_id),
            ("code_verifier", verifier),
        ];
        if let Some(secret) = &self.secret {
            form.push(("client_secret", secret));
        }
        let answer = self
            .http
            .post(addresses.token_endpoint)
            .form(&form)
            .send()
            .await
            .map_err(unreachable)?;
        if !answer.status().is_success() {
            tracing::warn!(
                status = answer.status().as_u16(),
                "the identity provider refused a code"
            );
            return Err(NotSignedIn::Refused);
        }
        let tokens: TokenAnswer = answer.json().await.map_err(unreachable)?;
        let keys: JwkSet = self
            .http
            .get(addresses.jwks_uri)
            .send()
            .await
            .map_err(unreachable)?
            .json()
            .await
            .map_err(unreachable)?;
        let claims = self
            .check(&tokens.id_token, &keys, nonce, clock.now().0)
            .ok_or(NotSignedIn::Refused)?;
        let text = |name: &str| claims.get(name).and_then(Value::as_str).map(str::to_owned);
        let roles = match claims.get(&self.settings.roles_claim) {
            Some(Value::Array(roles)) => roles
                .iter()
                .filter_map(|role| role.as_str().map(str::to_owned))
                .collect(),
            Some(Value::String(roles)) => roles.split_whitespace().map(str::to_owned).collect(),
            _ => Vec::new(),
        };
        Ok(Identity {
            subject: text("sub").unwrap_or_default(),
            id_number: text(&self.settings.id_number_claim),
            name: text(&self.settings.name_claim).unwrap_or_default(),
            roles,
        })
    }

    /// The claims of an ID token (OpenID Connect Core 1.0 §3.1.3.7): signed by the provider, for this client and this
    /// sign-in, and not expired.
    fn check(&self, token: &str, keys: &JwkSet, nonce: &str, now: i64) -> Option<Map<String, Value>> {
        let header = decode_header(token).ok()?;
        let key = match &header.kid {
            Some(kid) => keys.find(kid)?,
            None if keys.keys.len() == 1 => keys.keys.first()?,
            None => return None,
        };
        if !ALGORITHMS.contains(&header.alg) {
            return None;
        }
        let mut validation = Validation::new(header.alg);
        validation.set_audience(&[&self.settings.client_id]);
        validation.set_issuer(&[&self.settings.issuer]);
        validation.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
        // The clock is the portal's, not the library's.
        validation.validate_exp = false;
        let key = DecodingKey::from_jwk(key).ok()?;
        let claims = decode::<Map<String, Value>>(token, &key, &validation).ok()?.claims;
        let expires_at = claims.get("exp")?.as_i64()?;
        let leeway = i64::try_from(LEEWAY_SECONDS).ok()?;
        let is_fresh = now < expires_at.saturating_add(leeway);
        (is_fresh && claims.get("nonce")?.as_str()? == nonce).then_some(claims)
    }

    /// The provider's addresses. One caller at a time asks; those who waited meanwhile get the same answer.
    async fn addresses(&self, clock: &dyn Clock) -> Result<Addresses, NotSignedIn> {
        let mut asked = self.addresses.lock().await;
        // The wait for the lock may have taken as long as a question to a provider that does not answer.
        let now = clock.monotonic();
        if let Some(known) = &*asked {
            let lasts = if known.addresses.is_ok() {
                KNOWN_FOR
            } else {
                LEFT_ALONE_FOR
            };
            if now.saturating_sub(known.at) < lasts {
                return known.addresses.clone();
            }
        }
        let addresses = self.discover().await;
        *asked = Some(Asked {
            // The answer's age counts from here: a failure that took five seconds is new, not five seconds old.
            at: clock.monotonic(),
            addresses: addresses.clone(),
        });
        addresses
    }

    async fn discover(&self) -> Result<Addresses, NotSignedIn> {
        let issuer = self.settings.issuer.trim_end_matches('/');
        let address = format!("{issuer}/.well-known/openid-configuration");
        let answer = self.http.get(address).send().await.map_err(unreachable)?;
        let found: Addresses = answer.json().await.map_err(unreachable)?;
        // A provider that names another issuer is not the configured one (Discovery 1.0 §4.3).
        if found.issuer != self.settings.issuer {
            tracing::error!("the identity provider names another issuer than the configured one");
            return Err(NotSignedIn::Refused);
        }
        Ok(found)
    }
}

fn unreachable(error: reqwest::Error) -> NotSignedIn {
    // The error may contain an address with a code.
    tracing::warn!(error = %error.without_url(), "the identity provider does not answer as expected");
    NotSignedIn::Unreachable
}
