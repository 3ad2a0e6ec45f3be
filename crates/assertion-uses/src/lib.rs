//! Which assertions of identity providers were used: each once, whichever instance of whichever service takes it.
//!
//! An assertion is a short-lived statement of an identity provider that a person was authenticated. It is good for one
//! request. A use is registered before the request is acted on and is durable by then, so that neither another instance
//! nor a restart takes the assertion for another request. The same request may be sent again with it.
//!
//! The register holds nothing personal: two digests under a key that only the services have, one of the assertion's
//! identity, one of the request. It forgets both some time after nobody would take the assertion any more.
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
    /// What names the assertion: a digest of its issuer and `jti`.
    pub assertion: [u8; 32],
    /// What names the request: its caller, its command id and everything that it says.
    pub request: [u8; 32],
    /// When the assertion was made, in Unix seconds.
    pub made_at: i64,
    /// From when on nobody takes it, in Unix seconds, leeway included.
    pub expires_at: i64,
}

/// What became of a use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Used {
    /// It is the first one.
    Now,
    /// The assertion was used for this very request before.
    Before,
    /// The assertion was used for another request before.
    ForAnother,
    /// The assertion is older than the register's memory, so nobody can say.
    TooOld,
}

/// Why a use was not registered, as far as anybody knows. The assertion must not be accepted then. Registering the same
/// use again finds out.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub(crate) String);

/// The register of uses.
#[async_trait]
pub trait AssertionUses: Send + Sync {
    /// Registers a use, unless the assertion was used before. The clock says `now`, in Unix seconds.
    ///
    /// [`Used::Now`] and [`Used::Before`] are durable when this returns. Of uses of one assertion for different requests,
    /// at any instances and at the same moment, one is registered at most.
    ///
    /// # Errors
    /// [`Unavailable`].
    async fn register(&self, used: AssertionUse, now: i64) -> Result<Used, Unavailable>;
}
