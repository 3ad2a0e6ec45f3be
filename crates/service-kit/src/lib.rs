//! What every service needs and nothing of the business: time and chance as values that `main` hands in,
//! configuration, telemetry, health, access tokens, limits, problems, files and servers.
//!
//! It depends on no other crate of ours: it must not know what a code, a holder or an event is. The one
//! thing it shares with the business are the names in [`problem::Code`] and [`auth::Role`], because both
//! are part of the outside contract that every face has to speak alike.
//!
//! Only this crate and the mains touch the operating system's clock and randomness.

pub mod assertion;
pub mod auth;
pub mod bounded;
pub mod clock;
pub mod config;
pub mod deadline;
pub mod entropy;
pub mod files;
pub mod health;
pub mod limits;
pub mod local_socket;
pub mod metrics_endpoint;
pub mod problem;
pub mod repeated;
pub mod serve;
pub mod shutdown;
pub mod telemetry;
pub mod tls;
