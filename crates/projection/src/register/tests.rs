//! Tests of the register against the domain's own fold, and of the arena under growth.

use citycode_domain::event::{
    CodeIssued, CodeRef, CodeReinstated, CodeReportedLost, CodeRevoked, CodeSuspended, EligibilityGround, Event,
    HolderErased, HolderRegistered, RelationshipEnded, RelationshipRecorded, Sealed, Slot, StandingChanged,
};
use citycode_domain::ids::{ClaimsDigest, CodeId, CodeKind, HolderId, KeyId, ListId, Position, StatusRef};
use citycode_domain::lifecycle::HolderState;
use citycode_domain::standing::Standing;
use citycode_domain::time::Timestamp;
use citycode_log_position::{CommitHash, Revision};
use proptest::collection::vec;
use proptest::prelude::*;

use super::packing::Packed;
use super::*;
use crate::snapshot::LogIdentity;

const IDENTITY: LogIdentity = LogIdentity {
    log_id: [5; 16],
    partitions: 2,
    buckets_per_partition: 16,
    hash_version: 1,
};

fn holder(number: u8) -> HolderId {
    HolderId([number; 16])
}

fn any_i64() -> impl Strategy<Value = i64> {
    prop_oneof![1_700_000_000..1_900_000_000i64, Just(i64::from(u32::MAX)), any::<i64>()]
}

fn any_code() -> impl Strategy<Value = CodeRef> {
    let guardian = proptest::option::of(0..4u8);
    (1..=4u8, guardian, 0..6u64, any::<u32>(), any::<u32>()).prop_map(|(kind, guardian, code_id, list, index)| {
        CodeRef {
            slot: Slot {
                kind: CodeKind::new(kind).expect("1 to 4 are kinds"),
                guardian: guardian.map(holder),
            },
            code_id: CodeId(code_id.to_le_bytes()),
            status: StatusRef {
                list: ListId(list),
                index,
            },
        }
    })
}

fn any_standing() -> impl Strategy<Value = Standing> {
    prop_oneof![Just(Standing::Green), Just(Standing::Yellow), Just(Standing::Red)]
}

fn any_issued() -> impl Strategy<Value = Event> {
    let days = (1_700_000_000..1_900_000_000i64, 0..400i64).prop_map(|(issued, days)| (issued, issued + days * 86_400));
    let times = prop_oneof![days, (any_i64(), any_i64())];
    (any_code(), times).prop_map(|(code, (issued_at, expires_at))| {
        Event::CodeIssued(CodeIssued {
            code,
            issued_at: Timestamp(issued_at),
            expires_at: Timestamp(expires_at),
            supersedes: None,
            standing: Standing::Green,
            ground: EligibilityGround::Everyone,
            acting_guardian: None,
            key_id: KeyId([0; 4]),
            claims_digest: ClaimsDigest([0; 32]),
            sealed_token: Sealed::default(),
        })
    })
}

fn any_event() -> impl Strategy<Value = Event> {
    let reason = Sealed::default;
    let codes = || vec(any_code(), 0..3);
    let guardian = || (0..4u8).prop_map(holder);
    prop_oneof![
        6 => any_issued(),
        1 => Just(Event::HolderRegistered(HolderRegistered { holder: holder(9) })),
        2 => guardian().prop_map(|guardian| Event::RelationshipRecorded(RelationshipRecorded { guardian })),
        1 => (guardian(), codes()).prop_map(|(guardian, codes)| Event::RelationshipEnded(RelationshipEnded { guardian, codes })),
        1 => any_code().prop_map(|code| Event::CodeReportedLost(CodeReportedLost { code, acting_guardian: None })),
        1 => any_code().prop_map(move |code| Event::CodeRevoked(CodeRevoked { code, reason: reason() })),
        1 => any_code().prop_map(move |code| Event::CodeSuspended(CodeSuspended { code, reason: reason() })),
        1 => any_code().prop_map(move |code| Event::CodeReinstated(CodeReinstated { slot: code.slot, code: None, reason: reason() })),
        1 => (any_standing(), codes()).prop_map(move |(standing, codes)| Event::StandingChanged(StandingChanged { standing, codes, reason: reason() })),
        1 => codes().prop_map(|codes| Event::HolderErased(HolderErased { codes, by_officer: true })),
    ]
}

