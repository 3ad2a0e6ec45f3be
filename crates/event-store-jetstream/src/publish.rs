//! One publish of a commit. [`citycode_jetstream::publish`] defines the meaning of its answers.

use async_nats::HeaderMap;
use bytes::Bytes;
use citycode_event_store::{BucketId, MessageId, Revision};
use citycode_jetstream::Client;
use data_encoding::BASE64URL_NOPAD;

use crate::names;
use crate::probes::Probes;
pub(crate) use citycode_jetstream::publish::Published;

/// An append as it is published.
#[derive(Clone)]
pub(crate) struct Message {
    pub(crate) bucket: BucketId,
    pub(crate) id: MessageId,
    pub(crate) expected: Revision,
    pub(crate) bytes: Bytes,
}

impl Message {
    /// The message id and the expected revision. The expectation is always sent, even 0: without the header the server
    /// checks nothing.
    pub(crate) fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", BASE64URL_NOPAD.encode(&self.id.0));
        headers.insert(
            "Nats-Expected-Last-Subject-Sequence",
            self.expected.to_raw().to_string(),
        );
        headers
    }
}

/// Publishes once, with the nonces that the partition owes.
pub(crate) async fn publish(client: &Client, probes: &Probes, message: Message) -> Published {
    let mut headers = message.headers();
    probes.put(message.bucket.partition, &mut headers);
    citycode_jetstream::publish::publish(client, names::subject(message.bucket), headers, message.bytes).await
}
