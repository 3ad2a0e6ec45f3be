//! The protobuf API of citycode: generated types, and the only conversions between them and domain types.
//!
//! - [`proto`]: messages and gRPC stubs, generated from `proto/` at build time.
//! - [`codec`]: protobuf over gRPC.
//! - [`event`]: an event of the domain ↔ (type name, version, bytes) of the log.
//! - [`limits`]: how long fields of requests may be.
//! - [`request`]: the parts of requests for which the domain has types.
//! - [`verdict`]: responses to scans.
//! - [`answer`]: codes, keys and standings in responses.
//!
//! Every field is named on both sides, so that a new field is a compile error until it is handled. This crate
//! contains no rules, storage or addresses: the policy defines the names of kinds.

pub mod answer;
pub mod codec;
pub mod event;
pub mod limits;
pub mod proto;
mod redacted;
pub mod request;
pub mod verdict;
