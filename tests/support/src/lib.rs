//! Shared fixtures of the system tests: the programs under test, and test identity providers.

mod identity_provider;
mod openid;
mod program;

pub use identity_provider::{ISSUER, Provider};
pub use openid::OpenIdProvider;
pub use program::program;
