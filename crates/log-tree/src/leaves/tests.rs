use std::borrow::Cow;

use bytes::Bytes;
use citycode_domain::event::{
    CodeIssued, CodeReportedLost, EligibilityGround, HolderErased, HolderRegistered, RelationshipEnded, Sealed, Slot,
};
use citycode_domain::ids::{ClaimsDigest, CodeId, CodeKind, HolderId, KeyId, ListId, StatusRef};
use citycode_domain::standing::Standing;
use citycode_domain::time::Timestamp;
use citycode_event_store::{
    BucketId, CommandId, CommitHash, EventData, ForeignMessage, MessageId, NewCommit, Partition, Position,
    RequestDigest, Revision, StreamName, heartbeat,
};

use super::*;

fn code(number: u8) -> CodeRef {
    CodeRef {
        slot: Slot {
            kind: CodeKind::new(1).expect("a kind"),
            guardian: None,
        },
        code_id: CodeId([number; 8]),
        status: StatusRef {
            list: ListId(7),
            index: u32::from(number),
        },
    }
}

fn issued(supersedes: Option<CodeRef>) -> Event {
    Event::CodeIssued(CodeIssued {
        code: code(1),
        issued_at: Timestamp(1_661_990_400),
        expires_at: Timestamp(1_662_595_200),
        supersedes,
        standing: Standing::Green,
        ground: EligibilityGround::Everyone,
        acting_guardian: None,
        key_id: KeyId([9; 4]),
        claims_digest: ClaimsDigest([8; 32]),
        sealed_token: Sealed(vec![1, 2, 3]),
    })
}

fn recorded(stream: StreamName, events: Vec<EventData>) -> RecordedCommit {
    let position = Position::new(3, 1_234);
    RecordedCommit {
        position,
        bucket: BucketId {
            partition: position.partition,
            bucket: 5,
        },
        revision: Revision::from_raw(1_234),
        previous_hash: CommitHash::NONE,
        hash: CommitHash(std::array::from_fn(|at| u8::try_from(at).expect("small"))),
        commit: NewCommit {
            stream,
            events,
            message_id: MessageId([0; 32]),
            request_digest: RequestDigest([0; 32]),
            command_id: CommandId([0; 16]),
            actor: "test".into(),
            causation_id: None,
            correlation_id: None,
            decided_at: 1_662_000_000,
            trace_context: None,
        },
        foreign: None,
    }
}

fn commit(events: &[Event]) -> RecordedCommit {
    let data = events.iter().map(|event| {
        let (event_type, version, payload) = citycode_wire::event::encode(event);
        EventData {
            event_type: Cow::Borrowed(event_type),
            version,
            payload: payload.into(),
        }
    });
    recorded(StreamName::new("holder").expect("a stream"), data.collect())
}

fn foreign() -> RecordedCommit {
    let message = ForeignMessage::of(b"no commit", "it is not one");
    let bucket = BucketId {
        partition: Partition(3),
        bucket: 5,
    };
    RecordedCommit::of_foreign(Position::new(3, 1_234), bucket, message)
}

fn hex(hashes: &[Hash]) -> Vec<String> {
    let hex = |hash: &Hash| hash.0.iter().map(|byte| format!("{byte:02x}")).collect();
    hashes.iter().map(hex).collect()
}

fn of(commit: &RecordedCommit) -> Vec<String> {
    hex(&leaf_hashes(commit).expect("leaves"))
}

/// Never edit: trees that are published depend on these leaves. They were computed with Python's hashlib from the formats
/// in the documentation of this module and of `citycode_transparency::leaf`.
#[test]
fn the_leaves_of_version_1_never_change() {
    let registered = Event::HolderRegistered(HolderRegistered {
        holder: HolderId([4; 16]),
    });
    assert_eq!(
        of(&commit(&[registered, issued(Some(code(2)))])),
        [
            "0f9315219f10dce6a4f7f205fa9b24a9dfd2f338ad6a5fe1e482ac2cf84b4ffd",
            "a3343334125f088c0c0b826c84eef07ff3768996bc40b8e47271b8ddbc6a81df"
        ]
    );
    let ended = Event::RelationshipEnded(RelationshipEnded {
        guardian: HolderId([5; 16]),
        codes: vec![code(1), code(2), code(3)],
    });
    assert_eq!(
        of(&commit(&[ended])),
        ["77039d1328e30cd4e59cf6109cd879ce94e52b7a2f7015e13dff1306a9693ae8"]
    );
    let heartbeat = EventData {
        event_type: Cow::Borrowed("Watermark"),
        version: 1,
        payload: Bytes::new(),
    };
    assert_eq!(
        of(&recorded(heartbeat::stream(Partition(3)), vec![heartbeat])),
        ["b731af504db1101fa385440c5397243436eb1e6fdd9c6f416cc642a5b23405ae"]
    );
    assert_eq!(
        of(&foreign()),
        ["4586502ed39bcee980d3ebcf40d899379af7db61997c2a95f5cefb2e41335a53"]
    );
}

#[test]
fn births_and_deaths_are_stated_and_nothing_else() {
    let stated = |event| -> Vec<([u8; 8], bool)> {
        let statements = statements(&event, 5);
        let said = statements.iter().map(|statement| match statement.act {
            Act::Issued { .. } => (statement.code_id, true),
            Act::Died { at, .. } => {
                assert_eq!(at, 5);
                (statement.code_id, false)
            }
        });
        said.collect()
    };
    assert_eq!(stated(issued(None)), [([1; 8], true)]);
    assert_eq!(stated(issued(Some(code(2)))), [([1; 8], true), ([2; 8], false)]);
    let lost = CodeReportedLost {
        code: code(1),
        acting_guardian: None,
    };
    assert_eq!(stated(Event::CodeReportedLost(lost)), [([1; 8], false)]);
    let erased = HolderErased {
        codes: vec![code(1), code(2)],
        by_officer: false,
    };
    assert_eq!(stated(Event::HolderErased(erased)), [([1; 8], false), ([2; 8], false)]);
}

#[test]
fn a_message_that_is_no_commit_has_the_same_leaf_however_a_follower_presents_it() {
    let message = foreign();
    let mut as_heartbeat = message.clone();
    as_heartbeat.foreign = None;
    as_heartbeat.commit.stream = heartbeat::stream(Partition(3));
    assert_eq!(of(&as_heartbeat), of(&message));
    assert_eq!(open_statement(&message, |_| true), Ok(None));
}

#[test]
fn an_unknown_event_has_no_leaf() {
    let mut commit = commit(&[issued(None)]);
    commit.commit.events[0].version = 9;
    assert!(matches!(leaf_hashes(&commit), Err(SplitError::Event(_))));
    commit.commit.events[0].event_type = "CodeBlessed".into();
    assert!(matches!(leaf_hashes(&commit), Err(SplitError::Event(_))));
}
