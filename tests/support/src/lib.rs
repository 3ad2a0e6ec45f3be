//! What the system tests share: the programs under test, and an identity provider that a test signs for.

mod identity_provider;
mod program;

pub use identity_provider::{ISSUER, Provider};
pub use program::program;
