//! Tests of foreign messages in both projections: which bucket is confined, until when, and how many are accepted.

use citycode_domain::event::{Event, ForeignMessageDeclared};
use citycode_domain::ids::{HolderId, Position};
use citycode_domain::time::Timestamp;
use citycode_log_position::{BucketTail, CommitHash, Revision};

use super::*;
use crate::commit::{ApplyError, Commit};
use crate::status::{Alarm, FingerprintKey, StatusWriter};

const BUCKET: u16 = 7;
const DIGEST: [u8; 32] = [9; 32];

fn message(bucket: u16) -> ForeignMessage {
    ForeignMessage {
        bucket,
        digest: DIGEST,
        declared: false,
    }
}

fn at(sequence: u64) -> Position {
    Position::new(1, sequence)
}

/// Both projections of a log with two partitions.
fn projections() -> (StatusWriter, HolderRegister) {
    (crate::status::new(2, FingerprintKey([1; 16])).0, HolderRegister::new(2))
}

/// A commit of partition 1 that declares a message.
fn declaration(sequence: u64, digest: [u8; 32]) -> Event {
    Event::ForeignMessageDeclared(ForeignMessageDeclared {
        sequence,
        digest,
        reason: "a test".to_owned(),
    })
}

fn commit(sequence: u64, bucket: u16, events: &[Event]) -> Commit<'_> {
    Commit {
        position: at(sequence),
        decided_at: Timestamp(1_000),
        holder: None,
        bucket,
        tail: BucketTail {
            revision: Revision::from_raw(sequence),
            hash: CommitHash([3; 32]),
        },
        message_id_prefix: 0,
        events,
    }
}

#[test]
fn a_bucket_is_confined_from_its_first_foreign_message_until_all_are_declared() {
    let (mut status, register) = projections();
    for sequence in 1..=3 {
        let bucket = if sequence == 2 { BUCKET + 1 } else { BUCKET };
        assert_eq!(status.apply_foreign(at(sequence), message(bucket)), Ok(()));
        assert_eq!(register.apply_foreign(at(sequence), message(bucket)), Ok(()));
    }
    assert_eq!(register.confining(1, BUCKET), Some(1));
    assert_eq!(register.confining(1, BUCKET + 1), Some(2));
    assert_eq!(register.confining(1, BUCKET + 2), None);
    assert_eq!(register.confining(0, BUCKET), None, "another partition");
    assert_eq!(register.confined(1), Some(vec![BUCKET, BUCKET + 1]));
    assert_eq!((register.confined(0), register.confined(2)), (Some(vec![]), None));
    assert_eq!(status.foreign(1).map(ForeignMessages::undeclared), Some(3));
    assert_eq!(status.foreign(0).map(ForeignMessages::undeclared), Some(0));

    for (sequence, declared, left) in [(4, 1, Some(3)), (5, 3, None)] {
        let events = [declaration(declared, DIGEST)];
        let commit = commit(sequence, BUCKET, &events);
        assert_eq!(status.apply(&commit), Ok(vec![]));
        assert_eq!(register.apply(&commit), Ok(()));
        assert_eq!(register.confining(1, BUCKET), left);
        let known = status.foreign(1).expect("partition 1");
        assert_eq!(known.confining(BUCKET), left);
        assert!(known.at(declared).is_some_and(|message| message.declared));
    }
    assert_eq!(register.confined(1), Some(vec![BUCKET + 1]));
    assert_eq!(status.foreign(1).map(ForeignMessages::undeclared), Some(1));
}

#[test]
fn a_declaration_counts_only_for_exactly_its_message() {
    let wrong = [(BUCKET, 1, [8; 32]), (BUCKET + 1, 1, DIGEST), (BUCKET, 2, DIGEST)];
    for (bucket, sequence, digest) in wrong {
        let (mut status, register) = projections();
        assert_eq!(status.apply_foreign(at(1), message(BUCKET)), Ok(()));
        assert_eq!(register.apply_foreign(at(1), message(BUCKET)), Ok(()));
        let events = [declaration(sequence, digest)];
        let commit = commit(2, bucket, &events);
        assert_eq!(status.apply(&commit), Ok(vec![Alarm::NothingToDeclare(sequence)]));
        assert_eq!(register.apply(&commit), Ok(()));
        assert_eq!(register.confining(1, BUCKET), Some(1));
        assert_eq!(status.foreign(1).and_then(|foreign| foreign.confining(BUCKET)), Some(1));
    }
}

