//! Connecting: who this client is, and what a connection that is lost means.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::{ConnectOptions, Event};
use secrecy::{ExposeSecret as _, SecretString};

use crate::client::{Client, OWN_API};

/// A dead machine is noticed after two or three of these, not after two minutes.
const PING_INTERVAL: Duration = Duration::from_secs(2);
/// Messages that one subscription may queue: 32 MB, the server's flow control, of the smallest commits.
const SUBSCRIPTION_CAPACITY: usize = 256 * 1024;

/// Of repeated events so many are told in a row; after that each time that their number has doubled.
const TOLD_IN_A_ROW: u64 = 8;

/// Who this client is to the servers.
#[derive(Debug, Clone, Default)]
pub enum Credentials {
    /// Nobody in particular: for a server without accounts.
    #[default]
    None,
    /// The user of this NKEY seed (`SU…`).
    NkeySeed(SecretString),
}

impl Credentials {
    /// The public key by which the servers know the user; none for nobody in particular, and where the seed is none.
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

/// A certificate of this client's own, where servers ask for one (mTLS). PEM files.
#[derive(Debug, Clone)]
pub struct ClientIdentity {
    /// The certificate, its chain behind it.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Where the servers are, and who this client is to them.
#[derive(Debug, Clone)]
pub struct Connection {
    /// The servers, e.g. `nats://10.0.0.1:4222` or `tls://…`; one that answers is enough, others are learned.
    pub servers: Vec<String>,
    /// Who this client is.
    pub credentials: Credentials,
    /// Certificates that a server's certificate may rest on, besides the system's (a PEM file).
    pub root_certificates: Option<PathBuf>,
    /// This client's own certificate.
    pub identity: Option<ClientIdentity>,
    /// The name that servers show for this connection, e.g. `issuer`.
    pub client_name: String,
    /// Where the user's account has the JetStream API: [`OWN_API`], or the prefix of an account that only reads.
    pub api: String,
    /// Messages that one subscription may queue; what is beyond is dropped.
    pub subscription_capacity: usize,
}

impl Connection {
    /// To servers without accounts.
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
    /// No server took it: none is there, or none takes this client.
    #[error("no NATS server takes the connection: {0}")]
    Refused(String),
    /// The seed is none of a user's.
    #[error("the NKEY seed is not one of a user (`SU…`)")]
    Seed,
}

/// Where the answers to a user's questions arrive: a place of its own, that its permissions name, so that no other
/// user may listen there.
#[must_use]
pub fn inbox_prefix(public_key: &str) -> String {
    format!("_INBOX_{public_key}")
}

/// Connects. A connection that is lost is made again for as long as the client lives, to whichever server answers;
/// `hear` is told of every loss and every return, and must not block.
///
/// # Errors
/// [`ConnectError`].
pub async fn connect(
    connection: &Connection,
    hear: impl Fn(&Event) + Send + Sync + 'static,
) -> Result<Client, ConnectError> {
    let repeated = AtomicU64::new(0);
    let mut options = ConnectOptions::new()
        .name(&connection.client_name)
        .ping_interval(PING_INTERVAL)
        .subscription_capacity(connection.subscription_capacity)
        .max_reconnects(None)
        .event_callback(move |event| {
            report(&event, &repeated);
            hear(&event);
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

/// `repeated` counts events that may come with every message: what is dropped, what the server does not let through.
fn report(event: &Event, repeated: &AtomicU64) {
    match event {
        Event::Connected | Event::Disconnected => tracing::info!(%event, "connection to NATS"),
        Event::SlowConsumer(_) | Event::ServerError(_) => {
            let times = repeated.fetch_add(1, Ordering::Relaxed) + 1;
            if times <= TOLD_IN_A_ROW || times.is_power_of_two() {
                tracing::warn!(%event, times, "connection to NATS");
            }
        }
        Event::ClientError(_) => tracing::warn!(%event, "connection to NATS"),
        _ => tracing::debug!(%event, "connection to NATS"),
    }
}
