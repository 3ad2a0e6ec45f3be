//! Tests of the engine on real servers, a single one and a cluster of three: conformance, refusals and faults.
#![expect(clippy::unwrap_used, reason = "a test")]

mod conformance;
mod copies;
mod faults;
mod fixture;
mod foreign;
mod freshness;
mod groups;
mod minimum_reader;
mod refusals;