fn commit<'a>(sequence: u64, holder: HolderId, decided_at: i64, events: &'a [Event]) -> Commit<'a> {
    Commit {
        position: Position::new(1, sequence),
        decided_at: Timestamp(decided_at),
        holder: Some(holder),
        bucket: (sequence % 16) as u16,
        tail: BucketTail {
            revision: Revision::from_raw(sequence),
            hash: CommitHash([sequence as u8; 32]),
        },
        message_id_prefix: sequence as u32,
        events,
    }
}

fn saved(register: &HolderRegister) -> Vec<u8> {
    let mut bytes = Vec::new();
    register
        .save(&IDENTITY, &mut bytes)
        .expect("writing to memory cannot fail");
    bytes
}

/// The expected result of `dependents_of`, computed from the states.
fn dependents(model: &[HolderState], guardian: HolderId) -> Vec<HolderId> {
    let holders = model.iter().zip(0u8..);
    holders
        .filter(|(state, _)| state.guardians.contains(&guardian))
        .map(|(_, number)| holder(number + 100))
        .collect()
}

proptest! {
    #[test]
    fn the_register_equals_the_domains_fold_also_after_a_restart(
        commits in vec((0..5u8, any_i64(), vec(any_event(), 0..4)), 0..60)
    ) {
        let mut register = HolderRegister::new(2);
        let mut model = vec![HolderState::default(); 5];
        let mut counts = [0usize; 5];
        for (sequence, (number, decided_at, events)) in (1u64..).zip(&commits) {
            let commit = commit(sequence, holder(number + 100), *decided_at, events);
            prop_assert_eq!(register.apply(&commit), Ok(()));
            for event in events {
                model[usize::from(*number)].apply(event, commit.position, commit.decided_at);
            }
            counts[usize::from(*number)] += 1;
            if sequence % 20 == 0 {
                let bytes = saved(&register);
                register = HolderRegister::load(&IDENTITY, &bytes[..]).expect("it was just saved");
            }
        }
        for (number, state) in (0u8..).zip(&model) {
            let found = register.get(holder(number + 100));
            if counts[usize::from(number)] == 0 {
                prop_assert_eq!(found, None);
            } else {
                let (found, recent) = found.expect("a commit was folded");
                prop_assert_eq!(&found, state);
                prop_assert_eq!(recent.as_slice().len(), counts[usize::from(number)].min(RECENT_COMMANDS));
            }
        }
        for guardian in (0..4).map(holder) {
            let mut found = register.dependents_of(guardian);
            found.sort_unstable();
            prop_assert_eq!(found, dependents(&model, guardian));
        }
        let mut erased = register.erased();
        erased.sort_unstable();
        let gone = (0u8..).zip(&model).filter(|(_, state)| state.erased);
        prop_assert_eq!(erased, gone.map(|(number, _)| holder(number + 100)).collect::<Vec<_>>());
        prop_assert_eq!(register.point(1).map(|point| point.sequence), Some(commits.len() as u64));
    }

    #[test]
    fn any_bytes_can_be_unpacked_safely(bytes in vec(any::<u8>(), 0..200)) {
        let mut packed = Packed::default();
        if packed.unpack(&bytes).is_some() {
            // Accepted bytes are unambiguous: packing the result and unpacking it again yields the same.
            let mut again = Vec::new();
            packed.pack(&mut again);
            let mut copy = Packed::default();
            prop_assert_eq!(copy.unpack(&again), Some(()));
            prop_assert_eq!(copy, packed);
        }
    }
}

#[test]
fn only_the_last_commands_are_remembered() {
    let register = HolderRegister::new(2);
    for sequence in 1..=6 {
        let commit = commit(sequence, holder(1), 0, &[]);
        assert_eq!(register.apply(&commit), Ok(()));
    }
    let (_, recent) = register.get(holder(1)).expect("six commits were folded");
    assert_eq!(recent.as_slice(), [3, 4, 5, 6]);
    assert!(recent.may_contain(3) && !recent.may_contain(2));
}

