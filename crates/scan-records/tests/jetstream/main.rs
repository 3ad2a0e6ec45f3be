//! Scan records on real NATS servers: one record for one scan, whoever is told of it, through faults and midnight.
#![expect(clippy::unwrap_used, reason = "a test")]

mod away;
mod doubt;
mod faults;
mod fixture;
mod midnight;
mod once;
mod retention;
