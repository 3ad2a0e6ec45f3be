//! Events and commits for logs that a test writes itself.

use citycode_domain::event::{CodeIssued, CodeRef, EligibilityGround, Event, Sealed, Slot};
use citycode_domain::ids::{ClaimsDigest, CodeId, CodeKind, KeyId, ListId, StatusRef};
use citycode_domain::standing::Standing;
use citycode_domain::time::Timestamp;
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

/// The code at an index of the first list of its partition, kind and expiry, without a guardian. The index determines
/// its id.
///
/// # Panics
/// If the expiry does not fit into the name of a list of version 1.
#[must_use]
pub fn code_at(partition: u8, kind: CodeKind, expires_at: Timestamp, index: u32) -> CodeRef {
    CodeRef {
        slot: Slot { kind, guardian: None },
        code_id: CodeId(u64::from(index).to_le_bytes()),
        status: StatusRef {
            list: ListId::new(partition, kind, expires_at, 0).expect("the expiry fits"),
            index,
        },
    }
}

/// The issue of a green code to a person who needs no ground for it: the first of its slot, without a token. Its digest
/// of claims is derived from the code's id.
#[must_use]
pub fn code_issued(code: CodeRef, issued_at: Timestamp, expires_at: Timestamp) -> CodeIssued {
    let id = code.code_id.0;
    CodeIssued {
        code,
        issued_at,
        expires_at,
        supersedes: None,
        standing: Standing::Green,
        ground: EligibilityGround::Everyone,
        acting_guardian: None,
        key_id: KeyId([1; 4]),
        claims_digest: ClaimsDigest(std::array::from_fn(|at| id[at % id.len()])),
        sealed_token: Sealed::default(),
    }
}
