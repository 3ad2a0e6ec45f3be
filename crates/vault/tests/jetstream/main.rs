//! The vault on real NATS servers: one person is one holder, whoever asks where; an erasure leaves nothing to read.
#![expect(clippy::unwrap_used, reason = "a test")]

mod away;
mod erasure;
mod evenly;
mod fixture;
mod keys;
mod once;
mod silence;
mod taken_over;
