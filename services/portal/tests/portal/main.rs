//! The portal over services that only record what they are asked: each endpoint's mapping both ways, and what holds
//! for all of them. One file a family of endpoints.

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