/// A writer recorded a relationship for a guardian whom another one erased meanwhile, folded in either order.
#[test]
fn a_relationship_with_an_erased_guardian_is_found() {
    let (guardian, dependent) = (holder(1), holder(2));
    let erased = [Event::HolderErased(HolderErased {
        codes: Vec::new(),
        by_officer: true,
    })];
    let recorded = [Event::RelationshipRecorded(RelationshipRecorded { guardian })];
    for erased_first in [true, false] {
        let register = HolderRegister::new(2);
        let both: [(HolderId, &[Event]); 2] = if erased_first {
            [(guardian, &erased), (dependent, &recorded)]
        } else {
            [(dependent, &recorded), (guardian, &erased)]
        };
        for (sequence, (holder, events)) in (1..).zip(both) {
            assert_eq!(register.orphaned_relationships(), []);
            assert_eq!(register.apply(&commit(sequence, holder, 0, events)), Ok(()));
        }
        let restored = HolderRegister::load(&IDENTITY, &saved(&register)[..]).expect("it was just saved");
        for register in [register, restored] {
            assert_eq!(register.orphaned_relationships(), [(dependent, guardian)]);
            let ended = [Event::RelationshipEnded(RelationshipEnded {
                guardian,
                codes: Vec::new(),
            })];
            assert_eq!(register.apply(&commit(3, dependent, 0, &ended)), Ok(()));
            assert_eq!(register.orphaned_relationships(), []);
            assert_eq!(register.dependents.orphaned(), [], "what ended is not remembered");
        }
    }
}

#[test]
fn a_relationship_is_orphaned_only_by_the_erasure_of_its_guardian() {
    let (guardian, dependent) = (holder(1), holder(2));
    let register = HolderRegister::new(2);
    let recorded = [Event::RelationshipRecorded(RelationshipRecorded { guardian })];
    let registered = [Event::HolderRegistered(HolderRegistered { holder: guardian })];
    let erased = [Event::HolderErased(HolderErased {
        codes: Vec::new(),
        by_officer: true,
    })];
    assert_eq!(register.apply(&commit(1, dependent, 0, &recorded)), Ok(()));
    assert_eq!(register.apply(&commit(2, guardian, 0, &registered)), Ok(()));
    assert_eq!(register.orphaned_relationships(), []);
    assert_eq!(register.apply(&commit(3, guardian, 0, &erased)), Ok(()));
    assert_eq!(register.orphaned_relationships(), [(dependent, guardian)]);
}

#[test]
fn a_holder_is_found_by_the_last_code_of_a_slot_only() {
    let register = HolderRegister::new(2);
    let issue = |code_id: u8| {
        let kind = CodeKind::new(1).expect("1 is a kind");
        [Event::CodeIssued(CodeIssued {
            code: CodeRef {
                slot: Slot { kind, guardian: None },
                code_id: CodeId([code_id; 8]),
                status: StatusRef {
                    list: ListId(0),
                    index: u32::from(code_id),
                },
            },
            issued_at: Timestamp(0),
            expires_at: Timestamp(1),
            supersedes: None,
            standing: Standing::Green,
            ground: EligibilityGround::Everyone,
            acting_guardian: None,
            key_id: KeyId([0; 4]),
            claims_digest: ClaimsDigest([0; 32]),
            sealed_token: Sealed::default(),
        })]
    };
    for (sequence, (number, code_id)) in (1..).zip([(1, 11), (2, 12), (1, 13)]) {
        let events = issue(code_id);
        assert_eq!(register.apply(&commit(sequence, holder(number), 0, &events)), Ok(()));
    }
    assert_eq!(register.holder_of_code(CodeId([12; 8])), Some(holder(2)));
    assert_eq!(register.holder_of_code(CodeId([13; 8])), Some(holder(1)));
    assert_eq!(register.holder_of_code(CodeId([11; 8])), None, "it was replaced");
    let mut holders = register.holders();
    holders.sort_unstable();
    assert_eq!(holders, [holder(1), holder(2)]);
    assert_eq!(register.holder_count(), 2);
}

#[test]
fn a_change_that_keeps_the_length_leaves_no_dead_bytes() {
    let mut shard = Shard::default();
    for round in 0..100i64 {
        shard.update(holder(1), |packed| packed.state.last_decided_at = Timestamp(round));
        assert_eq!(shard.dead_bytes(), 0, "round {round}");
    }
    shard.update(holder(1), |packed| packed.state.guardians.push(holder(2)));
    assert!(shard.dead_bytes() > 0, "the former entry");
}

