//! One publish of a commit; what its answer means stands in [`citycode_jetstream::publish`].

use async_nats::HeaderMap;
use bytes::Bytes;
use citycode_event_store::{BucketId, MessageId, Revision};
use data_encoding::BASE64URL_NOPAD;

use crate::log_client::LogClient;
use crate::names;
pub(crate) use citycode_jetstream::publish::Published;

/// Publishes once. The expectation is always sent, 0 too: without it the server checks nothing.
pub(crate) async fn publish(
    log: &LogClient,
    bucket: BucketId,
    id: &MessageId,
    expected: Revision,
    bytes: Bytes,
) -> Published {
    let mut headers = headers(id, expected);
    log.probes.put(bucket.partition, &mut headers);
    citycode_jetstream::publish::publish(&log.client, names::subject(bucket), headers, bytes).await
}

/// What every publish says: its message id, and where it expects its bucket.
pub(crate) fn headers(id: &MessageId, expected: Revision) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", BASE64URL_NOPAD.encode(&id.0));
    headers.insert("Nats-Expected-Last-Subject-Sequence", expected.to_raw().to_string());
    headers
}
