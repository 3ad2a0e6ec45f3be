//! Commits for logs that a test writes itself.

use citycode_domain::event::Event;
use citycode_event_store::{CommandId, EventData, MessageId, NewCommit, RequestDigest, StreamName};

/// A commit of one event, decided at `decided_at` (Unix seconds); `number` determines its message id.
#[must_use]
pub fn commit_of(stream: StreamName, event: &Event, number: u64, decided_at: i64) -> NewCommit {
    let (event_type, version, payload) = citycode_wire::event::encode(event);
    let mut id = [0; 32];
    id[..8].copy_from_slice(&number.to_be_bytes());
    NewCommit {
        stream,
        events: vec![EventData {
            event_type: event_type.into(),
            version,
            payload: payload.into(),
        }],
        message_id: MessageId(id),
        request_digest: RequestDigest([0; 32]),
        command_id: CommandId([0; 16]),
        actor: "test".into(),
        causation_id: None,
        correlation_id: None,
        decided_at,
        trace_context: None,
    }
}
