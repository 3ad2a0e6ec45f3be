//! Connecting to NATS: credentials, reconnection and connection events.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::{ConnectOptions, Event};
use secrecy::{ExposeSecret as _, SecretString};

use crate::client::{Client, OWN_API};

/// A failed machine is detected after two or three of these, instead of after two minutes by default.
const PING_INTERVAL: Duration = Duration::from_secs(2);
/// Messages that one subscription may queue: 32 MB (the server's flow control) of the smallest commits.
const SUBSCRIPTION_CAPACITY: usize = 256 * 1024;

/// The number of repeated events that are all logged; after that one is logged each time their number doubles.
const LOGGED_EVENTS: u64 = 8;

/// The credentials of this client.
#[derive(Debug, Clone, Default)]
pub enum Credentials {
    /// No credentials, for servers without accounts.
    #[default]
    None,
    /// The user of this NKEY seed (`SU…`).
    NkeySeed(SecretString),
}

impl Credentials {
    /// The user's public key; `None` without credentials or if the seed is invalid.
    #[must_use]
    pub fn public_key(&self) -> Option<String> {
        match self {
            Self::None => None,
            Self::NkeySeed(seed) => {
                let user = nkeys::KeyPair::from_seed(seed.expose_secret()).ok()?;
                Some(user.public_key())
            }
        }
    }
}

/// The client certificate for servers that require one (mTLS), as PEM files.
#[derive(Debug, Clone)]
pub struct ClientIdentity {
    /// The certificate, followed by its chain.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// The settings of a connection.
#[derive(Debug, Clone)]
pub struct Connection {
    /// The servers, e.g. `nats://10.0.0.1:4222` or `tls://…`. One that answers is enough; it announces the others.
    pub servers: Vec<String>,
    /// The credentials of this client.
    pub credentials: Credentials,
    /// A PEM file with further root certificates besides the system's.
    pub root_certificates: Option<PathBuf>,
    /// The client certificate.
    pub identity: Option<ClientIdentity>,
    /// The name that servers show for this connection, e.g. `issuer`.
    pub client_name: String,
    /// The prefix of the JetStream API in the user's account: [`OWN_API`], or the prefix of an account that only reads.
    pub api: String,
    /// Messages that one subscription may queue; further ones are dropped.
    pub subscription_capacity: usize,
}

impl Connection {
    /// A connection to servers without accounts.
    #[must_use]
    pub fn new(servers: Vec<String>, client_name: &str) -> Self {
        Self {
            servers,
            credentials: Credentials::None,
            root_certificates: None,
            identity: None,
            client_name: client_name.to_owned(),
            api: OWN_API.to_owned(),
            subscription_capacity: SUBSCRIPTION_CAPACITY,
        }
    }
}

/// Why there is no connection.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ConnectError {
    /// No server can be reached or accepts this client.
    #[error("no NATS server accepts the connection: {0}")]
    Refused(String),
    /// The seed is not a user's seed.
    #[error("the NKEY seed is not a user's seed (`SU…`)")]
    Seed,
}

/// The subject prefix of answers to a user's requests. It is specific to the user and part of its permissions, so that
/// no other user can subscribe to it.
#[must_use]
pub fn inbox_prefix(public_key: &str) -> String {
    format!("_INBOX_{public_key}")
}

/// Connects. A lost connection is re-established, to any server that answers, until the client is dropped. `on_event`
/// is called for every event of the connection, for example every loss and reconnection, and must not block.
///
/// # Errors
/// [`ConnectError`].
pub async fn connect(
    connection: &Connection,
    on_event: impl Fn(&Event) + Send + Sync + 'static,
) -> Result<Client, ConnectError> {
    let repeated = AtomicU64::new(0);
    connect_unlogged(connection, move |event| {
        log_event(event, &repeated);
        on_event(event);
    })
    .await
}

/// As [`connect`], but events are not logged: for a caller that provokes refusals of the server.
///
/// # Errors
/// [`ConnectError`].
pub async fn connect_unlogged(
    connection: &Connection,
    on_event: impl Fn(&Event) + Send + Sync + 'static,
) -> Result<Client, ConnectError> {
    let mut options = ConnectOptions::new()
        .name(&connection.client_name)
        .ping_interval(PING_INTERVAL)
        .subscription_capacity(connection.subscription_capacity)
        .max_reconnects(None)
        .event_callback(move |event| {
            on_event(&event);
            std::future::ready(())
        });
    if let Credentials::NkeySeed(seed) = &connection.credentials {
        let user = nkeys::KeyPair::from_seed(seed.expose_secret()).map_err(|_| ConnectError::Seed)?;
        options = options
            .nkey(seed.expose_secret().to_owned())
            .custom_inbox_prefix(inbox_prefix(&user.public_key()));
    }
    if let Some(certificates) = &connection.root_certificates {
        options = options.add_root_certificates(certificates.clone());
    }
    if let Some(ClientIdentity { certificate, key }) = &connection.identity {
        options = options.add_client_certificate(certificate.clone(), key.clone());
    }
    let connected = options.connect(connection.servers.clone()).await;
    let connected = connected.map_err(|error| ConnectError::Refused(error.to_string()))?;
    Ok(Client::new(connected, &connection.api))
}

/// `repeated` counts events that may occur for every message: dropped messages and the server's permission errors.
fn log_event(event: &Event, repeated: &AtomicU64) {
    match event {
        Event::Connected | Event::Disconnected => tracing::info!(%event, "connection to NATS"),
        Event::SlowConsumer(_) | Event::ServerError(_) => {
            let times = repeated.fetch_add(1, Ordering::Relaxed) + 1;
            if times <= LOGGED_EVENTS || times.is_power_of_two() {
                tracing::warn!(%event, times, "connection to NATS");
            }
        }
        Event::ClientError(_) => tracing::warn!(%event, "connection to NATS"),
        _ => tracing::debug!(%event, "connection to NATS"),
    }
}
