//! Tests of the pages' handlers, over a verifier that the test controls. Time is paused, so that no test
//! depends on how fast the machine is.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of tests are tests too: what cannot go on fails"
)]

mod browser;
mod gate;
mod staff;
mod verifier;
