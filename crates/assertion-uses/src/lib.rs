//! The register of used assertions of identity providers: each is used once, at whichever instance of any
//! service.
//!
//! An assertion is a short-lived statement of an identity provider that a person was authenticated. It is valid
//! for one request. A use is durably registered before the request is executed, so that neither another
//! instance nor a restart accepts the assertion for another request. The same request may be sent again with
//! it.
//!
//! The register contains no personal data: it stores two digests under a key that only the services have, one
//! of the assertion's identity and one of the request. It removes both some time after the assertion has
//! expired.
//!
//! Two engines: [`embedded`] for one process, [`jetstream`] for a city.

pub mod embedded;
pub mod jetstream;
mod key;

use async_trait::async_trait;

pub use key::UsesKey;

/// A use of an assertion for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AssertionUse {
    /// Identifies the assertion: a digest of its issuer and `jti`.
    pub assertion: [u8; 32],
    /// Identifies the request: its caller, its command id and its whole content.
    pub request: [u8; 32],
    /// When the assertion was made, in Unix seconds.
    pub made_at: i64,
    /// When the assertion expires, in Unix seconds, leeway included.
    pub expires_at: i64,
}

/// The result of registering a use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Used {
    /// It is the first one.
    Now,
    /// The assertion was used for this very request before.
    Before,
    /// The assertion was used for another request before.
    ForAnother,
    /// The assertion is older than the register's records, so an earlier use cannot be excluded.
    TooOld,
}

/// The use may not have been registered. The assertion must not be accepted then; registering the same use
/// again yields the result.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub(crate) String);

/// The register of uses.
#[async_trait]
pub trait AssertionUses: Send + Sync {
    /// Registers a use, unless the assertion was used before. `now` is in Unix seconds.
    ///
    /// [`Used::Now`] and [`Used::Before`] are durable when this returns. Of concurrent uses of one assertion
    /// for different requests, at any instances, at most one is registered.
    ///
    /// # Errors
    /// [`Unavailable`].
    async fn register(&self, used: AssertionUse, now: i64) -> Result<Used, Unavailable>;
}
