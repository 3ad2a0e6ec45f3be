//! The token authority of one machine: an Ed25519 key that signs access tokens. `citycode up` has two: an ephemeral
//! one in memory, which signs the local admin's token, and one in the data folder, which signs tokens for trials
//! ([`super::IssuedTokens`]). In production an identity provider is trusted instead.

use std::path::Path;

use aws_lc_rs::digest;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;
use zeroize::Zeroizing;

use super::access::LOCAL_MAX_LIFETIME_SECONDS;
use super::assertion;
use super::caller::Role;
use citycode_service_kit::clock::UnixSeconds;
use citycode_service_kit::entropy::{Draw as _, Entropy};
use citycode_service_kit::files::{self, FileError};

/// Name of the key file inside the folder.
const FILE_NAME: &str = "access-authority.key";
/// The start of the file's only line; the rest is the seed (RFC 8032 §5.1.5, 32 bytes) as unpadded base64url.
const FILE_PREFIX: &str = "citycode-access-authority-v1 ";

/// Lifetime of an assertion of a demo, in seconds.
const ASSERTION_SECONDS: i64 = 120;

/// The local admin's subject, which no other token of this machine carries.
pub(super) const LOCAL_ADMIN: &str = "local-admin";

/// Why opening the authority or signing a token failed.
#[derive(Debug, thiserror::Error)]
pub enum LocalAuthorityError {
    /// The key file or its folder cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The key file is damaged.
    #[error("{0} is not an access authority key; remove it to have a new one created (its tokens become invalid)")]
    Damaged(String),
    /// Every verifier would refuse the requested lifetime.
    #[error("the lifetime of a token is 1 to {LOCAL_MAX_LIFETIME_SECONDS} seconds")]
    Lifetime,
    /// The library could not sign.
    #[error("the token could not be signed")]
    Sign,
}

/// The content of a token to be signed.
#[derive(Debug, Clone)]
pub struct Grant<'a> {
    /// The subject; visible ASCII, at most 128 bytes.
    pub subject: &'a str,
    /// The roles.
    pub roles: &'a [Role],
    /// Whether the caller may ask whether an ID card itself admits.
    pub card_reader: bool,
    /// Whether the token is valid on this machine only. With the role admin it identifies the local admin.
    pub local_only: bool,
    /// The lifetime, at most [`LOCAL_MAX_LIFETIME_SECONDS`].
    pub lifetime_seconds: i64,
}

impl Grant<'_> {
    /// Has an authority sign it with an id (`jti`, RFC 7519 §4.1.7).
    pub(super) fn mint_as(
        &self,
        id: &str,
        authority: &LocalAuthority,
        now: UnixSeconds,
    ) -> Result<Zeroizing<String>, LocalAuthorityError> {
        authority.sign(self, super::AUDIENCE, Some(id), now)
    }
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: String,
    sub: &'a str,
    aud: &'a str,
    iat: i64,
    exp: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    jti: Option<&'a str>,
    roles: Vec<String>,
    card_reader: bool,
    local_only: bool,
}

/// Signs access tokens.
pub struct LocalAuthority {
    signing: EncodingKey,
    public: Vec<u8>,
    kid: String,
    issuer: String,
}

impl std::fmt::Debug for LocalAuthority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalAuthority")
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

impl LocalAuthority {
    /// Opens the key in `dir`, or creates folder (0700) and key file (0600) if absent. It performs blocking file I/O.
    ///
    /// # Errors
    /// [`LocalAuthorityError::File`], also if other users may read folder or file; [`LocalAuthorityError::Damaged`].
    pub fn create_or_open(dir: &Path, entropy: &dyn Entropy) -> Result<Self, LocalAuthorityError> {
        files::create_private_dir(dir)?;
        let path = dir.join(FILE_NAME);
        if !path.exists() {
            let seed = Zeroizing::new(entropy.array::<32>());
            let line = Zeroizing::new(format!("{FILE_PREFIX}{}\n", BASE64URL_NOPAD.encode(&*seed)));
            match files::create_private(&path, line.as_bytes()) {
                // Another process created the file first; its key is read below.
                Err(FileError::Io { source, .. }) if source.kind() == std::io::ErrorKind::AlreadyExists => {}
                other => other?,
            }
        }
        let text = files::read_private(&path)?;
        let damaged = || LocalAuthorityError::Damaged(path.display().to_string());
        let seed = std::str::from_utf8(&text)
            .ok()
            .and_then(|line| line.trim_end().strip_prefix(FILE_PREFIX))
            .and_then(|encoded| BASE64URL_NOPAD.decode(encoded.as_bytes()).ok())
            .map(Zeroizing::new)
            .ok_or_else(damaged)?;
        Self::from_seed(&seed).ok_or_else(damaged)
    }

    /// An authority whose key exists only in memory, for tests and temporary stores.
    #[must_use]
    pub fn ephemeral(entropy: &dyn Entropy) -> Self {
        let seed = Zeroizing::new(entropy.array::<32>());
        Self::from_seed(&*seed).expect("any 32 bytes are an Ed25519 seed")
    }

