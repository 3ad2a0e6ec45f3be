//! Connecting: who this client is, and what a connection that is lost means.

use std::path::PathBuf;
use std::time::Duration;

use async_nats::{ConnectOptions, Event};
use secrecy::{ExposeSecret as _, SecretString};

use crate::client::{Client, OWN_API};

/// A dead machine is noticed after two or three of these, not after two minutes.
const PING_INTERVAL: Duration = Duration::from_secs(2);
/// Messages that one subscription may queue: 32 MB, the server's flow control, of the smallest commits.
const SUBSCRIPTION_CAPACITY: usize = 256 * 1024;

/// Who this client is to the servers.
#[derive(Debug, Clone, Default)]
pub enum Credentials {
    /// Nobody in particular: for a server without accounts.
    #[default]
    None,
    /// The user of this NKEY seed (`SU…`).
    NkeySeed(SecretString),
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
    let mut options = ConnectOptions::new()
        .name(&connection.client_name)
        .ping_interval(PING_INTERVAL)
        .subscription_capacity(SUBSCRIPTION_CAPACITY)
        .max_reconnects(None)
        .event_callback(move |event| {
            report(&event);
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

fn report(event: &Event) {
    match event {
        Event::Connected | Event::Disconnected => tracing::info!(%event, "connection to NATS"),
        Event::SlowConsumer(_) | Event::ServerError(_) | Event::ClientError(_) => {
            tracing::warn!(%event, "connection to NATS");
        }
        _ => tracing::debug!(%event, "connection to NATS"),
    }
}
