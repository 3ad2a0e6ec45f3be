//! Tests of the status projection by rule number.

mod lists;
mod secrets_and_hashes;

use std::collections::HashSet;

use citycode_domain::event::{
    CodeIssued, CodeRef, CodeReinstated, CodeReportedLost, CodeRevoked, CodeSuspended, EligibilityGround, Event,
    HolderErased, IndexBlockLeased, IndexRangeRevoked, RelationshipEnded, Sealed, Slot, StandingChanged,
};
use citycode_domain::ids::{ClaimsDigest, CodeId, CodeKind, HolderId, KeyId, ListFacts, ListId, Position, StatusRef};
use citycode_domain::standing::Standing;
use citycode_domain::status::{Death, Life, Status};
use citycode_domain::time::Timestamp;
use citycode_log_position::{BucketTail, CommitHash, Revision};

use super::*;
use crate::LogIdentity;
use crate::commit::{ApplyError, Commit};

const NOW: Timestamp = Timestamp(1_790_000_000);
const EXPIRY: Timestamp = Timestamp(1_790_000_000 + 30 * 86_400);
const HOLDER: HolderId = HolderId([3; 16]);
const IDENTITY: LogIdentity = LogIdentity {
    log_id: [7; 16],
    partitions: 2,
    buckets_per_partition: 64,
    hash_version: 1,
};

fn list(partition: u8) -> ListId {
    let kind = CodeKind::new(3).expect("3 is a kind");
    ListId::new(partition, kind, EXPIRY, 0).expect("the expiry fits")
}

fn retirement(list: ListId) -> Timestamp {
    ListFacts::of_version_1(list).expect("the name encodes it").retires_at
}

fn code(index: u32) -> CodeRef {
    CodeRef {
        slot: Slot {
            kind: CodeKind::new(3).expect("3 is a kind"),
            guardian: None,
        },
        code_id: CodeId(u64::from(index).to_be_bytes()),
        status: StatusRef { list: list(0), index },
    }
}

fn digest(index: u32) -> ClaimsDigest {
    let mut digest = [0xA5; 32];
    digest[..4].copy_from_slice(&index.to_le_bytes());
    ClaimsDigest(digest)
}

fn issued(code: CodeRef, supersedes: Option<CodeRef>, standing: Standing) -> Event {
    Event::CodeIssued(CodeIssued {
        code,
        issued_at: NOW,
        expires_at: EXPIRY,
        supersedes,
        standing,
        ground: EligibilityGround::Everyone,
        acting_guardian: None,
        key_id: KeyId([1; 4]),
        claims_digest: digest(code.status.index),
        sealed_token: Sealed::default(),
    })
}

fn commit(sequence: u64, events: &[Event]) -> Commit<'_> {
    Commit {
        position: Position::new(0, sequence),
        decided_at: NOW.plus_seconds(sequence as i64),
        holder: Some(HOLDER),
        bucket: 0,
        tail: BucketTail {
            revision: Revision::from_raw(sequence),
            hash: CommitHash([0; 32]),
        },
        message_id_prefix: 0,
        events,
    }
}

fn projection() -> (StatusWriter, StatusReader) {
    new(2, FingerprintKey([42; 16]))
}

fn fold(writer: &mut StatusWriter, events: &[Event]) -> Vec<Alarm> {
    let next = writer.point(0).expect("partition 0 is there").sequence + 1;
    writer.apply(&commit(next, events)).expect("the next commit fits")
}

fn status(reader: &StatusReader, index: u32) -> Status {
    reader.lookup(code(index).status, &digest(index)).status
}

const fn issued_status(life: Life, standing: Standing) -> Status {
    Status::Issued { life, standing }
}

const GREEN: Status = issued_status(Life::Valid, Standing::Green);

#[test]
fn r04_a_reissue_ends_the_old_code_in_the_commit_of_the_new_one() {
    let (mut writer, reader) = projection();
    fold(&mut writer, &[issued(code(1), None, Standing::Green)]);
    let issue = issued(code(2), Some(code(1)), Standing::Green);
    assert_eq!(fold(&mut writer, &[issue]), []);
    let dead = issued_status(Life::Dead(Death::Superseded), Standing::Green);
    assert_eq!((status(&reader, 1), status(&reader, 2)), (dead, GREEN));
    let answer = reader.lookup(code(2).status, &digest(2));
    assert_eq!((answer.sequence, answer.reaches), (2, NOW.plus_seconds(2)));
}

