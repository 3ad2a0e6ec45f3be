//! A test identity provider: its public keys, and assertions signed by it.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use citycode_auth::assertion::{TYPE, person_claim};
use citycode_service_kit::clock::{Clock as _, SystemClock};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

/// The name in `iss`.
pub const ISSUER: &str = "https://provider.example/";

/// A provider with one key.
pub struct Provider(Ed25519KeyPair);

impl Default for Provider {
    /// A provider whose key is the same in every test.
    fn default() -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(&[9; 32]).expect("a seed"))
    }
}

impl Provider {
    /// Its public keys in the format of `jwks_file`.
    #[must_use]
    pub fn jwks(&self) -> String {
        let x = BASE64URL_NOPAD.encode(self.0.public_key().as_ref());
        json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "kid": "p1", "x": x }] }).to_string()
    }

    /// An assertion that this person was authenticated by face just now.
    #[must_use]
    pub fn assertion(&self, jti: &str, id_number: &str) -> String {
        self.assertion_made(jti, id_number, 0)
    }

    /// An assertion that this person was authenticated `seconds_ago`; it is valid for two minutes.
    #[must_use]
    pub fn assertion_made(&self, jti: &str, id_number: &str, seconds_ago: i64) -> String {
        let made = SystemClock::new().now().0 - seconds_ago;
        self.signed(&json!({
            "iss": ISSUER, "aud": "citycode", "iat": made, "exp": made + 120, "jti": jti, "method": "face",
            "person": person_claim(jti, id_number.as_bytes()),
        }))
    }

    fn signed(&self, claims: &Value) -> String {
        let header = json!({ "alg": "EdDSA", "typ": TYPE, "kid": "p1" });
        let [header, claims] = [&header, claims].map(|part| BASE64URL_NOPAD.encode(part.to_string().as_bytes()));
        let signed = format!("{header}.{claims}");
        let signature = BASE64URL_NOPAD.encode(self.0.sign(signed.as_bytes()).as_ref());
        format!("{signed}.{signature}")
    }
}
