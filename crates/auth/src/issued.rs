//! Access tokens that this machine's lasting authority has issued, for trials without an identity provider.
//!
//! ```text
//! keys/access-authority.key      signs them
//! issued-tokens.json   0600      { "version": 1, "tokens": [ { "id", "subject", "roles", "card_reader",
//!                                  "issued_at", "expires_at", "revoked_at"? } ] }   times in seconds since 1970
//! ```
//! The file holds no token. A token counts only while the file knows it: what is not in it, or is revoked in it, is
//! refused, so that a lost file takes rights away and gives none. It is durable before an answer: a token works after a
//! crash, and a revocation counts after one. None is an admin's, and none lives longer than [`MAX_LIFETIME_SECONDS`].

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
/// Tokens known at once, expired ones not counted: a trial has gates and desks, a city has an identity provider.
const MAX_TOKENS: usize = 1_000;
/// Roles of one token.
const MAX_ROLES: usize = 16;
/// Random bytes of an id.
const ID_BYTES: usize = 8;

/// Names one issued token: 16 hex digits. It is no secret.
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

/// What is known of one issued token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuedToken {
    /// Its [`TokenId`].
    pub id: String,
    /// To whom.
    pub subject: String,
    /// With which roles, as in the claim.
    pub roles: Vec<String>,
    /// May ask whether an ID card itself admits.
    pub card_reader: bool,
    /// Seconds since 1970.
    pub issued_at: i64,
    /// Seconds since 1970.
    pub expires_at: i64,
    /// Seconds since 1970, where it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<i64>,
}

impl IssuedToken {
    /// Whether nothing accepts it any more because of its age.
    fn is_over(&self, now: UnixSeconds) -> bool {
        now.0 >= self.expires_at.saturating_add(LEEWAY_SECONDS)
    }
}

/// What a token is asked for.
#[derive(Debug, Clone)]
pub struct TokenRequest {
    /// To whom; one is made up where there is none.
    pub subject: Option<String>,
    /// With which roles, as in the claim.
    pub roles: Vec<String>,
    /// May ask whether an ID card itself admits.
    pub card_reader: bool,
    /// For how long.
    pub lifetime_seconds: i64,
}

/// Why no token was issued or revoked.
#[derive(Debug, thiserror::Error)]
pub enum IssuedError {
    /// The file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The authority's key file.
    #[error(transparent)]
    Authority(#[from] LocalAuthorityError),
    /// The file is damaged.
    #[error("{0} is no list of issued tokens; remove it, and issue the tokens anew (the old ones die)")]
    Damaged(String),
    /// No role, too many, or one that is none.
    #[error("{0:?} is no role; see channel:NAME, officer, health_authority, verifier:PLACE[,PLACE]:DEVICE, auditor")]
    Role(String),
    /// No role was named, or too many.
    #[error("a token carries 1 to {MAX_ROLES} roles")]
    RoleCount,
    /// The role admin.
    #[error("an issued token is never an admin's: the admin is the user who runs the server, on its machine")]
    Admin,
    /// A lifetime out of range.
    #[error("a token lives from 1 second to 24 hours")]
    Lifetime,
    /// A subject that cannot be one.
    #[error("a subject is 1 to 128 visible ASCII characters without a space, and not local-admin")]
    Subject,
    /// Too many tokens.
    #[error("{MAX_TOKENS} tokens are known and not expired; wait until some have")]
    TooMany,
}

/// The tokens that were issued. Share it in an `Arc`; callable from any thread. Issuing and revoking block on the disk.
pub struct IssuedTokens {
    authority: LocalAuthority,
    file: PathBuf,
    known: Mutex<Vec<IssuedToken>>,
    /// Issued and not revoked; their times are checked by whoever verifies them.
    living: RwLock<BTreeSet<TokenId>>,
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
    /// The tokens of this authority that the file knows; none where there is no file yet.
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
        let living = RwLock::new(living(&known));
        Ok(Self {
            authority,
            file,
            known: Mutex::new(known),
            living,
            revocations: watch::Sender::new(0),
        })
    }

    pub(crate) fn authority(&self) -> &LocalAuthority {
        &self.authority
    }

    /// Issues a token. It is known durably before it is given away.
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

    /// Revokes a token, durably before this returns; again changes nothing. `None` where it is not known or has expired.
    ///
    /// # Errors
    /// [`IssuedError::File`]; whether the revocation counts after a restart is not known then, now it does not.
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
    pub(crate) fn is_living(&self, id: TokenId) -> bool {
        self.living.read().contains(&id)
    }

    /// Completes once it is revoked.
    pub(crate) async fn until_revoked(&self, id: TokenId) {
        let mut revocations = self.revocations.subscribe();
        while self.is_living(id) {
            // The sender lives as long as this.
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
        *self.living.write() = living(&stored.tokens);
        *known = stored.tokens;
        Ok(())
    }
}

fn living(known: &[IssuedToken]) -> BTreeSet<TokenId> {
    let living = known.iter().filter(|token| token.revoked_at.is_none());
    living.filter_map(|token| TokenId::parse(&token.id)).collect()
}

/// The roles, all of ours and none an admin's: a word that an identity provider's token may carry is a mistake here.
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