#[test]
fn r14_r17_r22_r28_every_end_of_a_code_shows_its_reason() {
    let (mut writer, reader) = projection();
    let issues: Vec<_> = (0..4).map(|index| issued(code(index), None, Standing::Green)).collect();
    fold(&mut writer, &issues);
    let deaths = [
        Event::CodeReportedLost(CodeReportedLost {
            code: code(0),
            acting_guardian: None,
        }),
        Event::CodeRevoked(CodeRevoked {
            code: code(1),
            reason: Sealed::default(),
        }),
        Event::RelationshipEnded(RelationshipEnded {
            guardian: HolderId([9; 16]),
            codes: vec![code(2)],
        }),
        Event::HolderErased(HolderErased {
            codes: vec![code(3)],
            by_officer: false,
        }),
    ];
    for death in deaths {
        assert_eq!(fold(&mut writer, &[death]), []);
    }
    let dead = |death| issued_status(Life::Dead(death), Standing::Green);
    assert_eq!(status(&reader, 0), dead(Death::ReportedLost));
    for index in 1..4 {
        assert_eq!(status(&reader, index), dead(Death::Revoked), "code {index}");
    }
}

#[test]
fn r21_a_standing_applies_to_every_named_code_and_the_id_card() {
    let (mut writer, reader) = projection();
    let issues = [
        issued(code(1), None, Standing::Green),
        issued(code(2), None, Standing::Green),
        issued(code(3), None, Standing::Green),
    ];
    fold(&mut writer, &issues);
    let change = |standing| {
        Event::StandingChanged(StandingChanged {
            standing,
            codes: vec![code(1), code(2)],
            reason: Sealed::default(),
        })
    };
    fold(&mut writer, &[change(Standing::Red)]);
    let red = issued_status(Life::Valid, Standing::Red);
    assert_eq!((status(&reader, 1), status(&reader, 2)), (red, red));
    assert_eq!(status(&reader, 3), GREEN);
    assert_eq!(reader.standing_of(HOLDER), Standing::Red);
    assert_eq!(reader.standing_of(HolderId([8; 16])), Standing::Green);
    fold(&mut writer, &[issued(code(4), None, Standing::Red)]);
    assert_eq!(status(&reader, 4), red, "issued with it");
    fold(&mut writer, &[change(Standing::Green)]);
    assert_eq!((status(&reader, 1), status(&reader, 2)), (GREEN, GREEN));
    assert_eq!(reader.standing_of(HOLDER), Standing::Green);
    fold(&mut writer, &[change(Standing::Yellow)]);
    assert_eq!(reader.standing_of(HOLDER), Standing::Yellow);
    let erased = Event::HolderErased(HolderErased {
        codes: Vec::new(),
        by_officer: true,
    });
    fold(&mut writer, &[erased]);
    assert_eq!(reader.standing_of(HOLDER), Standing::Green, "nobody knows the person");
}

#[test]
fn r22_a_held_code_keeps_its_standing_and_is_reinstated() {
    let (mut writer, reader) = projection();
    fold(&mut writer, &[issued(code(1), None, Standing::Yellow)]);
    let hold = Event::CodeSuspended(CodeSuspended {
        code: code(1),
        reason: Sealed::default(),
    });
    fold(&mut writer, &[hold]);
    assert_eq!(status(&reader, 1), issued_status(Life::Suspended, Standing::Yellow));
    let lift = Event::CodeReinstated(CodeReinstated {
        slot: code(1).slot,
        code: Some(code(1)),
        reason: Sealed::default(),
    });
    fold(&mut writer, &[lift]);
    assert_eq!(status(&reader, 1), issued_status(Life::Valid, Standing::Yellow));
}

#[test]
fn r25_only_exactly_the_claims_of_the_log_are_known() {
    let (mut writer, reader) = projection();
    fold(&mut writer, &[issued(code(1), None, Standing::Green)]);
    let forged = reader.lookup(code(1).status, &digest(2));
    assert_eq!(forged.status, Status::OtherClaims);
    assert_eq!(status(&reader, 2), Status::NeverIssued);
    let elsewhere = StatusRef {
        list: list(77),
        index: 0,
    };
    let nowhere = reader.lookup(elsewhere, &digest(0));
    assert_eq!(nowhere.status, Status::NeverIssued);
    assert_eq!(nowhere.reaches, Timestamp(i64::MAX));
}

