//! Tests of scan records on real NATS servers: one record per scan at any number of verifiers, through faults
//! and midnight.
#![expect(clippy::unwrap_used, reason = "a test")]

mod faults;
mod fixture;
mod long_outage;
mod midnight;
mod one_record;
mod retention;
mod stale_leader;
