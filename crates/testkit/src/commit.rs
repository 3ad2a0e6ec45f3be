//! Events and commits for logs that a test writes itself.

use std::collections::HashMap;

use citycode_domain::event::{CodeIssued, CodeRef, EligibilityGround, Event, Sealed, Slot};
use citycode_domain::ids::{ClaimsDigest, CodeId, CodeKind, KeyId, ListId, StatusRef};
use citycode_domain::standing::Standing;
use citycode_domain::time::Timestamp;
use citycode_event_store::{
    AppendOutcome, BucketId, BucketTail, CommandId, EventData, EventStore, LogPosition, MessageId, NewCommit,
    RequestDigest, StreamName, SubscriptionMessage,
};

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

/// Commits of one call of [`append_all`].
const GROUP: usize = 1_000;

/// Appends many commits after the existing ones, in groups of one commit for each bucket, because the next one expects
/// its tail. Commits of the same bucket keep their order. Nobody else may append to these buckets meanwhile.
///
/// # Panics
/// If the log cannot be read, or an append does not succeed.
pub async fn append_all(log: &dyn EventStore, commits: Vec<NewCommit>) {
    let mut tails = tails_of(log).await;
    let mut waiting = commits;
    while !waiting.is_empty() {
        let (mut group, mut later) = (HashMap::new(), Vec::new());
        for commit in waiting {
            let bucket = log.layout().bucket_of(&commit.stream);
            if group.len() < GROUP && !group.contains_key(&bucket) {
                let tail = tails.get(&bucket).copied().unwrap_or(BucketTail::EMPTY);
                group.insert(bucket, (commit, tail));
            } else {
                later.push(commit);
            }
        }
        let (buckets, appends): (Vec<_>, Vec<_>) = group.into_iter().unzip();
        for (bucket, answer) in buckets.into_iter().zip(log.append_many(appends).await) {
            let Ok(AppendOutcome::Appended { revision, hash, .. }) = answer else {
                panic!("{answer:?}");
            };
            tails.insert(bucket, BucketTail { revision, hash });
        }
        waiting = later;
    }
}

/// The tails of all buckets with commits.
async fn tails_of(log: &dyn EventStore) -> HashMap<BucketId, BucketTail> {
    let start = LogPosition::start(log.layout().partitions());
    let mut subscription = log.subscribe_to_all(start).await.expect("it starts");
    let mut tails = HashMap::new();
    loop {
        match subscription.next().await.expect("a message") {
            SubscriptionMessage::EventAppeared(commit) => {
                tails.insert(commit.bucket, commit.tail());
            }
            SubscriptionMessage::CaughtUp(_) => return tails,
            SubscriptionMessage::FellBehind(_) => {}
        }
    }
}
