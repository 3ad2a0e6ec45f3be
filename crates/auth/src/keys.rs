//! The trusted public keys, each bound to one issuer, one `kid` and one algorithm.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::de::DeserializeOwned;

use super::page_tokens::{PAGE_ISSUER, PageRoles};

/// Longest accepted token, in bytes. A caller with 30 roles stays below 2 kB.
pub const MAX_TOKEN_BYTES: usize = 4_096;

/// Maximum number of trusted keys; providers publish two or three.
const MAX_KEYS: usize = 64;

/// Why a key cannot be trusted.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error("cannot read the key file {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The file is not a supported public key.
    #[error("{0} is not an Ed25519 or P-256 public key in PEM (\"BEGIN PUBLIC KEY\")")]
    NotAPublicKey(String),
    /// The file is not a JWKS.
    #[error("{0} is not a JSON Web Key Set")]
    NotAKeySet(String),
    /// The file contains a private key instead of a public one.
    #[error("{0} contains a private key; give the public one, and treat the private one as stolen")]
    Private(String),
    /// The key set has no usable key.
    #[error("{0} contains no usable key: need a kid, and Ed25519 (EdDSA) or P-256 (ES256)")]
    NoUsableKey(String),
    /// Two keys with one `kid`.
    #[error("two trusted keys have the kid {0:?}")]
    DuplicateKid(String),
    /// There are too many keys.
    #[error("more than {MAX_KEYS} trusted keys")]
    TooMany,
}

/// One key with its issuer and algorithm.
#[derive(Clone)]
pub(crate) struct TrustedKey {
    pub(crate) issuer: String,
    pub(crate) algorithm: Algorithm,
    pub(crate) key: DecodingKey,
    pub(crate) kind: KeyKind,
}

/// What tokens under a key may contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyKind {
    /// A key of an identity provider: any role, for a day at most.
    Provider,
    /// The key of this process's ephemeral authority: also the local admin, with any lifetime.
    Ephemeral,
    /// The key of this machine's persistent authority: only tokens in its list that are not revoked, and never an
    /// admin.
    Issued,
    /// The key with which portals sign for their web pages: one of these roles, for some minutes.
    Pages(PageRoles),
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

/// The errors of a token's envelope.
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
                kind: KeyKind::Provider,
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
    /// [`KeyError`], also if the set contains no usable key, or a private one.
    pub fn with_jwks(self, issuer: &str, name: &str, json: &[u8]) -> Result<Self, KeyError> {
        self.with_key_set(issuer, name, json, KeyKind::Provider)
    }

    fn with_key_set(mut self, issuer: &str, name: &str, json: &[u8], kind: KeyKind) -> Result<Self, KeyError> {
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
                kind,
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

    /// Trusts the keys in a file (JWKS) with which portals sign for their web pages, for these roles.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn with_page_tokens(self, path: &Path, roles: PageRoles) -> Result<Self, KeyError> {
        let json = read(path)?;
        self.with_key_set(PAGE_ISSUER, &path.display().to_string(), &json, KeyKind::Pages(roles))
    }

    /// Trusts this process's ephemeral authority ([`super::LocalAuthority::ephemeral`]), including its local admin. Its
    /// tokens become invalid when the process ends, whatever their `exp`.
    ///
    /// # Errors
    /// [`KeyError::DuplicateKid`], [`KeyError::TooMany`].
    pub fn with_local(self, authority: &super::LocalAuthority) -> Result<Self, KeyError> {
        self.with_authority(authority, KeyKind::Ephemeral)
    }

    /// Trusts the persistent authority of this machine for the tokens in [`super::IssuedTokens`].
    ///
    /// # Errors
    /// [`KeyError::DuplicateKid`], [`KeyError::TooMany`].
    pub fn with_issued(self, issued: &super::IssuedTokens) -> Result<Self, KeyError> {
        self.with_authority(issued.authority(), KeyKind::Issued)
    }

    fn with_authority(self, authority: &super::LocalAuthority, kind: KeyKind) -> Result<Self, KeyError> {
        self.with(
            authority.kid(),
            TrustedKey {
                issuer: authority.issuer(),
                algorithm: Algorithm::EdDSA,
                key: DecodingKey::from_ed_der(authority.public_key()),
                kind,
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

    /// Checks envelope and signature of a JWT and reads its claims. It does not check issuer, audience and times.
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
            // RFC 7515 §4.1.9: media types are compared without regard to case.
            Some(typ) => types.iter().any(|t| t.eq_ignore_ascii_case(typ)),
            None => !type_needed,
        };
        if !type_fits {
            return Err(EnvelopeError::WrongType);
        }
        let mut validation = Validation::new(trusted.algorithm);
        // `access` and `assertion` check times, issuer and audience, because those need the clock and the key's issuer.
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

/// The fields of a header that are read. Fields that may contain keys are not.
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
        // A TrustedKey has no other algorithm; the empty name equals no header.
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
