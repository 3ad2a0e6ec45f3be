//! The portal: the only HTTP API. It converts JSON to gRPC calls of issuer, revocation, verifier and audit, and their
//! answers back to JSON. It has no access to the log, keys or projections.
//!
//! It decides nothing about codes: each service authorises the caller, whose own token is passed on. The portal checks
//! only the form of requests: sizes, content types, unknown fields, command ids.
//!
//! | module | content |
//! |---|---|
//! | `api` | one file per family of endpoints |
//! | `call` | passes on the caller's token, command id and trace context |
//! | `lines`, `pipeline` | newline-delimited JSON in and out, without holding whole bodies |
//! | `openapi` | the description at `/openapi.json` and the page at `/docs` |
//! | `pictures` | limits on pictures |
//! | `page` | the page at `/` |
//! | `middleware` | applies to every answer: headers, spans, panics, time limits |

mod answer;
mod api;
mod call;
mod device_key;
mod lines;
mod middleware;
mod openapi;
mod page;
mod pictures;
mod pipeline;
mod portal;

pub use api::LocalTokens;
pub use portal::{Portal, PortalParts};
