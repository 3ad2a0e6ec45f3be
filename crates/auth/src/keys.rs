//! The public keys that may sign, each fixed to one issuer, one `kid` and one algorithm.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::de::DeserializeOwned;

/// Longest token that is looked at, in bytes. A caller with 30 roles stays below 2 kB.
pub const MAX_TOKEN_BYTES: usize = 4_096;

/// Most keys trusted at once: providers publish two or three.
const MAX_KEYS: usize = 64;

/// Why a key cannot be trusted.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error("cannot read the key file {path}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// It is no public key that we know.
    #[error("{0} is no Ed25519 or P-256 public key in PEM (\"BEGIN PUBLIC KEY\")")]
    NotAPublicKey(String),
    /// It is no JWKS.
    #[error("{0} is no JSON Web Key Set")]
    NotAKeySet(String),
    /// A private key lies where a public one belongs.
    #[error("{0} holds a private key; give the public one, and treat the private one as stolen")]
    Private(String),
    /// A key set without a usable key.
    #[error("{0} holds no usable key: need a kid, and Ed25519 (EdDSA) or P-256 (ES256)")]
    NoUsableKey(String),
    /// Two keys with one `kid`.
    #[error("two trusted keys have the kid {0:?}")]
    DuplicateKid(String),
    /// Too many.
    #[error("more than {MAX_KEYS} trusted keys")]
    TooMany,
}

/// One key and what it is fixed to.
#[derive(Clone)]
pub(crate) struct TrustedKey {
    pub(crate) issuer: String,
    pub(crate) algorithm: Algorithm,
    pub(crate) key: DecodingKey,
    pub(crate) power: Power,
}

/// What tokens under a key may say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Power {
    /// An identity provider's: any role, for a day at most.
    Provider,
    /// Of an authority that lives as long as this process: the local admin too, for as long as that.
    ThisStart,
    /// Of this machine's lasting authority: only tokens that it knows as issued and not revoked, and never an admin.
    Issued,
}

/// Public keys by `kid`.
#[derive(Clone, Default)]
pub struct TrustedKeys {
    by_kid: BTreeMap<String, TrustedKey>,
}

impl std::fmt::Debug for TrustedKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.by_kid.keys()).finish()
    }
}

/// What a token's envelope can be wrong in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EnvelopeError {
    TooLong,
    Malformed,
    UnknownKey,
    WrongAlgorithm,
    WrongType,
    BadSignature,
}

