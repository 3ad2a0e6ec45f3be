//! Verifies access tokens and returns the [`Caller`].

use std::pin::Pin;
use std::sync::Arc;

use aws_lc_rs::digest;
use parking_lot::RwLock;
use serde::Deserialize;

use super::caller::{Caller, CallerId, Role};
use super::issued::{IssuedTokens, TokenId};
use super::keys::{EnvelopeError, KeyError, KeyKind, TrustedKeys};
use super::page_tokens::PAGE_TOKEN_SECONDS;
use citycode_service_kit::bounded::Generations;
use citycode_service_kit::clock::UnixSeconds;
use citycode_service_kit::peer::PeerKind;
use citycode_service_kit::problem::Problem;

/// How far the issuer's clock and this machine's may differ.
pub const LEEWAY_SECONDS: i64 = 10;

/// Longest lifetime of an identity provider's token: a day, because it cannot be revoked before its expiry.
pub const MAX_LIFETIME_SECONDS: i64 = 86_400;

/// Longest lifetime of a token of an ephemeral authority: ten years, longer than any process runs.
pub const LOCAL_MAX_LIFETIME_SECONDS: i64 = 3_650 * 86_400;

/// Roles that one token may carry.
const MAX_ROLES: usize = 64;

/// Maximum number of cached verified tokens: more than a large site has devices, at some 300 bytes each.
const REMEMBERED_TOKENS: usize = 8_192;

/// Why a token is refused. No text repeats anything of the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// There is no token, or it is not sent as `Bearer`.
    #[error("there is no access token")]
    Missing,
    /// It is longer than [`super::MAX_TOKEN_BYTES`].
    #[error("the access token is too long")]
    TooLong,
    /// It is not a JWT, or its claims are malformed.
    #[error("the access token is malformed")]
    Malformed,
    /// It has no `kid`, or one that is not trusted.
    #[error("the access token is signed by a key that is not trusted here")]
    UnknownKey,
    /// `alg` is not the key's.
    #[error("the access token has another algorithm than its key")]
    WrongAlgorithm,
    /// `typ` is that of another kind of token.
    #[error("this is not an access token but another kind of token")]
    WrongType,
    /// The signature is invalid.
    #[error("the signature of the access token is invalid")]
    BadSignature,
    /// `iss` is not the issuer for which this key is trusted.
    #[error("the access token is of another issuer")]
    WrongIssuer,
    /// `aud` does not contain this system's audience.
    #[error("the access token is for another audience")]
    WrongAudience,
    /// `exp` has passed.
    #[error("the access token has expired")]
    Expired,
    /// `nbf` or `iat` is in the future.
    #[error("the access token is not valid yet")]
    NotYetValid,
    /// Its lifetime is longer than allowed.
    #[error("the lifetime of the access token is longer than allowed")]
    LivesTooLong,
    /// A role is malformed, or there are too many.
    #[error("a role in the access token is malformed")]
    BadRole,
    /// It is not in the list of this machine's persistent authority, or was revoked there.
    #[error("the access token was revoked, or was not issued by this machine")]
    Revoked,
    /// It is signed by portals for their pages, and claims more than pages may.
    #[error("the access token claims more than one that portals sign for their pages")]
    NotForPages,
    /// It is valid on its own machine only, and the call came from another.
    #[error("this access token is valid on the machine itself only")]
    LocalOnly,
}

impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Self {
        Self::unauthenticated(error.to_string())
    }
}

impl From<EnvelopeError> for AuthError {
    fn from(error: EnvelopeError) -> Self {
        match error {
            EnvelopeError::TooLong => Self::TooLong,
            EnvelopeError::Malformed => Self::Malformed,
            EnvelopeError::UnknownKey => Self::UnknownKey,
            EnvelopeError::WrongAlgorithm => Self::WrongAlgorithm,
            EnvelopeError::WrongType => Self::WrongType,
            EnvelopeError::BadSignature => Self::BadSignature,
        }
    }
}

/// `aud` is one string or a list of them (RFC 7519 §4.1.3).
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Audience {
    pub(crate) fn names(&self, wanted: &str) -> bool {
        match self {
            Self::One(one) => one == wanted,
            Self::Many(many) => many.iter().any(|one| one == wanted),
        }
    }
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Audience,
    iat: i64,
    exp: i64,
    nbf: Option<i64>,
    jti: Option<String>,
    #[serde(default)]
    roles: Vec<String>,
    #[serde(default)]
    card_reader: bool,
    #[serde(default)]
    local_only: bool,
}

/// The cached part of a verified token. Its times and the peer are checked again on every call.
#[derive(Debug, Clone)]
struct Verified {
    caller: Arc<Caller>,
    not_before: i64,
    expires_at: i64,
    local_only: bool,
}

/// Verifies access tokens. Share it in an `Arc`; it may be used from any thread.
#[derive(Debug)]
pub struct AccessTokens {
    audience: String,
    keys: TrustedKeys,
    issued: Option<Arc<IssuedTokens>>,
    seen: RwLock<Generations<[u8; 32], Verified>>,
}

impl AccessTokens {
    /// Accepts tokens for `audience` ([`super::AUDIENCE`] by default) under these keys.
    #[must_use]
    pub fn new(audience: &str, keys: TrustedKeys) -> Self {
        Self {
            audience: audience.to_owned(),
            keys,
            issued: None,
            seen: RwLock::new(Generations::with_capacity(REMEMBERED_TOKENS)),
        }
    }

