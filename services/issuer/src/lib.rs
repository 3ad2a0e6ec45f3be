//! Issuer.
