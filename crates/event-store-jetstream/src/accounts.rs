//! The number of partitions for which the servers' accounts were made.
//!
//! The permissions of `citycode secrets --partitions N` name each partition's stream. With accounts for fewer partitions
//! than the log has, requests for the others are never answered; with accounts for more, a thief of a seed that creates
//! streams can still create one with settings of his own. A server does not answer a request that it refuses, but
//! reports the refusal on the connection, so both outcomes are known without waiting for a timeout.

use async_nats::{Event, ServerError};
use bytes::Bytes;
use citycode_event_store::{Layout, Partition};
use citycode_jetstream::api::{self, ApiError};
use citycode_jetstream::{ApiClient as _, Client, Connection, Credentials};
use tokio::sync::mpsc::{self, UnboundedReceiver};

use crate::config::Config;
use crate::names;
use crate::open::{self, OpenError};

/// A stream that no city has: a user who may inspect it may inspect any.
const NO_STREAM: &str = "CC_EV_OF_NO_PARTITION";

/// The number of partitions for which the accounts were made, as the permissions of this user show it; `None` if they
/// name no streams, as on servers without accounts.
///
/// # Errors
/// [`OpenError`] if the servers cannot be asked.
pub async fn partitions_of_accounts(connection: &Connection) -> Result<Option<u16>, OpenError> {
    if matches!(connection.credentials, Credentials::None) {
        return Ok(None);
    }
    let mut user = User::connect(connection).await?;
    if user.may_inspect(NO_STREAM).await? {
        return Ok(None);
    }
    // They name the partitions from 0 on, without gaps.
    let (mut allowed, mut refused) = (0, Layout::MAX_PARTITIONS);
    while allowed < refused {
        let middle = allowed + (refused - allowed) / 2;
        if user.may_inspect(&names::stream(Partition(middle))).await? {
            allowed = middle + 1;
        } else {
            refused = middle;
        }
    }
    Ok(Some(allowed))
}

/// The layout of the existing log, as partition 0 states it; `None` if there is no partition 0.
///
/// # Errors
/// [`OpenError`].
pub async fn existing_layout(config: &Config) -> Result<Option<Layout>, OpenError> {
    let client = citycode_jetstream::connect(&config.connection, |_| ()).await?;
    let info = open::partition_info(&client, Partition(0)).await?;
    let manifest = info.map(|info| open::read_manifest(&info, Partition(0))).transpose()?;
    Ok(manifest.map(|manifest| manifest.layout))
}

/// A connection whose refused requests are known.
struct User {
    client: Client,
    refusals: UnboundedReceiver<String>,
}

impl User {
    async fn connect(connection: &Connection) -> Result<Self, OpenError> {
        let (sender, refusals) = mpsc::unbounded_channel();
        let on_event = move |event: &Event| {
            if let Event::ServerError(ServerError::Other(text)) = event {
                // The receiver is gone once the answer is known.
                let _ = sender.send(text.clone());
            }
        };
        let client = citycode_jetstream::connect_unlogged(connection, on_event).await?;
        Ok(Self { client, refusals })
    }

    /// Whether the servers let this user ask for the state of a stream, which need not exist.
    async fn may_inspect(&mut self, stream: &str) -> Result<bool, OpenError> {
        let subject = format!("{}.STREAM.INFO.{stream}", self.client.api());
        let asked = api::request_within(api::API_TIMEOUT, &self.client, subject.clone(), None, Bytes::new());
        tokio::select! {
            answered = asked => match answered {
                Ok(_) => Ok(true),
                // The account imports no such request.
                Err(ApiError::NoResponders) if self.client.api() != citycode_jetstream::OWN_API => Ok(false),
                Err(error) => Err(open::unanswered(&subject, &error)),
            },
            () = refused(&mut self.refusals, &subject) => Ok(false),
        }
    }
}

/// Waits until the server reports that it refused a message with this subject.
async fn refused(refusals: &mut UnboundedReceiver<String>, subject: &str) {
    while let Some(text) = refusals.recv().await {
        let is_refusal = text.to_lowercase().starts_with("permissions violation for publish");
        if is_refusal && text.trim_end_matches(['"', '\'']).ends_with(subject) {
            return;
        }
    }
    std::future::pending().await
}