    fn from_seed(seed: &[u8]) -> Option<Self> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).ok()?;
        let public = pair.public_key().as_ref().to_vec();
        let pkcs8 = pair.to_pkcs8().ok()?;
        let name = digest::digest(&digest::SHA256, &public);
        let kid = format!("local-{}", BASE64URL_NOPAD.encode(&name.as_ref()[..9]));
        Some(Self {
            signing: EncodingKey::from_ed_der(pkcs8.as_ref()),
            issuer: format!("urn:citycode:{kid}"),
            kid,
            public,
        })
    }

    /// An ephemeral authority with this one's issuer. Callers with its tokens keep their identity across restarts, so
    /// that a command id that was sent before a restart is recognised after it.
    #[must_use]
    pub fn ephemeral_with_same_issuer(&self, entropy: &dyn Entropy) -> Self {
        Self {
            issuer: self.issuer.clone(),
            ..Self::ephemeral(entropy)
        }
    }

    /// The authority of a city's portals for the calls of their web pages, with this seed (RFC 8032 §5.1.5).
    ///
    /// # Panics
    /// Never: any 32 bytes are an Ed25519 seed.
    #[must_use]
    pub fn of_pages(seed: &[u8; 32]) -> Self {
        Self {
            issuer: super::PAGE_ISSUER.to_owned(),
            ..Self::from_seed(seed).expect("any 32 bytes are an Ed25519 seed")
        }
    }

    /// Its `kid`: `local-` and the first 9 bytes of the public key's SHA-256.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The `iss` of its tokens.
    #[must_use]
    pub fn issuer(&self) -> String {
        self.issuer.clone()
    }

    /// Its public key, 32 bytes.
    #[must_use]
    pub fn public_key(&self) -> &[u8] {
        &self.public
    }

    /// Its public key as a JWKS (RFC 7517, RFC 8037), for services that trust it as their identity provider.
    #[must_use]
    pub fn jwks(&self) -> String {
        let key = serde_json::json!({
            "kty": "OKP",
            "crv": "Ed25519",
            "x": BASE64URL_NOPAD.encode(&self.public),
            "kid": self.kid,
            "alg": "EdDSA",
            "use": "sig",
        });
        serde_json::json!({ "keys": [key] }).to_string()
    }

    /// Signs a token for `audience`.
    ///
    /// # Errors
    /// [`LocalAuthorityError::Lifetime`], [`LocalAuthorityError::Sign`].
    pub fn mint(
        &self,
        grant: &Grant<'_>,
        audience: &str,
        now: UnixSeconds,
    ) -> Result<Zeroizing<String>, LocalAuthorityError> {
        self.sign(grant, audience, None, now)
    }

    fn sign(
        &self,
        grant: &Grant<'_>,
        audience: &str,
        id: Option<&str>,
        now: UnixSeconds,
    ) -> Result<Zeroizing<String>, LocalAuthorityError> {
        if !(1..=LOCAL_MAX_LIFETIME_SECONDS).contains(&grant.lifetime_seconds) {
            return Err(LocalAuthorityError::Lifetime);
        }
        let claims = Claims {
            iss: self.issuer(),
            sub: grant.subject,
            aud: audience,
            iat: now.0,
            exp: now.plus(grant.lifetime_seconds).0,
            jti: id,
            roles: grant.roles.iter().map(ToString::to_string).collect(),
            card_reader: grant.card_reader,
            local_only: grant.local_only,
        };
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some("at+jwt".to_owned());
        header.kid = Some(self.kid.clone());
        jsonwebtoken::encode(&header, &claims, &self.signing)
            .map(Zeroizing::new)
            .map_err(|_| LocalAuthorityError::Sign)
    }

    /// Signs an assertion that the person with this ID number was authenticated just now, valid for two minutes. Only a
    /// demo does so: in production an identity provider states it.
    ///
    /// # Errors
    /// [`LocalAuthorityError::Sign`].
    pub fn mint_assertion(
        &self,
        id_number: &str,
        method: &str,
        entropy: &dyn Entropy,
        now: UnixSeconds,
    ) -> Result<Zeroizing<String>, LocalAuthorityError> {
        let jti = BASE64URL_NOPAD.encode(&entropy.array::<16>());
        let claims = serde_json::json!({
            "iss": self.issuer(),
            "aud": super::AUDIENCE,
            "iat": now.0,
            "exp": now.plus(ASSERTION_SECONDS).0,
            "jti": jti,
            "method": method,
            "person": assertion::person_claim(&jti, id_number.as_bytes()),
        });
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some(assertion::TYPE.to_owned());
        header.kid = Some(self.kid.clone());
        jsonwebtoken::encode(&header, &claims, &self.signing)
            .map(Zeroizing::new)
            .map_err(|_| LocalAuthorityError::Sign)
    }

    /// Signs the local admin's token: every role, on this machine only, valid while the authority is trusted. An
    /// ephemeral authority is trusted only by the process that created it.
    ///
    /// # Errors
    /// [`LocalAuthorityError::Sign`].
    pub fn mint_local_admin(&self, audience: &str, now: UnixSeconds) -> Result<Zeroizing<String>, LocalAuthorityError> {
        let grant = Grant {
            subject: LOCAL_ADMIN,
            roles: &[Role::Admin],
            card_reader: true,
            local_only: true,
            lifetime_seconds: LOCAL_MAX_LIFETIME_SECONDS,
        };
        self.mint(&grant, audience, now)
    }
}
