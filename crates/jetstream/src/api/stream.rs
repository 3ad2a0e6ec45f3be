//! Where streams stand, and making them.

use std::collections::BTreeMap;

use async_nats::Message;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{ApiError, ask, ask_again, ask_until_answered, code, parse};
use crate::Asks;

/// Where a stream stands, and what it is.
#[derive(Debug, Deserialize)]
pub struct StreamInfo {
    /// Its settings, by the server's words.
    pub config: Map<String, Value>,
    /// Where it stands.
    pub state: StreamState,
    /// Who holds copies; none if it stands alone.
    pub cluster: Option<ClusterInfo>,
}

/// How far a stream goes.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct StreamState {
    /// Sequence of its first message.
    pub first_seq: u64,
    /// Sequence of its last message; 0 where there was none.
    pub last_seq: u64,
}

/// The servers of a stream.
#[derive(Debug, Deserialize)]
pub struct ClusterInfo {
    /// The one that leads.
    pub leader: Option<String>,
    /// The others.
    #[serde(default)]
    pub replicas: Vec<Peer>,
}

/// One of them.
#[derive(Debug, Deserialize)]
pub struct Peer {
    /// Its name.
    pub name: String,
}

impl StreamInfo {
    /// The metadata that its maker gave it.
    #[must_use]
    pub fn metadata(&self) -> BTreeMap<String, String> {
        metadata(&self.config)
    }

    /// Whether one server alone holds it, which then knows all that there is.
    #[must_use]
    pub fn stands_alone(&self) -> bool {
        self.cluster.as_ref().is_none_or(|cluster| cluster.replicas.is_empty())
    }

    fn has_leader(&self) -> bool {
        let leader = self.cluster.as_ref().and_then(|cluster| cluster.leader.as_ref());
        leader.is_some_and(|leader| !leader.is_empty())
    }

    /// The servers that hold a copy; none if it stands alone.
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

/// What a stream's settings say of it in words of its maker.
pub(crate) fn metadata(config: &Map<String, Value>) -> BTreeMap<String, String> {
    let metadata = config.get("metadata").and_then(Value::as_object);
    let text = |(name, value): (&String, &Value)| Some((name.clone(), value.as_str()?.to_owned()));
    metadata.into_iter().flatten().filter_map(text).collect()
}

/// Where the stream stands, as its leader says: who holds a copy and knows of no leader answers with what it has itself,
/// which may be long ago, and is asked again. A leader that was cut off a moment ago does not know it yet, and may answer
/// so for some 20 s.
///
/// # Errors
/// The refusal, or what came instead of an answer.
pub async fn stream_info(client: &impl Asks, stream: &str) -> Result<StreamInfo, ApiError> {
    let subject = format!("{}.STREAM.INFO.{stream}", client.api());
    ask_until_answered(client.nats(), subject, Bytes::new(), leaders_word).await
}

fn leaders_word(answer: Message) -> Result<StreamInfo, ApiError> {
    let info: StreamInfo = parse(&answer.payload)?;
    if !info.stands_alone() && !info.has_leader() {
        return Err(ApiError::Refused {
            code: code::CLUSTER_NOT_AVAILABLE,
            description: "whoever answered for the stream knows of no leader".into(),
        });
    }
    Ok(info)
}

/// Makes a stream, and waits until it stands: a moment after it was made on several servers, one of them may still say
/// that there is none. One of the same name that stands is left as it is; whoever asked compares its settings. The stream
/// as its leader says.
///
/// # Errors
/// The refusal, or what came instead of an answer.
pub async fn make_stream(client: &impl Asks, stream: &str, request: &Value) -> Result<StreamInfo, ApiError> {
    match ask::<Value>(client, &format!("STREAM.CREATE.{stream}"), request).await {
        Ok(_) => {}
        // Somebody was faster.
        Err(error) if error.has_code(code::STREAM_NAME_IN_USE) => {}
        Err(error) => return Err(error),
    }
    info_once_made(client, stream).await
}

/// Changes the settings of a stream to `config`, whole, as the server had it but for what is to change.
///
/// # Errors
/// The refusal, or what came instead of an answer; no answer also where the user may not ask.
pub async fn update_stream(client: &impl Asks, stream: &str, config: &Value) -> Result<(), ApiError> {
    ask::<Value>(client, &format!("STREAM.UPDATE.{stream}"), config).await?;
    Ok(())
}

/// The stream as its leader says, which may not know of it yet.
pub(crate) async fn info_once_made(client: &impl Asks, stream: &str) -> Result<StreamInfo, ApiError> {
    let not_yet = |error: &ApiError| error.has_code(code::STREAM_NOT_FOUND);
    ask_again(not_yet, || stream_info(client, stream)).await
}
