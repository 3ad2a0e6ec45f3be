//! Tests of the portal over fake services that record their calls: each endpoint's mapping in both directions, and what
//! applies to all of them. One file per family of endpoints.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of tests are tests too: what cannot go on fails"
)]

mod acts;
mod boundary;
mod codes;
mod documents;
mod fakes;
mod harness;
mod instances;
mod limits;
mod page;
mod pictures;
mod public;
mod residents;
mod streams;
mod verify;
