//! Access tokens that this machine's persistent authority has issued, for trials without an identity provider.
//!
//! ```text
//! keys/access-authority.key      signs them
//! issued-tokens.json   0600      { "version": 1, "tokens": [ { "id", "subject", "roles", "card_reader",
//!                                  "issued_at", "expires_at", "revoked_at"? } ] }   times in seconds since 1970
//! ```
//! The file does not contain the tokens. A token is valid only while its id is in the file and not revoked, so losing
//! the file removes rights and grants none. The file is durable before an answer: after a crash, issued tokens are
//! valid and revoked ones are not. No token is an admin's, and none is valid longer than [`MAX_LIFETIME_SECONDS`].

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use data_encoding::HEXLOWER;
use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::access::{LEEWAY_SECONDS, MAX_LIFETIME_SECONDS};
use super::caller::{CallerId, Role};
use super::local::{Grant, LOCAL_ADMIN, LocalAuthority, LocalAuthorityError};
use citycode_service_kit::clock::UnixSeconds;
use citycode_service_kit::entropy::{Draw as _, Entropy};
use citycode_service_kit::files::{self, FileError, PRIVATE_FILE_MODE};

const VERSION: u32 = 1;
/// Maximum number of unexpired tokens: a trial has some gates and desks, a city has an identity provider.
const MAX_TOKENS: usize = 1_000;
/// Roles of one token.
const MAX_ROLES: usize = 16;
/// Random bytes of an id.
const ID_BYTES: usize = 8;

/// Identifies one issued token: 16 hex digits. It is not secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId([u8; ID_BYTES]);

impl TokenId {
    /// Reads 16 hex digits, as [`fmt::Display`] writes them.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = HEXLOWER.decode(text.as_bytes()).ok()?;
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

/// The record of one issued token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuedToken {
    /// Its [`TokenId`].
    pub id: String,
    /// The subject.
    pub subject: String,
    /// The roles, as in the claim.
    pub roles: Vec<String>,
    /// Whether the caller may ask whether an ID card itself admits.
    pub card_reader: bool,
    /// Seconds since 1970.
    pub issued_at: i64,
    /// Seconds since 1970.
    pub expires_at: i64,
    /// Seconds since 1970, if it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<i64>,
}

impl IssuedToken {
    /// Whether it has expired, including the leeway.
    fn is_over(&self, now: UnixSeconds) -> bool {
        now.0 >= self.expires_at.saturating_add(LEEWAY_SECONDS)
    }
}

/// A request for a token.
#[derive(Debug, Clone)]
pub struct TokenRequest {
    /// The subject; a new one is created if it is absent.
    pub subject: Option<String>,
    /// The roles, as in the claim.
    pub roles: Vec<String>,
    /// Whether the caller may ask whether an ID card itself admits.
    pub card_reader: bool,
    /// The lifetime.
    pub lifetime_seconds: i64,
}

/// Why issuing or revoking a token failed.
#[derive(Debug, thiserror::Error)]
pub enum IssuedError {
    /// The file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The authority failed.
    #[error(transparent)]
    Authority(#[from] LocalAuthorityError),
    /// The file is damaged.
    #[error("{0} is not a list of issued tokens; remove it, and issue new tokens (the old ones become invalid)")]
    Damaged(String),
    /// A word is not a role.
    #[error(
        "{0:?} is not a role; see channel:NAME, officer, health_authority, verifier:PLACE[,PLACE]:DEVICE, auditor, privacy"
    )]
    Role(String),
    /// There is no role, or there are too many.
    #[error("a token has 1 to {MAX_ROLES} roles")]
    RoleCount,
    /// The role admin was requested.
    #[error("an issued token is never an admin's: the admin is the user who runs the server, on its machine")]
    Admin,
    /// The lifetime is out of range.
    #[error("the lifetime of a token is 1 second to 24 hours")]
    Lifetime,
    /// The subject is invalid.
    #[error("a subject is 1 to 128 visible ASCII characters without a space, and not local-admin")]
    Subject,
    /// There are too many tokens.
    #[error("{MAX_TOKENS} tokens have not expired; wait until some have")]
    TooMany,
}

/// The issued tokens. Share it in an `Arc`; it may be used from any thread. Issuing and revoking perform blocking file
/// I/O.
pub struct IssuedTokens {
    authority: LocalAuthority,
    file: PathBuf,
    known: Mutex<Vec<IssuedToken>>,
    /// Tokens that were issued and not revoked; their times are checked at verification.
    active: RwLock<BTreeSet<TokenId>>,
    revocations: watch::Sender<u64>,
}

impl fmt::Debug for IssuedTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuedTokens")
            .field("authority", &self.authority)
            .finish_non_exhaustive()
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    version: u32,
    tokens: Vec<IssuedToken>,
}

impl IssuedTokens {
    /// Opens the list of this authority's tokens; it is empty if the file does not exist.
    ///
    /// # Errors
    /// [`IssuedError::Damaged`], [`IssuedError::File`].
    pub fn open(authority: LocalAuthority, file: PathBuf) -> Result<Self, IssuedError> {
        let known = if file.exists() {
            let bytes = files::read_private(&file)?;
            let stored: Option<Stored> = serde_json::from_slice(&bytes).ok();
            let stored = stored.filter(|stored| stored.version == VERSION);
            stored
                .ok_or_else(|| IssuedError::Damaged(file.display().to_string()))?
                .tokens
        } else {
            Vec::new()
        };
        let active = RwLock::new(active(&known));
        Ok(Self {
            authority,
            file,
            known: Mutex::new(known),
            active,
            revocations: watch::Sender::new(0),
        })
    }

