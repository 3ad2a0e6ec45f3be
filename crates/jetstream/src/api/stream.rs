//! The state of streams, and creating and updating them.

use std::collections::BTreeMap;

use async_nats::Message;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{ApiError, ask, ask_until_answered, code, parse, retry};
use crate::ApiClient;

/// The settings and the state of a stream.
#[derive(Debug, Deserialize)]
pub struct StreamInfo {
    /// Its settings, by their names in the API.
    pub config: Map<String, Value>,
    /// Its first and last sequence.
    pub state: StreamState,
    /// Its servers; `None` on a server without a cluster.
    pub cluster: Option<ClusterInfo>,
}

/// The extent of a stream.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct StreamState {
    /// The number of its messages.
    pub messages: u64,
    /// Sequence of its first message.
    pub first_seq: u64,
    /// Sequence of its last message; 0 if there was none.
    pub last_seq: u64,
}

/// The servers of a stream.
#[derive(Debug, Deserialize)]
pub struct ClusterInfo {
    /// The leader.
    pub leader: Option<String>,
    /// The other servers.
    #[serde(default)]
    pub replicas: Vec<Peer>,
}

/// A server of a stream.
#[derive(Debug, Deserialize)]
pub struct Peer {
    /// Its name.
    pub name: String,
}

impl StreamInfo {
    /// The metadata that the stream was created with.
    #[must_use]
    pub fn metadata(&self) -> BTreeMap<String, String> {
        metadata(&self.config)
    }

    /// Whether only one server stores it, which then always has its latest state.
    #[must_use]
    pub fn is_unreplicated(&self) -> bool {
        self.cluster.as_ref().is_none_or(|cluster| cluster.replicas.is_empty())
    }

    fn has_leader(&self) -> bool {
        let leader = self.cluster.as_ref().and_then(|cluster| cluster.leader.as_ref());
        leader.is_some_and(|leader| !leader.is_empty())
    }

    /// The servers with a replica; empty on a server without a cluster.
    #[must_use]
    pub fn servers(&self) -> Vec<String> {
        let cluster = self.cluster.as_ref();
        let leader = cluster
            .and_then(|cluster| cluster.leader.clone())
            .filter(|name| !name.is_empty());
        let others = cluster.into_iter().flat_map(|cluster| cluster.replicas.iter());
        leader.into_iter().chain(others.map(|peer| peer.name.clone())).collect()
    }
}

/// The metadata in a stream's settings.
pub(crate) fn metadata(config: &Map<String, Value>) -> BTreeMap<String, String> {
    let metadata = config.get("metadata").and_then(Value::as_object);
    let text = |(name, value): (&String, &Value)| Some((name.clone(), value.as_str()?.to_owned()));
    metadata.into_iter().flatten().filter_map(text).collect()
}

/// The stream's settings and state according to its leader. A server with a replica but without a leader answers with
/// its own state, which may be old; such an answer is refused and the request repeated. A leader that was just cut off
/// does not know that and may answer for about 20 s.
///
/// # Errors
/// [`ApiError`].
pub async fn stream_info(client: &impl ApiClient, stream: &str) -> Result<StreamInfo, ApiError> {
    let subject = format!("{}.STREAM.INFO.{stream}", client.api());
    ask_until_answered(client.nats(), subject, Bytes::new(), from_leader).await
}

fn from_leader(answer: Message) -> Result<StreamInfo, ApiError> {
    let info: StreamInfo = parse(&answer.payload)?;
    if !info.is_unreplicated() && !info.has_leader() {
        return Err(ApiError::Refused {
            code: code::CLUSTER_NOT_AVAILABLE,
            description: "the server that answered has no leader for the stream".into(),
        });
    }
    Ok(info)
}

/// Creates a stream and waits until it is visible: directly after its creation in a cluster, one of the servers may
/// still report that it does not exist. An existing stream of this name is not changed; the caller compares its
/// settings. Returns the stream according to its leader.
///
/// # Errors
/// [`ApiError`].
pub async fn create_stream(client: &impl ApiClient, stream: &str, request: &Value) -> Result<StreamInfo, ApiError> {
    match ask::<Value>(client, &format!("STREAM.CREATE.{stream}"), request).await {
        Ok(_) => {}
        // Another client created it first.
        Err(error) if error.has_code(code::STREAM_NAME_IN_USE) => {}
        Err(error) => return Err(error),
    }
    info_after_creation(client, stream).await
}

/// Replaces all settings of a stream by `config`, which should be the reported settings with some changes.
///
/// # Errors
/// [`ApiError`]; also no answer, if the user lacks the permission.
pub async fn update_stream(client: &impl ApiClient, stream: &str, config: &Value) -> Result<(), ApiError> {
    ask::<Value>(client, &format!("STREAM.UPDATE.{stream}"), config).await?;
    Ok(())
}

/// Waits until the leader of a new stream reports it.
pub(crate) async fn info_after_creation(client: &impl ApiClient, stream: &str) -> Result<StreamInfo, ApiError> {
    let not_yet = |error: &ApiError| error.has_code(code::STREAM_NOT_FOUND);
    retry(not_yet, || stream_info(client, stream)).await
}