#[test]
fn r25_a_second_code_at_a_place_is_an_alarm_and_the_first_stays() {
    let (mut writer, reader) = projection();
    fold(&mut writer, &[issued(code(1), None, Standing::Green)]);
    let mut second = issued(code(1), None, Standing::Green);
    if let Event::CodeIssued(issued) = &mut second {
        issued.claims_digest = digest(9);
    }
    let alarm = [Alarm::IndexTakenTwice(code(1).status)];
    assert_eq!(fold(&mut writer, &[second.clone()]), alarm);
    assert_eq!(status(&reader, 1), GREEN);
    // Also within one commit.
    let twice = [5, 5].map(|index| issued(code(index), None, Standing::Green));
    assert_eq!(fold(&mut writer, &twice), [Alarm::IndexTakenTwice(code(5).status)]);
    assert_eq!(reader.alarm_count(), 2);
}

#[test]
fn a_protocol_violation_is_an_alarm_and_changes_nothing() {
    let (mut writer, reader) = projection();
    let lost = Event::CodeReportedLost(CodeReportedLost {
        code: code(7),
        acting_guardian: None,
    });
    assert_eq!(fold(&mut writer, &[lost]), [Alarm::CodeNeverIssued(code(7).status)]);
    let mut foreign = code(7);
    foreign.status.list = list(1);
    assert_eq!(
        fold(&mut writer, &[issued(foreign, None, Standing::Green)]),
        [Alarm::ListOfOtherPartition(foreign.status)]
    );
    let mut far = code(7);
    far.status.index = MAX_LIST_LEN;
    assert_eq!(
        fold(&mut writer, &[issued(far, None, Standing::Green)]),
        [Alarm::IndexOutOfRange(far.status)]
    );
    for status in [foreign.status, far.status, code(7).status] {
        assert_eq!(reader.lookup(status, &digest(7)).status, Status::NeverIssued);
    }
    let change = [Event::StandingChanged(StandingChanged {
        standing: Standing::Red,
        codes: Vec::new(),
        reason: Sealed::default(),
    })];
    let mut stray = commit(4, &change);
    stray.holder = None;
    assert_eq!(writer.apply(&stray), Ok(vec![Alarm::HolderMissing]));
    assert_eq!(reader.alarm_count(), 4);
}

#[test]
fn a_gap_a_duplicate_and_an_unknown_partition_are_refused_and_change_nothing() {
    let (mut writer, reader) = projection();
    fold(&mut writer, &[issued(code(1), None, Standing::Green)]);
    let issue = [issued(code(2), None, Standing::Green)];
    assert_eq!(
        writer.apply(&commit(3, &issue)),
        Err(ApplyError::Gap {
            partition: 0,
            sequence: 3,
            last: 1
        })
    );
    assert_eq!(
        writer.apply(&commit(1, &issue)),
        Err(ApplyError::AlreadyApplied {
            partition: 0,
            sequence: 1,
            last: 1
        })
    );
    let mut strange = commit(1, &issue);
    strange.position.partition.0 = 2;
    assert_eq!(
        writer.apply(&strange),
        Err(ApplyError::UnknownPartition {
            partition: 2,
            partitions: 2
        })
    );
    assert_eq!(status(&reader, 2), Status::NeverIssued);
    assert_eq!(reader.points()[0].sequence, 1);
}

#[test]
fn r30_a_published_list_shows_validity_but_no_standing() {
    let (mut writer, reader) = projection();
    let last = BLOCK_LEN * 2 + 5;
    fold(&mut writer, &[issued(code(0), None, Standing::Red)]);
    fold(&mut writer, &[issued(code(1), None, Standing::Green)]);
    fold(&mut writer, &[issued(code(last), None, Standing::Green)]);
    fold(
        &mut writer,
        &[Event::CodeSuspended(CodeSuspended {
            code: code(1),
            reason: Sealed::default(),
        })],
    );
    let bits = reader.export_two_bit(list(0));
    assert_eq!(bits, writer.export_two_bit(list(0)));
    assert_eq!(bits.len(), BLOCK_LEN as usize * 3 / 4);
    let at = |index: u32| (bits[index as usize / 4] >> (index % 4 * 2)) & 3;
    assert_eq!((at(0), at(1), at(2), at(last)), (0, 2, 1, 0));
    assert_eq!(at(BLOCK_LEN + 1), 1, "a block without codes");
    assert_eq!(reader.export_two_bit(list(1)), []);
}

