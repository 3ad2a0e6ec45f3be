//! Tests of the vault on real NATS servers: one person is one holder for all processes; an erasure leaves
//! nothing readable.
#![expect(clippy::unwrap_used, reason = "a test")]

mod constant_work;
mod erasure;
mod fixture;
mod import;
mod keys;
mod long_outage;
mod one_holder;
mod unresponsive_servers;
