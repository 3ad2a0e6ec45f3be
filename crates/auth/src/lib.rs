//! Authentication of callers by signed access tokens, and the roles in them; and of persons by assertions.
//!
//! A token is a JWT (RFC 7519) under a key that the configuration names. The key fixes issuer and algorithm; nothing in
//! the token can change either: `alg` must equal the key's, `kid` must be known, `jwk`, `jku`, `x5c` and `x5u` are
//! never read, and a token with `crit` is refused. Verified tokens are cached by digest, so that the signature is
//! checked once; times and the peer are checked on every call.

pub mod assertion;

mod access;
mod caller;
mod expiry;
mod issued;
mod keys;
mod layer;
mod local;
mod page_tokens;
mod stream_end;

pub(crate) use access::Audience as AccessAudience;
pub(crate) use keys::EnvelopeError;

pub use access::{AccessTokens, AuthError, LEEWAY_SECONDS, LOCAL_MAX_LIFETIME_SECONDS, MAX_LIFETIME_SECONDS};
pub use caller::{Caller, CallerId, Role, RoleError};
pub use expiry::{UntilExpired, expired, token_expired};
pub use issued::{IssuedError, IssuedToken, IssuedTokens, TokenId, TokenRequest};
pub use keys::{KeyError, MAX_TOKEN_BYTES, TrustedKeys};
pub use layer::{Authenticate, AuthenticateService, caller, optional_caller};
pub use local::{Grant, LocalAuthority, LocalAuthorityError};
pub use page_tokens::{PAGE_ISSUER, PAGE_SUBJECT, PAGE_TOKEN_SECONDS, PageRoles};

/// The `aud` of access tokens unless the configuration names another.
pub const AUDIENCE: &str = "citycode";

#[cfg(test)]
mod tests;
