//! One conformance suite for both engines, and what only one of them has.

mod conformance;
mod embedded;
mod jetstream;
