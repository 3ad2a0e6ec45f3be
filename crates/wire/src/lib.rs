//! The protobuf face of citycode: generated types, and the only place where they meet the domain's.
//!
//! - [`proto`]: messages and gRPC stubs, generated from `proto/` at build time.
//! - [`codec`]: protobuf over gRPC.
//! - [`event`]: an event of the domain ↔ (type name, version, bytes) of the log.
//! - [`request`]: the parts of requests for which the domain has types.
//! - [`verdict`]: what a scan is answered.
//! - [`answer`]: codes, keys and standings in answers.
//!
//! Every field is named on both sides, so that a new one does not compile until somebody has thought of it.
//! No rule stands here, no storage and no address: what a kind's name means is the policy's to say.

pub mod answer;
pub mod codec;
pub mod event;
pub mod proto;
mod redacted;
pub mod request;
pub mod verdict;
