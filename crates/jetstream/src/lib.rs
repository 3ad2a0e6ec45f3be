//! Connections to NATS, and the JetStream API over the client's plain requests.
//!
//! With plain requests this crate compares settings as the server reports them, even settings that it does not know,
//! and sees every error code. The engines that use the crate define the purpose of each stream.

pub mod api;
mod client;
mod connect;
pub mod object_store;
pub mod publish;
pub mod settings;
pub mod snapshot;

pub use settings::SettingMismatch;

pub use client::{ApiClient, Client, OWN_API};
pub use connect::{ClientIdentity, ConnectError, Connection, Credentials, connect, connect_unlogged, inbox_prefix};