impl TrustedKeys {
    /// No keys: every token is refused.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts a PEM public key (Ed25519 or P-256) for tokens of `issuer` with this `kid`.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn with_pem(self, issuer: &str, kid: &str, pem: &[u8]) -> Result<Self, KeyError> {
        if String::from_utf8_lossy(pem).contains("PRIVATE KEY") {
            return Err(KeyError::Private(format!("the PEM for {kid:?}")));
        }
        let (algorithm, key) = DecodingKey::from_ed_pem(pem)
            .map(|key| (Algorithm::EdDSA, key))
            .or_else(|_| DecodingKey::from_ec_pem(pem).map(|key| (Algorithm::ES256, key)))
            .ok()
            .filter(|(algorithm, key)| fits(*algorithm, key))
            .ok_or_else(|| KeyError::NotAPublicKey(format!("the PEM for {kid:?}")))?;
        self.with(
            kid,
            TrustedKey {
                issuer: issuer.to_owned(),
                algorithm,
                key,
                power: Power::Provider,
            },
        )
    }

    /// Like [`TrustedKeys::with_pem`], from a file.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn with_pem_file(self, issuer: &str, kid: &str, path: &Path) -> Result<Self, KeyError> {
        self.with_pem(issuer, kid, &read(path)?)
    }

    /// Trusts the usable keys of a JWKS (RFC 7517) for tokens of `issuer`: those with a `kid`, for signatures,
    /// Ed25519 or P-256. Others, such as RSA keys, are skipped and named in the log.
    ///
    /// # Errors
    /// [`KeyError`], also when nothing usable is in it or a private key is.
    pub fn with_jwks(mut self, issuer: &str, name: &str, json: &[u8]) -> Result<Self, KeyError> {
        let broken = || KeyError::NotAKeySet(name.to_owned());
        let set: serde_json::Value = serde_json::from_slice(json).map_err(|_| broken())?;
        let keys = set.get("keys").and_then(|k| k.as_array()).ok_or_else(broken)?;
        let before = self.by_kid.len();
        for json in keys {
            if json.get("d").is_some() || json.get("k").is_some() {
                return Err(KeyError::Private(name.to_owned()));
            }
            let Some((kid, algorithm, key)) = usable(json) else {
                tracing::warn!(key_set = name, kid = ?json.get("kid"), "key skipped: not usable for access tokens");
                continue;
            };
            let trusted = TrustedKey {
                issuer: issuer.to_owned(),
                algorithm,
                key,
                power: Power::Provider,
            };
            self = self.with(&kid, trusted)?;
        }
        if self.by_kid.len() == before {
            return Err(KeyError::NoUsableKey(name.to_owned()));
        }
        Ok(self)
    }

    /// Like [`TrustedKeys::with_jwks`], from a file.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn with_jwks_file(self, issuer: &str, path: &Path) -> Result<Self, KeyError> {
        let json = read(path)?;
        self.with_jwks(issuer, &path.display().to_string(), &json)
    }

    /// Trusts an authority that this process made for itself ([`super::LocalAuthority::ephemeral`]), the local admin of
    /// its tokens included. They die with the process, whatever they say themselves.
    ///
    /// # Errors
    /// [`KeyError::DuplicateKid`], [`KeyError::TooMany`].
    pub fn with_local(self, authority: &super::LocalAuthority) -> Result<Self, KeyError> {
        self.with_authority(authority, Power::ThisStart)
    }

    /// Trusts the lasting authority of this machine for tokens that [`super::IssuedTokens`] knows.
    ///
    /// # Errors
    /// [`KeyError::DuplicateKid`], [`KeyError::TooMany`].
    pub fn with_issued(self, issued: &super::IssuedTokens) -> Result<Self, KeyError> {
        self.with_authority(issued.authority(), Power::Issued)
    }

    fn with_authority(self, authority: &super::LocalAuthority, power: Power) -> Result<Self, KeyError> {
        self.with(
            authority.kid(),
            TrustedKey {
                issuer: authority.issuer(),
                algorithm: Algorithm::EdDSA,
                key: DecodingKey::from_ed_der(authority.public_key()),
                power,
            },
        )
    }

    fn with(mut self, kid: &str, key: TrustedKey) -> Result<Self, KeyError> {
        if self.by_kid.len() >= MAX_KEYS {
            return Err(KeyError::TooMany);
        }
        if self.by_kid.insert(kid.to_owned(), key).is_some() {
            return Err(KeyError::DuplicateKid(kid.to_owned()));
        }
        Ok(self)
    }

    /// Checks envelope and signature of a JWT and reads its claims; says nothing of issuer, audience or times.
    pub(crate) fn open<C: DeserializeOwned>(
        &self,
        token: &str,
        types: &[&str],
        type_needed: bool,
    ) -> Result<(C, &TrustedKey), EnvelopeError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(EnvelopeError::TooLong);
        }
        if token.bytes().filter(|b| *b == b'.').count() != 2 {
            return Err(EnvelopeError::Malformed);
        }
        let header = header_of(token)?;
        let trusted = header
            .kid
            .as_deref()
            .and_then(|kid| self.by_kid.get(kid))
            .ok_or(EnvelopeError::UnknownKey)?;
        if header.alg != name_of(trusted.algorithm) {
            return Err(EnvelopeError::WrongAlgorithm);
        }
        if header.crit.is_some() {
            return Err(EnvelopeError::Malformed);
        }
        let type_fits = match header.typ.as_deref() {
            // RFC 7515 §4.1.9: media types compare without case.
            Some(typ) => types.iter().any(|t| t.eq_ignore_ascii_case(typ)),
            None => !type_needed,
        };
        if !type_fits {
            return Err(EnvelopeError::WrongType);
        }
        let mut validation = Validation::new(trusted.algorithm);
        // Times need the caller's clock and issuer and audience the key's, so `access` checks them all.
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        let opened = jsonwebtoken::decode::<C>(token, &trusted.key, &validation);
        match opened {
            Ok(data) => Ok((data.claims, trusted)),
            Err(error) => Err(match error.kind() {
                jsonwebtoken::errors::ErrorKind::InvalidSignature => EnvelopeError::BadSignature,
                _ => EnvelopeError::Malformed,
            }),
        }
    }
}

/// What we read of a header; where else keys might lie is not read at all.
#[derive(serde::Deserialize)]
struct HeaderView {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    crit: Option<serde_json::Value>,
}

fn header_of(token: &str) -> Result<HeaderView, EnvelopeError> {
    let encoded = token.split('.').next().unwrap_or_default();
    let json = data_encoding::BASE64URL_NOPAD
        .decode(encoded.as_bytes())
        .map_err(|_| EnvelopeError::Malformed)?;
    serde_json::from_slice(&json).map_err(|_| EnvelopeError::Malformed)
}

/// Names as in RFC 7518 §3.1 and RFC 8037 §3.1.
fn name_of(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::EdDSA => "EdDSA",
        Algorithm::ES256 => "ES256",
        // No other algorithm is ever put into a TrustedKey; an empty name equals no header.
        _ => "",
    }
}

fn usable(json: &serde_json::Value) -> Option<(String, Algorithm, DecodingKey)> {
    let jwk: Jwk = serde_json::from_value(json.clone()).ok()?;
    let kid = jwk.common.key_id.clone().filter(|kid| !kid.is_empty())?;
    if !matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature)) {
        return None;
    }
    let (algorithm, named) = match &jwk.algorithm {
        AlgorithmParameters::OctetKeyPair(p) if p.curve == EllipticCurve::Ed25519 => {
            (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
        }
        AlgorithmParameters::EllipticCurve(p) if p.curve == EllipticCurve::P256 => {
            (Algorithm::ES256, KeyAlgorithm::ES256)
        }
        _ => return None,
    };
    if jwk.common.key_algorithm.is_some_and(|own| own != named) {
        return None;
    }
    let key = DecodingKey::from_jwk(&jwk).ok()?;
    fits(algorithm, &key).then_some((kid, algorithm, key))
}

/// Ed25519 keys have 32 bytes; uncompressed P-256 points 65 (SEC 1 §2.3.3).
fn fits(algorithm: Algorithm, key: &DecodingKey) -> bool {
    let length = key.try_get_as_bytes().map_or(0, <[u8]>::len);
    length == if algorithm == Algorithm::EdDSA { 32 } else { 65 }
}

fn read(path: &Path) -> Result<Vec<u8>, KeyError> {
    std::fs::read(path).map_err(|source| KeyError::Read {
        path: path.to_path_buf(),
        source,
    })
}
