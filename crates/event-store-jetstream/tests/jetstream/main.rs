//! The engine against real servers, one alone and three together: the contract, what it refuses, and what faults
//! leave.
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
