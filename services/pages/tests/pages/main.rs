//! Tests of the pages' handlers, over services that the test controls. Time is paused, so that no test
//! depends on how fast the machine is.

mod browser;
mod gate;
mod resident;
mod staff;
mod two_portals;
mod verifier;
