//! The verifier: answers each scan with a verdict, from in-memory state.
//!
//! It folds the log into a projection of every code's status, caches tokens whose signature it has verified, and judges
//! with one function of the domain. It has no private key of codes, and appends nothing to the event log; scan records
//! are stored separately.
//!
//! | module | content |
//! |---|---|
//! | `fold` | the fold from the log to status, standings and keyring |
//! | `memory` | the cache of verified tokens |
//! | [`freshness`] | the proved age of the state |
//! | [`scan`] | the request path of one scan |
//! | `knowledge` | the age of the state, for the display of a place |
//! | `undelivered` | whether a token that is not in the log is forged |
//! | `witnesses` | the age from which a code needs a witnessed checkpoint |
//! | `wrong_cards` | the limit on ID cards that are tried against a code |
//! | [`grpc`] | the gRPC API |

mod fold;
pub mod freshness;
pub mod grpc;
mod knowledge;
mod measures;
mod memory;
mod request;
pub mod scan;
mod undelivered;
mod witnesses;
mod wrong_cards;

pub use fold::VerifierFold;
pub use freshness::{Freshness, FreshnessWatch, Known};
pub use scan::{Answer, PresentedCard, Scan, Verifier, VerifierParts, When};