#[test]
fn a_list_retires_when_its_last_code_has_expired_and_not_before() {
    let (mut writer, reader) = projection();
    fold(&mut writer, &[issued(code(1), None, Standing::Green)]);
    let end = retirement(list(0));
    assert_eq!(writer.retire(end.plus_seconds(-1)), []);
    assert_eq!(status(&reader, 1), GREEN);
    assert_eq!(writer.retire(end), [list(0)]);
    assert_eq!(status(&reader, 1), Status::NeverIssued);
    assert_eq!((reader.lists(), reader.allocated_places()), (vec![], 0));
    // A replay may deliver its codes again; they neither reappear nor raise alarms.
    let late = issued(code(2), Some(code(1)), Standing::Green);
    assert_eq!(fold(&mut writer, &[late]), []);
    assert_eq!(reader.allocated_places(), 0);
}

#[test]
fn a_list_retires_two_days_after_its_codes_by_the_clock_and_by_the_log() {
    let (mut writer, reader) = projection();
    let saved = |writer: &StatusWriter| {
        let mut bytes = Vec::new();
        let saved = writer.save(&IDENTITY, &mut bytes);
        saved.expect("memory takes everything");
        bytes
    };
    fold(&mut writer, &[issued(code(1), None, Standing::Green)]);
    let before = saved(&writer);
    let due = retirement(list(0)).plus_seconds(2 * 86_400);
    assert_eq!(writer.retire_long_expired(due), [], "the log has an earlier time");
    assert!(!reader.is_retired(list(0)));
    assert_eq!(saved(&writer), before, "without a retirement nothing changes");
    let late = Commit {
        decided_at: due,
        ..commit(2, &[])
    };
    writer.apply(&late).expect("the next commit fits");
    assert_eq!(writer.retire_long_expired(due.plus_seconds(-1)), []);
    assert_eq!(writer.retire_long_expired(due), [list(0)]);
    assert!(reader.is_retired(list(0)));
    assert_eq!(writer.retired_through(), retirement(list(0)));
    let (loaded, reader) = load(&IDENTITY, &saved(&writer)[..]).expect("just saved");
    assert!(reader.is_retired(list(0)));
    assert_eq!(loaded.retired_through(), retirement(list(0)));
}

fn lease(list: ListId, partition: u16) -> IndexBlockLeased {
    let kind = CodeKind::new(3).expect("3 is a kind");
    IndexBlockLeased {
        list,
        facts: ListFacts::for_code(partition, kind, EXPIRY).expect("the expiry fits"),
        counter: Some(0),
        first_index: 0,
        count: BLOCK_LEN,
    }
}

#[test]
fn a_version_2_list_is_known_from_its_lease_also_after_retirement_and_restart() {
    let (mut writer, reader) = projection();
    let named = ListId::from_number(0x0A5_1234).expect("28 bits");
    let code = CodeRef {
        status: StatusRef { list: named, index: 5 },
        ..code(5)
    };
    let answer = |reader: &StatusReader| reader.lookup(code.status, &digest(5));
    assert_eq!(
        (answer(&reader).status, answer(&reader).partition),
        (Status::NeverIssued, None)
    );
    let never_leased = fold(&mut writer, &[issued(code, None, Standing::Green)]);
    assert_eq!(never_leased, [Alarm::ListOfOtherPartition(code.status)]);
    assert_eq!(answer(&reader).status, Status::NeverIssued);

    let first = lease(named, 0);
    assert_eq!(fold(&mut writer, &[Event::IndexBlockLeased(first)]), []);
    assert_eq!(reader.facts(named), Some(first.facts));
    assert_eq!(answer(&reader).partition, Some(0));
    assert_eq!(reader.lists(), [], "no code was issued in it");
    assert_eq!(fold(&mut writer, &[issued(code, None, Standing::Green)]), []);
    assert_eq!(answer(&reader).status, GREEN);
    assert_eq!(reader.lists(), [named]);

    let contradiction = IndexBlockLeased {
        facts: ListFacts {
            retires_at: EXPIRY.plus_seconds(90 * 86_400),
            ..first.facts
        },
        first_index: BLOCK_LEN,
        ..first
    };
    let alarms = fold(&mut writer, &[Event::IndexBlockLeased(contradiction)]);
    assert_eq!(alarms, [Alarm::LeasedAsAnother(named)]);
    let elsewhere = lease(ListId::from_number(7).expect("28 bits"), 1);
    let alarms = fold(&mut writer, &[Event::IndexBlockLeased(elsewhere)]);
    assert_eq!(alarms, [Alarm::LeaseOfOtherPartition(elsewhere.list)]);

    assert_eq!(writer.retire(first.facts.retires_at), [named]);
    assert!(reader.is_retired(named));
    let mut saved = Vec::new();
    writer.save(&IDENTITY, &mut saved).expect("memory takes everything");
    let (mut writer, reader) = load(&IDENTITY, &saved[..]).expect("just saved");
    assert!(reader.is_retired(named));
    assert_eq!(reader.facts(named), Some(first.facts), "a retired name stays known");
    assert_eq!(answer(&reader).status, Status::NeverIssued);
    let late = CodeRef {
        status: StatusRef { list: named, index: 6 },
        ..code
    };
    let alarms = fold(&mut writer, &[issued(late, Some(code), Standing::Green)]);
    assert_eq!(alarms, [], "late events of a replay about it are ignored");
}

