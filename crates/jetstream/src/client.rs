//! A connection, and where on it the JetStream API is asked.
//!
//! Users of the account that keeps the streams ask `$JS.API.…`. An account that only reads them imports a few of the
//! API's questions under a prefix of its own, because the servers answer `$JS.API.…` of every account themselves.

use std::ops::Deref;
use std::sync::Arc;

/// Where the API is asked unless told otherwise.
pub const OWN_API: &str = "$JS.API";

/// A connection that knows its way to the API.
#[derive(Debug, Clone)]
pub struct Client {
    nats: async_nats::Client,
    api: Arc<str>,
}

impl Client {
    /// A connection whose account has the API under this prefix.
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

/// What can ask the API: one of our connections, or a plain one in the account that keeps the streams.
pub trait Asks: Sync {
    /// The connection.
    fn nats(&self) -> &async_nats::Client;

    /// What a question's subject begins with, without the dot.
    fn api(&self) -> &str;
}

impl Asks for Client {
    fn nats(&self) -> &async_nats::Client {
        &self.nats
    }

    fn api(&self) -> &str {
        &self.api
    }
}

impl Asks for async_nats::Client {
    fn nats(&self) -> &async_nats::Client {
        self
    }

    fn api(&self) -> &str {
        OWN_API
    }
}