#[test]
fn a_foreign_message_moves_the_position_but_not_the_time() {
    let (mut status, register) = projections();
    let commit = commit(1, BUCKET, &[]);
    assert_eq!(status.apply(&commit), Ok(vec![]));
    assert_eq!(register.apply(&commit), Ok(()));
    assert_eq!(status.apply_foreign(at(2), message(BUCKET)), Ok(()));
    assert_eq!(register.apply_foreign(at(2), message(BUCKET)), Ok(()));
    for point in [status.point(1), register.point(1)] {
        let point = point.expect("partition 1");
        assert_eq!((point.sequence, point.reaches), (2, Timestamp(1_000)));
    }
    for sequence in [2, 4] {
        assert!(status.apply_foreign(at(sequence), message(BUCKET)).is_err());
        assert!(register.apply_foreign(at(sequence), message(BUCKET)).is_err());
    }
}

#[test]
fn a_partition_takes_at_most_65_536_foreign_messages() {
    let (mut status, register) = projections();
    let limit = MAX_FOREIGN_MESSAGES as u64;
    for sequence in 1..=limit {
        assert_eq!(status.apply_foreign(at(sequence), message(BUCKET)), Ok(()));
        assert_eq!(register.apply_foreign(at(sequence), message(BUCKET)), Ok(()));
    }
    let refused = Err(ApplyError::TooManyForeign { partition: 1 });
    assert_eq!(status.apply_foreign(at(limit + 1), message(BUCKET)), refused);
    assert_eq!(register.apply_foreign(at(limit + 1), message(BUCKET)), refused);
    assert_eq!(status.point(1).map(|point| point.sequence), Some(limit));
    assert_eq!(register.point(1).map(|point| point.sequence), Some(limit));
    // Commits still follow, such as the declarations.
    assert_eq!(status.apply(&commit(limit + 1, BUCKET, &[])), Ok(vec![]));
}

/// The section of one partition with messages at these sequences.
fn section(sequences: &[u64]) -> Vec<u8> {
    let mut bytes = u32::try_from(sequences.len()).expect("few").to_le_bytes().to_vec();
    for sequence in sequences {
        bytes.extend_from_slice(&sequence.to_le_bytes());
        bytes.extend_from_slice(&BUCKET.to_le_bytes());
        bytes.push(0);
        bytes.extend_from_slice(&DIGEST);
    }
    bytes
}

#[test]
fn saved_messages_must_ascend_and_be_within_the_limit() {
    let load = |sequences: &[u64]| ForeignMessages::load(&mut Input::new(&section(sequences)[..]));
    let loaded = load(&[2, 3, 9]).expect("they ascend");
    assert_eq!((loaded.undeclared(), loaded.confining(BUCKET)), (3, Some(2)));
    assert_eq!(loaded.at(9), Some(message(BUCKET)));
    for damaged in [[3, 2], [3, 3]] {
        assert!(matches!(load(&damaged), Err(LoadError::Damaged(_))), "{damaged:?}");
    }
    let limit = MAX_FOREIGN_MESSAGES as u64;
    let most: Vec<u64> = (1..=limit).collect();
    assert_eq!(
        load(&most).map(|messages| messages.undeclared()).expect("the limit"),
        MAX_FOREIGN_MESSAGES
    );
    let more: Vec<u64> = (1..=limit + 1).collect();
    assert!(matches!(load(&more), Err(LoadError::Damaged(_))));
}

/// What an old release folded stays unknown, however new the format in which it is saved again.
#[test]
fn a_snapshot_testifies_only_to_what_it_judged_itself() {
    let identity = LogIdentity {
        log_id: [5; 16],
        partitions: 2,
        buckets_per_partition: 16,
        hash_version: 1,
    };
    let (mut status, register) = projections();
    assert_eq!(status.apply(&commit(1, BUCKET, &[])), Ok(vec![]));
    assert_eq!(register.apply(&commit(1, BUCKET, &[])), Ok(()));
    assert_eq!(register.apply_foreign(at(2), message(BUCKET)), Ok(()));
    let seen =
        |file: &[u8], sequence| witness(&identity, std::io::Cursor::new(file), 1, sequence).expect("it is a snapshot");
    let mut file = Vec::new();
    status.save(&identity, &mut file).expect("memory takes everything");
    assert_eq!([seen(&file, 1), seen(&file, 2)], [Witness::Commit, Witness::NotReached]);
    status.ends_are_known = false;
    file.clear();
    status.save(&identity, &mut file).expect("memory takes everything");
    assert_eq!(
        [seen(&file, 1), seen(&file, 2)],
        [Witness::Unknown, Witness::NotReached]
    );
    file.clear();
    register.save(&identity, &mut file).expect("memory takes everything");
    assert_eq!([seen(&file, 1), seen(&file, 3)], [Witness::Commit, Witness::NotReached]);
    assert_eq!(seen(&file, 2), Witness::Foreign(message(BUCKET)));
    let holder = HolderId([1; 16]);
    assert_eq!(register.get(holder), None);
}
