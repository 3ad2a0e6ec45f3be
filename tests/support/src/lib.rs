//! Shared fixtures of the system tests: the programs under test, and a test identity provider.

mod identity_provider;
mod program;

pub use identity_provider::{ISSUER, Provider};
pub use program::program;
