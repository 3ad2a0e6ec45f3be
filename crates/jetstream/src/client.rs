//! A connection with the subject prefix of the JetStream API.
//!
//! Users of the account that owns the streams send requests to `$JS.API.…`. An account that only reads them imports
//! some of the API's requests under another prefix, because the servers answer each account's own `$JS.API.…`
//! themselves.

use std::ops::Deref;
use std::sync::Arc;

/// The API's prefix in the account that owns the streams.
pub const OWN_API: &str = "$JS.API";

/// A connection with the prefix of the API.
#[derive(Debug, Clone)]
pub struct Client {
    nats: async_nats::Client,
    api: Arc<str>,
}

impl Client {
    /// A connection whose account has the API under the prefix `api`.
    #[must_use]
    pub fn new(nats: async_nats::Client, api: &str) -> Self {
        Self { nats, api: api.into() }
    }
}

impl Deref for Client {
    type Target = async_nats::Client;

    fn deref(&self) -> &async_nats::Client {
        &self.nats
    }
}

/// A client of the API: a [`Client`], or a plain connection of the account that owns the streams.
pub trait ApiClient: Sync {
    /// The connection.
    fn nats(&self) -> &async_nats::Client;

    /// The prefix of a request's subject, without the dot.
    fn api(&self) -> &str;
}

impl ApiClient for Client {
    fn nats(&self) -> &async_nats::Client {
        &self.nats
    }

    fn api(&self) -> &str {
        &self.api
    }
}

impl ApiClient for async_nats::Client {
    fn nats(&self) -> &async_nats::Client {
        self
    }

    fn api(&self) -> &str {
        OWN_API
    }
}