    /// Also accepts tokens of this machine's persistent authority, as long as they are not revoked.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn with_issued(mut self, issued: Arc<IssuedTokens>) -> Result<Self, KeyError> {
        self.keys = self.keys.with_issued(&issued)?;
        self.issued = Some(issued);
        Ok(self)
    }

    /// The caller that this token identifies, if it is valid now and for this peer.
    ///
    /// # Errors
    /// [`AuthError`].
    pub fn verify(&self, token: &str, peer: PeerKind, now: UnixSeconds) -> Result<Arc<Caller>, AuthError> {
        if token.len() > super::MAX_TOKEN_BYTES {
            return Err(AuthError::TooLong);
        }
        let digest = digest_of(token);
        let cached = self.seen.read().peek(&digest).cloned();
        let verified = match cached {
            Some(verified) => verified,
            None => self.verify_uncached(token)?,
        };
        verified.check_validity(peer, now)?;
        if let Some(id) = verified.caller.issued_token
            && !self.issued.as_ref().is_some_and(|issued| issued.is_active(id))
        {
            return Err(AuthError::Revoked);
        }
        // This also moves it to the young generation, so that a token in use is not evicted.
        self.remember(digest, &verified);
        Ok(verified.caller)
    }

    /// The same from an `authorization` header's value (RFC 6750 §2.1).
    ///
    /// # Errors
    /// As [`AccessTokens::verify`]; [`AuthError::Missing`] for another scheme.
    pub fn verify_bearer(&self, header: &str, peer: PeerKind, now: UnixSeconds) -> Result<Arc<Caller>, AuthError> {
        let (scheme, token) = header.trim().split_once(' ').ok_or(AuthError::Missing)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(AuthError::Missing);
        }
        self.verify(token.trim_start(), peer, now)
    }

    /// A future that completes when the caller's token is revoked; `None` for a token that cannot be revoked.
    pub(crate) fn revocation(&self, caller: &Caller) -> Option<Pin<Box<dyn Future<Output = ()> + Send>>> {
        let id = caller.issued_token?;
        let issued = Arc::clone(self.issued.as_ref()?);
        Some(Box::pin(async move { issued.until_revoked(id).await }))
    }

    fn remember(&self, digest: [u8; 32], verified: &Verified) {
        if !self.seen.read().is_young(&digest) {
            self.seen.write().touch(&digest, || verified.clone());
        }
    }

    fn verify_uncached(&self, token: &str) -> Result<Verified, AuthError> {
        // RFC 9068 §2.1 defines the type "at+jwt"; many providers still write "JWT" or nothing.
        let types = ["JWT", "at+jwt", "application/at+jwt"];
        let (claims, key) = self.keys.open::<Claims>(token, &types, false)?;
        if claims.iss != key.issuer {
            return Err(AuthError::WrongIssuer);
        }
        if !claims.aud.names(&self.audience) {
            return Err(AuthError::WrongAudience);
        }
        let most = match key.kind {
            KeyKind::Ephemeral => LOCAL_MAX_LIFETIME_SECONDS,
            KeyKind::Provider | KeyKind::Issued => MAX_LIFETIME_SECONDS,
            KeyKind::Pages(_) => PAGE_TOKEN_SECONDS,
        };
        match claims.exp.checked_sub(claims.iat) {
            Some(lifetime) if lifetime <= 0 => return Err(AuthError::Expired),
            Some(lifetime) if lifetime <= most => {}
            _ => return Err(AuthError::LivesTooLong),
        }
        if claims.roles.len() > MAX_ROLES {
            return Err(AuthError::BadRole);
        }
        let mut roles = Vec::with_capacity(claims.roles.len());
        for text in &claims.roles {
            roles.extend(Role::parse(text).map_err(|_| AuthError::BadRole)?);
        }
        let local_admin = key.kind == KeyKind::Ephemeral && claims.local_only && roles.contains(&Role::Admin);
        let issued_token = match key.kind {
            KeyKind::Issued if roles.contains(&Role::Admin) => return Err(AuthError::BadRole),
            KeyKind::Issued => {
                let id = claims.jti.as_deref().and_then(TokenId::parse);
                Some(id.ok_or(AuthError::Revoked)?)
            }
            KeyKind::Pages(allowed) if !allowed.accept(&claims.sub, &roles, claims.card_reader) => {
                return Err(AuthError::NotForPages);
            }
            KeyKind::Provider | KeyKind::Ephemeral | KeyKind::Pages(_) => None,
        };
        Ok(Verified {
            caller: Arc::new(Caller {
                id: CallerId::new(&claims.iss, &claims.sub).ok_or(AuthError::Malformed)?,
                roles,
                card_reader: claims.card_reader,
                local_admin,
                issued_token,
                valid_until: Some(UnixSeconds(claims.exp.saturating_add(LEEWAY_SECONDS))),
            }),
            not_before: claims.iat.max(claims.nbf.unwrap_or(i64::MIN)),
            expires_at: claims.exp,
            local_only: claims.local_only,
        })
    }
}

impl Verified {
    fn check_validity(&self, peer: PeerKind, now: UnixSeconds) -> Result<(), AuthError> {
        if self.local_only && !peer.is_local() {
            return Err(AuthError::LocalOnly);
        }
        if now.0 >= self.expires_at.saturating_add(LEEWAY_SECONDS) {
            return Err(AuthError::Expired);
        }
        if now.0 < self.not_before.saturating_sub(LEEWAY_SECONDS) {
            return Err(AuthError::NotYetValid);
        }
        Ok(())
    }
}

fn digest_of(token: &str) -> [u8; 32] {
    digest::digest(&digest::SHA256, token.as_bytes())
        .as_ref()
        .try_into()
        .expect("SHA-256 has 32 bytes")
}
