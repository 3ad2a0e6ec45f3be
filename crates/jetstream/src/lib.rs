//! Connections to NATS and the JetStream API, spoken over the client's plain requests.
//!
//! Plain requests, because then settings are compared as the server reports them, those that this program has no
//! word for too, and every error code is seen. What a stream is for is its engine's.

pub mod api;
mod client;
mod connect;
pub mod object_store;
pub mod publish;
pub mod settings;
pub mod snapshot;

pub use settings::SettingMismatch;

pub use client::{Asks, Client, OWN_API};
pub use connect::{ClientIdentity, ConnectError, Connection, Credentials, connect, inbox_prefix};
