//! Access tokens: from text to [`Caller`].

use std::pin::Pin;
use std::sync::Arc;

use aws_lc_rs::digest;
use parking_lot::RwLock;
use serde::Deserialize;

use super::caller::{Caller, CallerId, Role};
use super::issued::{IssuedTokens, TokenId};
use super::keys::{EnvelopeError, KeyError, Power, TrustedKeys};
use citycode_service_kit::bounded::Generations;
use citycode_service_kit::clock::UnixSeconds;
use citycode_service_kit::peer::PeerKind;
use citycode_service_kit::problem::Problem;

/// How far the issuer's clock and ours may differ.
pub const LEEWAY_SECONDS: i64 = 10;

/// Longest life of an identity provider's token: a day, since we cannot take one back before its expiry.
pub const MAX_LIFETIME_SECONDS: i64 = 86_400;

/// Longest life of a token of an authority that lives as long as one process: ten years, longer than any process.
pub const LOCAL_MAX_LIFETIME_SECONDS: i64 = 3_650 * 86_400;

/// Roles that one token may carry.
const MAX_ROLES: usize = 64;

/// Verified tokens remembered: more than the devices of a large site, at some 300 bytes each.
const REMEMBERED_TOKENS: usize = 8_192;

/// Why a token is refused. None of the texts repeats anything of the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// No token, or not as `Bearer`.
    #[error("there is no access token")]
    Missing,
    /// Longer than [`super::MAX_TOKEN_BYTES`].
    #[error("the access token is too long")]
    TooLong,
    /// Not a JWT, or claims of a wrong shape.
    #[error("the access token is malformed")]
    Malformed,
    /// No `kid`, or one that is not trusted.
    #[error("the access token is signed by a key that is not trusted here")]
    UnknownKey,
    /// `alg` is not the key's.
    #[error("the access token names another algorithm than its key has")]
    WrongAlgorithm,
    /// `typ` is of another kind of token.
    #[error("this is another kind of token than an access token")]
    WrongType,
    /// The signature is wrong.
    #[error("the signature of the access token is wrong")]
    BadSignature,
    /// `iss` is not the one that this key is trusted for.
    #[error("the access token is of another issuer")]
    WrongIssuer,
    /// `aud` does not name us.
    #[error("the access token is for another audience")]
    WrongAudience,
    /// `exp` has passed.
    #[error("the access token has expired")]
    Expired,
    /// `nbf` or `iat` is still to come.
    #[error("the access token is not valid yet")]
    NotYetValid,
    /// It lives longer than allowed.
    #[error("the access token lives longer than allowed here")]
    LivesTooLong,
    /// A role is badly written or there are too many.
    #[error("a role in the access token is badly written")]
    BadRole,
    /// This machine's lasting authority does not know it, or has revoked it.
    #[error("the access token was revoked, or is not known as issued by this machine")]
    Revoked,
    /// A token for this machine only, from elsewhere.
    #[error("this access token works on the machine itself only")]
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

/// What of a verified token is worth remembering. Its times and place are checked again on every call.
#[derive(Debug, Clone)]
struct Verified {
    caller: Arc<Caller>,
    not_before: i64,
    expires_at: i64,
    local_only: bool,
}

/// Verifies access tokens. Share it in an `Arc`; callable from any thread.
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

    /// Takes tokens of this machine's lasting authority too, as long as it has not revoked them.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn with_issued(mut self, issued: Arc<IssuedTokens>) -> Result<Self, KeyError> {
        self.keys = self.keys.with_issued(&issued)?;
        self.issued = Some(issued);
        Ok(self)
    }

    /// The caller whom this token names, if it holds now and for this peer.
    ///
    /// # Errors
    /// [`AuthError`]; nothing of the token may be used then.
    pub fn verify(&self, token: &str, peer: PeerKind, now: UnixSeconds) -> Result<Arc<Caller>, AuthError> {
        if token.len() > super::MAX_TOKEN_BYTES {
            return Err(AuthError::TooLong);
        }
        let digest = digest_of(token);
        let remembered = self.seen.read().peek(&digest).cloned();
        let verified = match remembered {
            Some(verified) => verified,
            None => self.verify_new(token)?,
        };
        verified.holds(peer, now)?;
        if let Some(id) = verified.caller.issued_token
            && !self.issued.as_ref().is_some_and(|issued| issued.is_living(id))
        {
            return Err(AuthError::Revoked);
        }
        // Moves it among the young as well, so that what is in use is not forgotten.
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

    /// Completes once the caller's token is revoked; `None` for one that cannot be.
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

    fn verify_new(&self, token: &str) -> Result<Verified, AuthError> {
        // RFC 9068 §2.1 types access tokens "at+jwt"; many providers still write "JWT" or nothing.
        let types = ["JWT", "at+jwt", "application/at+jwt"];
        let (claims, key) = self.keys.open::<Claims>(token, &types, false)?;
        if claims.iss != key.issuer {
            return Err(AuthError::WrongIssuer);
        }
        if !claims.aud.names(&self.audience) {
            return Err(AuthError::WrongAudience);
        }
        let most = match key.power {
            Power::ThisStart => LOCAL_MAX_LIFETIME_SECONDS,
            Power::Provider | Power::Issued => MAX_LIFETIME_SECONDS,
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
        let local_admin = key.power == Power::ThisStart && claims.local_only && roles.contains(&Role::Admin);
        let issued_token = match key.power {
            Power::Issued if roles.contains(&Role::Admin) => return Err(AuthError::BadRole),
            Power::Issued => {
                let id = claims.jti.as_deref().and_then(TokenId::parse);
                Some(id.ok_or(AuthError::Revoked)?)
            }
            Power::Provider | Power::ThisStart => None,
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
    fn holds(&self, peer: PeerKind, now: UnixSeconds) -> Result<(), AuthError> {
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