/// One holder of three in every page grows, so that no page is freed as a whole.
#[test]
fn pages_with_scattered_dead_entries_are_compacted() {
    let mut shard = Shard::default();
    let id = |number: u32| HolderId(std::array::from_fn(|at| number.to_le_bytes()[at % 4]));
    let mut grow = |number: u32, guardians: u8| {
        shard.update(id(number), |packed| {
            packed.state.guardians.extend((0..guardians).map(holder));
        });
    };
    (0..3_000).for_each(|number| grow(number, 10));
    (0..3_000).step_by(3).for_each(|number| grow(number, 1));
    let live: usize = shard.live_entries().map(<[u8]>::len).sum();
    let held = shard.held_bytes();
    // The bound of `waste_of_growing_entries_is_bounded`.
    assert!(held * 7 <= live * 8 + 8 * 32 * 1024, "{held} for {live}");
    let mut packed = Packed::default();
    for number in 0..3_000 {
        assert!(shard.read(id(number), &mut packed));
        let expected = if number % 3 == 0 { 11 } else { 10 };
        assert_eq!(packed.state.guardians.len(), expected, "holder {number}");
    }
}

/// Otherwise every lookup would compare all holders of a shard.
#[test]
fn holders_of_a_shard_have_different_hashes() {
    let hashes: std::collections::BTreeSet<u64> = (0..=u8::MAX).map(|number| shard::hash(holder(number))).collect();
    assert_eq!(hashes.len(), 256);
}

#[test]
fn a_saved_chunk_has_at_most_64_kib_and_is_filled() {
    let register = HolderRegister::new(2);
    // After two commits an entry with six guardians has 128 bytes, so that 512 of them fill a chunk exactly.
    let recorded = |number| {
        Event::RelationshipRecorded(RelationshipRecorded {
            guardian: holder(number),
        })
    };
    let events: Vec<Event> = (1..=6).map(recorded).collect();
    for number in 0..1_200u64 {
        let mut id = [9; 16];
        id[..8].copy_from_slice(&number.to_le_bytes());
        for (sequence, events) in (2 * number + 1..).zip([&events[..], &[]]) {
            assert_eq!(register.apply(&commit(sequence, HolderId(id), 0, events)), Ok(()));
        }
    }
    let bytes = saved(&register);
    let first = bytes.windows(4).position(|tag| tag == b"hold").expect("the section") + 4;
    let mut rest = &bytes[first..];
    let mut lengths = Vec::new();
    loop {
        let (len, chunk) = rest.split_first_chunk::<4>().expect("a length");
        match u32::from_le_bytes(*len) as usize {
            0 => break,
            len => {
                lengths.push(len);
                rest = &chunk[len..];
            }
        }
    }
    assert_eq!(lengths, [64 * 1024, 64 * 1024, (1_200 - 2 * 512) * 128]);
}

#[test]
fn only_folding_changes_a_tail_and_a_refused_commit_changes_nothing() {
    let register = HolderRegister::new(2);
    assert_eq!(register.tail(1, 1), None);
    assert_eq!(register.apply(&commit(1, holder(1), 0, &[])), Ok(()));
    let tail = Some(BucketTail {
        revision: Revision::from_raw(1),
        hash: CommitHash([1; 32]),
    });
    assert_eq!(register.tail(1, 1), tail);
    assert!(register.apply(&commit(3, holder(2), 0, &[])).is_err());
    assert!(register.apply(&commit(1, holder(2), 0, &[])).is_err());
    assert_eq!((register.tail(1, 3), register.holder_count()), (None, 1));
    assert_eq!(register.basis(1, 1, holder(1)).tail, tail);
    assert_eq!(register.basis(9, 1, holder(7)).state, HolderState::default());
}

/// Holders of one shard grow in turn past every page and far past a page of their own; dead bytes stay bounded.
#[test]
fn waste_of_growing_entries_is_bounded() {
    let mut shard = Shard::default();
    let id = |number: u32| {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&number.wrapping_mul(0x9E37_79B1).to_le_bytes());
        HolderId(id)
    };
    let rounds = |number: u32| if number == 7 { 400 } else { 12 };
    for round in 0..400u32 {
        for number in (0..2_000).filter(|number| round < rounds(*number)) {
            shard.update(id(number), |packed| {
                packed.state.guardians.push(HolderId([round as u8; 16]));
            });
        }
    }
    let live: usize = shard.live_entries().map(<[u8]>::len).sum();
    assert!(live > 2_000 * 12 * 16);
    let held = shard.held_bytes();
    // An eighth of the used bytes may be dead, which is 8/7 of the live ones, plus an eighth of a page and the
    // newest page.
    assert!(held * 7 <= live * 8 + 8 * 32 * 1024, "{held} for {live}");
    let mut packed = Packed::default();
    for number in 0..2_000 {
        assert!(shard.read(id(number), &mut packed));
        let expected = (0..rounds(number)).map(|round| HolderId([round as u8; 16]));
        assert!(packed.state.guardians.iter().copied().eq(expected));
    }
}
