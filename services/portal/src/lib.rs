//! The portal: the only HTTP API. It turns JSON into gRPC calls of issuer, revocation, verifier and audit,
//! and their answers back into JSON, and knows neither log nor keys nor projections.
//!
//! It decides nothing about codes: who may do what is checked by each service, with the caller's own token that
//! is passed on. What it checks itself is the shape: sizes, content types, unknown fields, command ids.
//!
//! | module | does |
//! |---|---|
//! | [`clients`] | gRPC clients over any transport: in-process routes, or channels to other machines |
//! | `api` | one file a family of endpoints |
//! | `call` | the caller's token, command id and trace context, passed on |
//! | `lines`, `pipeline` | newline-delimited JSON in and out, without holding whole bodies |
//! | `openapi` | the description at `/openapi.json` and the page at `/docs` |
//! | `pictures` | what pictures may cost |
//! | `page` | the page at `/` |
//! | `spread` | calls over the instances of a service, past those that do not serve |
//! | `face` | what holds for every answer: headers, spans, panics, time limits |

mod answer;
mod api;
mod call;
pub mod clients;
mod device_key;
mod lines;
mod middleware;
mod openapi;
mod page;
mod pictures;
mod pipeline;
mod portal;
mod spread;

pub use api::LocalTokens;
pub use clients::{Clients, ConnectError, Endpoints, Reached, Transport};
pub use portal::{Portal, PortalParts};
