//! The verifier: one scan in, one verdict out, from memory.
//!
//! It follows the log into a projection of every code's status, remembers tokens whose signature it has checked,
//! and judges with the domain's one function. It holds no private key of codes; it appends nothing but scan records,
//! apart from the log.
//!
//! | module | does |
//! |---|---|
//! | `fold` | the log → status, standing, keyring |
//! | `memory` | tokens seen, their signature checked |
//! | [`freshness`] | how old the knowledge surely is |
//! | [`scan`] | the path of one scan |
//! | `undelivered` | when a token that the log does not know is forged |
//! | `wrong_cards` | the limit on cards held against a code |
//! | [`grpc`] | the gRPC API |

mod fold;
pub mod freshness;
pub mod grpc;
mod measures;
mod memory;
mod request;
pub mod scan;
mod undelivered;
mod wrong_cards;

pub use fold::VerifierFold;
pub use freshness::{Freshness, FreshnessWatch, Known};
pub use scan::{Answer, Scan, Verifier, VerifierParts, When};