    pub(crate) fn authority(&self) -> &LocalAuthority {
        &self.authority
    }

    /// Issues a token. Its record is durable before this returns.
    ///
    /// # Errors
    /// [`IssuedError`]; nothing was issued then.
    pub fn issue(
        &self,
        request: &TokenRequest,
        entropy: &dyn Entropy,
        now: UnixSeconds,
    ) -> Result<(IssuedToken, Zeroizing<String>), IssuedError> {
        let id = TokenId(entropy.array());
        let roles = roles(&request.roles)?;
        if !(1..=MAX_LIFETIME_SECONDS).contains(&request.lifetime_seconds) {
            return Err(IssuedError::Lifetime);
        }
        let subject = request.subject.clone().unwrap_or_else(|| format!("trial-{id}"));
        let caller = CallerId::new(&self.authority.issuer(), &subject);
        // The local admin is a caller of the same issuer.
        caller.filter(|_| subject != LOCAL_ADMIN).ok_or(IssuedError::Subject)?;
        let grant = Grant {
            subject: &subject,
            roles: &roles,
            card_reader: request.card_reader,
            local_only: false,
            lifetime_seconds: request.lifetime_seconds,
        };
        let token = grant.mint_as(&id.to_string(), &self.authority, now)?;
        let issued = IssuedToken {
            id: id.to_string(),
            roles: roles.iter().map(ToString::to_string).collect(),
            card_reader: request.card_reader,
            issued_at: now.0,
            expires_at: now.plus(request.lifetime_seconds).0,
            revoked_at: None,
            subject,
        };
        let mut known = self.known.lock();
        let mut next: Vec<IssuedToken> = known.iter().filter(|token| !token.is_over(now)).cloned().collect();
        if next.len() >= MAX_TOKENS {
            return Err(IssuedError::TooMany);
        }
        next.push(issued.clone());
        self.store(&mut known, next)?;
        Ok((issued, token))
    }

    /// The tokens that have not expired, the oldest first.
    #[must_use]
    pub fn list(&self, now: UnixSeconds) -> Vec<IssuedToken> {
        let known = self.known.lock();
        known.iter().filter(|token| !token.is_over(now)).cloned().collect()
    }

    /// Revokes a token, durably before this returns; repeating it changes nothing. `None` if it is unknown or expired.
    ///
    /// # Errors
    /// [`IssuedError::File`]; the token is not revoked now then, but may be after a restart.
    pub fn revoke(&self, id: TokenId, now: UnixSeconds) -> Result<Option<IssuedToken>, IssuedError> {
        let mut known = self.known.lock();
        let mut next = known.clone();
        let name = id.to_string();
        let Some(token) = next.iter_mut().find(|token| token.id == name && !token.is_over(now)) else {
            return Ok(None);
        };
        token.revoked_at.get_or_insert(now.0);
        let token = token.clone();
        self.store(&mut known, next)?;
        self.revocations.send_modify(|count| *count = count.wrapping_add(1));
        Ok(Some(token))
    }

    /// Whether it was issued here and not revoked.
    pub(crate) fn is_active(&self, id: TokenId) -> bool {
        self.active.read().contains(&id)
    }

    /// Completes when it is revoked.
    pub(crate) async fn until_revoked(&self, id: TokenId) {
        let mut revocations = self.revocations.subscribe();
        while self.is_active(id) {
            // `self` owns the sender, so this cannot fail.
            let _ = revocations.changed().await;
        }
    }

    fn store(&self, known: &mut Vec<IssuedToken>, next: Vec<IssuedToken>) -> Result<(), IssuedError> {
        let stored = Stored {
            version: VERSION,
            tokens: next,
        };
        let bytes = serde_json::to_vec_pretty(&stored).expect("texts and numbers are JSON");
        files::write_atomic(&self.file, &bytes, PRIVATE_FILE_MODE)?;
        *self.active.write() = active(&stored.tokens);
        *known = stored.tokens;
        Ok(())
    }
}

fn active(known: &[IssuedToken]) -> BTreeSet<TokenId> {
    let active = known.iter().filter(|token| token.revoked_at.is_none());
    active.filter_map(|token| TokenId::parse(&token.id)).collect()
}

/// Parses the roles. Unknown words are errors here, although they are ignored in an identity provider's token; so is
/// admin.
fn roles(texts: &[String]) -> Result<Vec<Role>, IssuedError> {
    if texts.is_empty() || texts.len() > MAX_ROLES {
        return Err(IssuedError::RoleCount);
    }
    let role = |text: &String| match Role::parse(text) {
        Ok(Some(Role::Admin)) => Err(IssuedError::Admin),
        Ok(Some(role)) => Ok(role),
        Ok(None) | Err(_) => Err(IssuedError::Role(text.chars().take(64).collect())),
    };
    texts.iter().map(role).collect()
}

#[cfg(test)]
mod tests;