/// Readers watch one holder's code being reissued repeatedly. Generation `n` is issued by commit `n + 1`.
#[test]
fn r03_r04_no_reader_sees_two_valid_codes_or_an_inconsistent_position() {
    const GENERATIONS: u32 = 20_000;
    let (mut writer, reader) = projection();
    fold(&mut writer, &[issued(code(0), None, Standing::Green)]);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            let reader = reader.clone();
            scope.spawn(move || watch(&reader, GENERATIONS));
        }
        for new in 1..=GENERATIONS {
            let issue = issued(code(new), Some(code(new - 1)), Standing::Green);
            assert_eq!(fold(&mut writer, &[issue]), []);
        }
    });
}

#[test]
fn places_of_lost_commits_are_revoked_and_known_codes_stay() {
    let (mut writer, reader) = projection();
    let valid = issued(code(5), None, Standing::Green);
    assert_eq!(fold(&mut writer, &[valid]), []);
    let range = Event::IndexRangeRevoked(IndexRangeRevoked {
        list: list(0),
        first_index: 0,
        count: BLOCK_LEN + 10,
    });
    assert_eq!(fold(&mut writer, &[range]), []);
    let revoked = issued_status(Life::Dead(Death::Revoked), Standing::Green);
    let mut bytes = Vec::new();
    writer.save(&IDENTITY, &mut bytes).expect("saved");
    let (_, loaded) = load(&IDENTITY, bytes.as_slice()).expect("loaded");
    for reader in [&reader, &loaded] {
        assert_eq!(reader.lookup(code(5).status, &digest(5)).status, GREEN);
        for lost in [0, 4, 6, BLOCK_LEN, BLOCK_LEN + 9] {
            for claims in [lost, lost + 1] {
                let answer = reader.lookup(code(lost).status, &digest(claims));
                assert_eq!(answer.status, revoked, "place {lost}");
            }
        }
        let past = reader.lookup(code(BLOCK_LEN + 10).status, &digest(1)).status;
        assert_eq!(past, Status::NeverIssued, "past the range");
        let list = reader.export_two_bit(list(0));
        assert_eq!(
            (list[1], list[0]),
            (0b0101_0001, 0b0101_0101),
            "places 4 to 7, and 0 to 3"
        );
    }
    let late_issue = issued(code(6), None, Standing::Green);
    let alarms = fold(&mut writer, &[late_issue]);
    assert_eq!(alarms, [Alarm::IndexTakenTwice(code(6).status)]);
    assert_eq!(reader.lookup(code(6).status, &digest(6)).status, revoked);
}

fn watch(reader: &StatusReader, last: u32) {
    let mut seen = 0;
    loop {
        let point = reader.point(0).expect("partition 0 is there").sequence;
        // The newest generation that this reader knows, and the one that will supersede it.
        let generation = (point - 1) as u32;
        for asked in [generation, generation + 1, generation.saturating_sub(1)] {
            let answer = reader.lookup(code(asked).status, &digest(asked));
            assert!(answer.sequence >= seen, "a position went back");
            seen = answer.sequence;
            let newest = (answer.sequence - 1) as u32;
            let expected = match asked.cmp(&newest) {
                std::cmp::Ordering::Less => issued_status(Life::Dead(Death::Superseded), Standing::Green),
                std::cmp::Ordering::Equal => GREEN,
                std::cmp::Ordering::Greater => Status::NeverIssued,
            };
            assert_eq!(answer.status, expected, "code {asked} at {newest}");
        }
        if seen > u64::from(last) {
            return;
        }
    }
}
