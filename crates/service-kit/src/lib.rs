//! What every service needs whatever it serves: clock and randomness as values that `main` passes in, configuration,
//! telemetry, health, limits, problems, files and servers.
//!
//! It depends on no other crate of the workspace and does not know what a code, a holder or an event is. The names in
//! [`problem::Code`] are the exception: they are part of the public contract, and every API uses the same ones.
//!
//! Only this crate and the `main` functions read the operating system's clock and randomness.

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
pub mod peer;
pub mod problem;
pub mod repeated;
pub mod serve;
pub mod shutdown;
pub mod telemetry;
pub mod tls;
