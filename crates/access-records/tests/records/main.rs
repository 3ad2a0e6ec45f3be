//! One conformance suite for both engines, and what only one of them has.
#![expect(clippy::unwrap_used, reason = "a call that fails fails the test")]

mod conformance;
mod embedded;
mod jetstream;
