//! The verifier: one scan in, one verdict out, from memory.
//!
//! It follows the log into a projection of every code's status, remembers tokens whose signature it has checked,
//! and judges with the domain's one function. It holds no private key of codes; it appends nothing but scan records
//! of its own, apart from the log.
//!
//! | module | does |
//! |---|---|
//! | [`fold`] | the log → status, standing, keyring |
//! | `memory` | tokens seen, their signature checked |
//! | [`freshness`] | how old the knowledge surely is |
//! | [`scan`] | the way of one scan |
//! | [`records`] | scan and sampling records |
//! | [`grpc`] | the face |

pub mod fold;
pub mod freshness;
pub mod grpc;
mod measures;
mod memory;
pub mod records;
mod request;
pub mod scan;

pub use fold::VerifierFold;
pub use freshness::{Freshness, FreshnessWatch};
pub use records::{RecordsError, Registered, ScanNote, ScanRecord, ScanRecords};
pub use scan::{Answer, Scan, Verifier, VerifierParts, When};
