//! Tests of event encoding: golden bytes of every version, round trips, and hostile bytes.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use bytes::Bytes;
use citycode_domain::event::{
    CodeIssued, CodeRef, CodeReinstated, CodeReportedLost, CodeRevoked, CodeSuspended, EligibilityGround, Event,
    HolderErased, HolderRegistered, HolderRenamed, IndexBlockLeased, IndexRangeRevoked, ListNamesAdvanced,
    PolicyAdopted, QueriesSealed, RelationshipEnded, RelationshipRecorded, ScanBatches, ScanBatchesSealed, Sealed,
    SigningKeyAdded, SigningKeyCompromised, SigningKeyRetired, Slot, StandingChanged,
};
use citycode_domain::ids::{
    ClaimsDigest, CodeId, CodeKind, HolderId, KeyId, ListFacts, ListId, NameChangeId, PolicyDigest, ScanWriterId,
    StatusRef,
};
use citycode_domain::standing::Standing;
use citycode_domain::time::Timestamp;
use citycode_wire::event::{self, DecodeEventError, encode};
use citycode_wire::proto::events::{v1, v2, v3};
use proptest::prelude::*;
use prost::Message as _;

/// [`event::decode`] for bytes of a test.
fn decode(type_name: &str, version: u16, payload: &[u8]) -> Result<Event, DecodeEventError> {
    event::decode(type_name, version, &Bytes::copy_from_slice(payload))
}

fn decode_for_projection(type_name: &str, version: u16, payload: &[u8]) -> Result<Event, DecodeEventError> {
    event::decode_for_projection(type_name, version, &Bytes::copy_from_slice(payload))
}

fn holder(fill: u8) -> HolderId {
    HolderId([fill; 16])
}

fn code(kind: u8, guardian: Option<HolderId>, fill: u8) -> CodeRef {
    CodeRef {
        slot: Slot {
            kind: CodeKind::new(kind).expect("a kind"),
            guardian,
        },
        code_id: CodeId([fill; 8]),
        status: StatusRef {
            list: ListId(0x0142_9a30 | u32::from(fill)),
            index: 70_000 + u32::from(fill),
        },
    }
}

fn sealed() -> Sealed {
    Sealed(vec![0x5e, 0xa1, 0xed])
}

/// One event of every type with every field set, and for optional fields one more without them. The names are
/// those of the golden files and never change.
fn golden_events() -> BTreeMap<&'static str, Event> {
    let mut events = issued_events();
    events.extend(deaths_and_holds());
    events.extend(other_events());
    events.extend(audit_events());
    events.extend(list_events());
    events
}

type Named = (&'static str, Event);

fn issued_events() -> BTreeMap<&'static str, Event> {
    let full = CodeIssued {
        code: code(2, Some(holder(0xaa)), 1),
        issued_at: Timestamp(1_661_904_000),
        expires_at: Timestamp(1_693_440_000),
        supersedes: Some(code(2, Some(holder(0xaa)), 2)),
        standing: Standing::Yellow,
        ground: EligibilityGround::Disability,
        acting_guardian: Some(holder(0xaa)),
        key_id: KeyId([9, 8, 7, 6]),
        claims_digest: ClaimsDigest([0xd1; 32]),
        sealed_token: sealed(),
    };
    let bare = CodeIssued {
        code: code(3, None, 3),
        supersedes: None,
        acting_guardian: None,
        standing: Standing::Green,
        ground: EligibilityGround::Everyone,
        ..full.clone()
    };
    BTreeMap::from([
        ("CodeIssued.v1", Event::CodeIssued(full)),
        ("CodeIssued.v1.bare", Event::CodeIssued(bare)),
    ])
}

fn two_codes() -> Vec<CodeRef> {
    vec![code(1, None, 4), code(2, Some(holder(0xbb)), 5)]
}

fn deaths_and_holds() -> [Named; 6] {
    let (one, reason, guardian) = (code(4, None, 6), sealed(), holder(0xbb));
    let codes = two_codes();
    [
        (
            "CodeReportedLost.v1",
            Event::CodeReportedLost(CodeReportedLost {
                code: one,
                acting_guardian: Some(guardian),
            }),
        ),
        (
            "CodeRevoked.v1",
            Event::CodeRevoked(CodeRevoked {
                code: one,
                reason: reason.clone(),
            }),
        ),
        (
            "CodeSuspended.v1",
            Event::CodeSuspended(CodeSuspended {
                code: one,
                reason: reason.clone(),
            }),
        ),
        (
            "CodeReinstated.v1",
            Event::CodeReinstated(CodeReinstated {
                slot: one.slot,
                code: Some(one),
                reason: reason.clone(),
            }),
        ),
        (
            "CodeReinstated.v1.bare",
            Event::CodeReinstated(CodeReinstated {
                slot: one.slot,
                code: None,
                reason: reason.clone(),
            }),
        ),
        (
            "StandingChanged.v1",
            Event::StandingChanged(StandingChanged {
                standing: Standing::Red,
                codes: codes.clone(),
                reason,
            }),
        ),
    ]
}

fn other_events() -> [Named; 8] {
    let (codes, guardian) = (two_codes(), holder(0xbb));
    let key_id = KeyId([1, 2, 3, 4]);
    [
        (
            "HolderRenamed.v2",
            Event::HolderRenamed(HolderRenamed {
                change: NameChangeId([0x5c; 16]),
                reason: Sealed(vec![0xa1, 0xed]),
            }),
        ),
        (
            "HolderRegistered.v1",
            Event::HolderRegistered(HolderRegistered { holder: holder(0x11) }),
        ),
        (
            "RelationshipRecorded.v1",
            Event::RelationshipRecorded(RelationshipRecorded { guardian }),
        ),
        (
            "RelationshipEnded.v1",
            Event::RelationshipEnded(RelationshipEnded {
                guardian,
                codes: codes.clone(),
            }),
        ),
        (
            "HolderErased.v1",
            Event::HolderErased(HolderErased {
                codes,
                by_officer: true,
            }),
        ),
        (
            "SigningKeyAdded.v1",
            Event::SigningKeyAdded(SigningKeyAdded {
                key_id,
                public_key: [0x33; 32],
                signs_from: Timestamp(1_661_904_000),
            }),
        ),
        (
            "SigningKeyRetired.v1",
            Event::SigningKeyRetired(SigningKeyRetired {
                key_id,
                signs_until: Timestamp(1_661_904_001),
                verifies_until: Timestamp(1_693_440_001),
            }),
        ),
        (
            "SigningKeyCompromised.v1",
            Event::SigningKeyCompromised(SigningKeyCompromised { key_id }),
        ),
    ]
}

fn audit_events() -> [Named; 3] {
    [
        (
            "PolicyAdopted.v3",
            Event::PolicyAdopted(PolicyAdopted {
                digest: PolicyDigest([0x50; 32]),
                text: "name = \"上海\"\n".to_owned(),
            }),
        ),
        (
            "ScanBatchesSealed.v3",
            Event::ScanBatchesSealed(ScanBatchesSealed {
                batches: vec![scan_batches(19_235, 1), scan_batches(19_236, 300)],
            }),
        ),
        (
            "QueriesSealed.v3",
            Event::QueriesSealed(QueriesSealed {
                first: 300,
                count: 17,
                digest: [0xd2; 32],
            }),
        ),
    ]
}

fn scan_batches(day: u32, first: u64) -> ScanBatches {
    ScanBatches {
        day,
        writer: ScanWriterId([0x57; 8]),
        first,
        count: 299,
        digest: [0xd1; 32],
    }
}

fn list_events() -> [Named; 4] {
    [
        (
            "IndexBlockLeased.v1",
            Event::IndexBlockLeased(IndexBlockLeased {
                list: ListId(0x0142_9a31),
                // The facts that the version 1 name encodes: partition 01, kind 4, window 29a3.
                facts: ListFacts {
                    partition: 1,
                    kind: CodeKind::new(4).expect("a kind"),
                    retires_at: Timestamp(0x29a4 * 30 * 86_400),
                },
                counter: None,
                first_index: 8_192,
                count: 4_096,
            }),
        ),
        (
            "IndexRangeRevoked.v2",
            Event::IndexRangeRevoked(IndexRangeRevoked {
                list: ListId(0x0142_9a31),
                first_index: 8_192,
                count: 4_096,
            }),
        ),
        (
            "IndexBlockLeased.v2",
            Event::IndexBlockLeased(IndexBlockLeased {
                list: ListId(0x5a0c_3e91),
                facts: ListFacts {
                    partition: 13,
                    kind: CodeKind::new(3).expect("a kind"),
                    retires_at: Timestamp(1_663_200_000),
                },
                counter: Some(700_000),
                first_index: 8_192,
                count: 4_096,
            }),
        ),
        (
            "ListNamesAdvanced.v2",
            Event::ListNamesAdvanced(ListNamesAdvanced {
                partition: 13,
                next_counter: 700_001,
            }),
        ),
    ]
}

fn golden_folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex in a golden file"))
        .collect()
}

#[test]
fn golden_bytes_of_every_version_decode_to_their_events() {
    let events = golden_events();
    for (name, event) in &events {
        let path = golden_folder().join(format!("{name}.hex"));
        let text = fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}; write {}", path.display(), hex(&encode(event).2)));
        let bytes = unhex(text.trim());
        let (_, version) = name.rsplit_once(".v").expect("a version");
        let version = version
            .split('.')
            .next()
            .and_then(|digits| digits.parse().ok())
            .expect("a version");
        assert_eq!(decode(event.type_name(), version, &bytes).as_ref(), Ok(event), "{name}");
        assert_eq!(encode(event), (event.type_name(), version, bytes), "{name}");
    }
    // A golden file is never removed, and each has a test.
    let files = fs::read_dir(golden_folder())
        .expect("the folder of golden files")
        .count();
    assert_eq!(files, events.len());
}

#[test]
fn unknown_types_and_versions_are_errors() {
    assert_eq!(
        decode("CodeBlessed", 1, &[]),
        Err(DecodeEventError::UnknownType {
            type_name: "CodeBlessed".to_owned()
        })
    );
    for version in [0, 2, u16::MAX] {
        assert_eq!(
            decode("HolderRegistered", version, &[]),
            Err(DecodeEventError::UnknownVersion {
                type_name: "HolderRegistered",
                version
            })
        );
    }
    for (type_name, version) in [
        ("IndexBlockLeased", 3),
        ("ListNamesAdvanced", 1),
        ("HolderRenamed", 1),
        ("PolicyAdopted", 2),
        ("ScanBatchesSealed", 1),
        ("QueriesSealed", 2),
    ] {
        assert_eq!(
            decode(type_name, version, &[]),
            Err(DecodeEventError::UnknownVersion { type_name, version })
        );
    }
}

#[test]
fn a_version_2_lease_has_a_version_2_name_and_fields_in_range() {
    let lease = |list: u32, partition: u32, kind: u32| {
        v2::IndexBlockLeased {
            list,
            first_index: 0,
            count: 4_096,
            partition,
            kind,
            retires_at: 0,
            counter: 0,
        }
        .encode_to_vec()
    };
    assert!(decode("IndexBlockLeased", 2, &lease(0x5a0c_3e91, 255, 15)).is_ok());
    for (bytes, expected) in [
        (lease(0x5a1c_3e91, 255, 15), "list"),
        (lease(0x5a0c_3e91, 256, 15), "partition"),
        (lease(0x5a0c_3e91, 255, 16), "kind"),
        (lease(0x5a0c_3e91, 255, 0), "kind"),
    ] {
        match decode("IndexBlockLeased", 2, &bytes) {
            Err(DecodeEventError::Malformed { field, .. }) => assert_eq!(field, expected),
            other => panic!("{expected}: {other:?}"),
        }
    }
    // A version 2 name in a lease that does not record what the list contains.
    let nameless = v1::IndexBlockLeased {
        list: 0x5a0c_3e91,
        first_index: 0,
        count: 4_096,
    };
    let refused = decode("IndexBlockLeased", 1, &nameless.encode_to_vec());
    assert!(
        matches!(refused, Err(DecodeEventError::Malformed { .. })),
        "{refused:?}"
    );
}

#[test]
fn fields_out_of_range_are_named() {
    let cases: [(&str, &str, &str); 9] = [
        // Field 1 has 2 bytes.
        ("HolderRegistered", "0a020102", "holder"),
        ("HolderRegistered", "", "holder"),
        // Kind 16; no kind; a guardian of 1 byte.
        (
            "CodeReportedLost",
            "0a110810 1a08 0101010101010101 2501000000",
            "code.kind",
        ),
        ("CodeReportedLost", "0a0f 1a08 0101010101010101 2501000000", "code.kind"),
        ("CodeReportedLost", "0a05 0801 120101", "code.guardian"),
        ("CodeReportedLost", "", "code"),
        ("StandingChanged", "", "standing"),
        ("StandingChanged", "0804", "standing"),
        // First place 2^32 - 1, two places.
        ("IndexBlockLeased", "10ffffffff0f 1802", "count"),
    ];
    for (type_name, bytes, expected) in cases {
        let bytes = unhex(&bytes.replace(' ', ""));
        match decode(type_name, 1, &bytes) {
            Err(DecodeEventError::Malformed { field, .. }) => {
                assert_eq!(field, expected, "{type_name}")
            }
            other => panic!("{type_name} {expected}: {other:?}"),
        }
    }
}

#[test]
fn parts_that_a_version_does_not_have_are_errors() {
    for event in golden_events().values() {
        let (type_name, version, payload) = encode(event);
        // A field 15 that no message has; the message's bytes twice, so that its fields are repeated.
        let unknown = [payload.as_slice(), &[0x78, 0x01]].concat();
        let repeated = [payload.as_slice(), payload.as_slice()].concat();
        assert_eq!(
            decode(type_name, version, &unknown),
            Err(DecodeEventError::UnknownParts { type_name, version })
        );
        assert_ne!(decode(type_name, version, &repeated).as_ref(), Ok(event));
    }
}

#[test]
fn truncated_bytes_are_refused_and_flipped_bits_never_panic() {
    for event in golden_events().values() {
        let (type_name, version, payload) = encode(event);
        for length in 0..payload.len() {
            assert_ne!(decode(type_name, version, &payload[..length]).as_ref(), Ok(event));
        }
        for bit in 0..payload.len() * 8 {
            let mut bytes = payload.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(decode(type_name, version, &bytes).as_ref(), Ok(event), "bit {bit}");
        }
    }
}

prop_compose! {
    fn any_slot()(kind in 1u8..=15, guardian in any::<Option<[u8; 16]>>()) -> Slot {
        Slot { kind: CodeKind::new(kind).expect("a kind"), guardian: guardian.map(HolderId) }
    }
}

prop_compose! {
    fn any_code()(slot in any_slot(), id in any::<[u8; 8]>(), list: u32, index: u32) -> CodeRef {
        CodeRef { slot, code_id: CodeId(id), status: StatusRef { list: ListId(list), index } }
    }
}

/// A lease of a version 1 list, whose name encodes what it contains, or of a version 2 list.
fn any_lease() -> impl Strategy<Value = IndexBlockLeased> {
    let block = (0..=u32::MAX - 4_096, 1u32..=4_096);
    let facts = (any::<u8>(), 1u8..=15, any::<i64>());
    (any::<u32>(), block, facts, any::<u32>()).prop_map(|(name, (first_index, count), facts, counter)| {
        let (partition, kind, retires_at) = facts;
        let of_version_1 = ListFacts::of_version_1(ListId(name));
        IndexBlockLeased {
            list: ListId(name),
            facts: of_version_1.unwrap_or(ListFacts {
                partition: partition.into(),
                kind: CodeKind::new(kind).expect("a kind"),
                retires_at: Timestamp(retires_at),
            }),
            counter: of_version_1.is_none().then_some(counter),
            first_index,
            count,
        }
    })
}

prop_compose! {
    fn any_issued()(
        code in any_code(),
        times in any::<(i64, i64)>(),
        supersedes in proptest::option::of(any_code()),
        standing in any_standing(),
        ground in prop::sample::select(vec![
            EligibilityGround::Everyone,
            EligibilityGround::Under,
            EligibilityGround::From,
            EligibilityGround::Disability,
            EligibilityGround::Group,
        ]),
        guardian in any::<Option<[u8; 16]>>(),
        key in any::<[u8; 4]>(),
        digest in any::<[u8; 32]>(),
        token in any_sealed(),
    ) -> Event {
        Event::CodeIssued(CodeIssued {
            code,
            issued_at: Timestamp(times.0),
            expires_at: Timestamp(times.1),
            supersedes,
            standing,
            ground,
            acting_guardian: guardian.map(HolderId),
            key_id: KeyId(key),
            claims_digest: ClaimsDigest(digest),
            sealed_token: token,
        })
    }
}

fn any_standing() -> impl Strategy<Value = Standing> {
    prop::sample::select(vec![Standing::Green, Standing::Yellow, Standing::Red])
}

fn any_sealed() -> impl Strategy<Value = Sealed> {
    prop::collection::vec(any::<u8>(), 0..400).prop_map(Sealed)
}

fn any_codes() -> impl Strategy<Value = Vec<CodeRef>> {
    prop::collection::vec(any_code(), 0..8)
}

fn any_scan_batches() -> impl Strategy<Value = ScanBatches> {
    (
        any::<u32>(),
        any::<[u8; 8]>(),
        1..u64::MAX / 2,
        1..=u32::MAX,
        any::<[u8; 32]>(),
    )
        .prop_map(|(day, writer, first, count, digest)| ScanBatches {
            day,
            writer: ScanWriterId(writer),
            first,
            count,
            digest,
        })
}

fn any_event() -> impl Strategy<Value = Event> {
    let holder = || any::<[u8; 16]>().prop_map(HolderId);
    let key = || any::<[u8; 4]>().prop_map(KeyId);
    prop_oneof![
        holder().prop_map(|holder| Event::HolderRegistered(HolderRegistered { holder })),
        holder().prop_map(|guardian| Event::RelationshipRecorded(RelationshipRecorded { guardian })),
        (any::<[u8; 16]>().prop_map(NameChangeId), any_sealed())
            .prop_map(|(change, reason)| Event::HolderRenamed(HolderRenamed { change, reason })),
        (holder(), any_codes())
            .prop_map(|(guardian, codes)| Event::RelationshipEnded(RelationshipEnded { guardian, codes })),
        any_issued(),
        (any_code(), proptest::option::of(holder())).prop_map(|(code, acting_guardian)| {
            Event::CodeReportedLost(CodeReportedLost { code, acting_guardian })
        }),
        (any_code(), any_sealed()).prop_map(|(code, reason)| Event::CodeRevoked(CodeRevoked { code, reason })),
        (any_code(), any_sealed()).prop_map(|(code, reason)| Event::CodeSuspended(CodeSuspended { code, reason })),
        (any_slot(), proptest::option::of(any_code()), any_sealed())
            .prop_map(|(slot, code, reason)| Event::CodeReinstated(CodeReinstated { slot, code, reason })),
        (any_standing(), any_codes(), any_sealed()).prop_map(|(standing, codes, reason)| {
            Event::StandingChanged(StandingChanged {
                standing,
                codes,
                reason,
            })
        }),
        (any_codes(), any::<bool>())
            .prop_map(|(codes, by_officer)| Event::HolderErased(HolderErased { codes, by_officer })),
        any_lease().prop_map(Event::IndexBlockLeased),
        (any::<u8>(), any::<u32>()).prop_map(|(partition, next_counter)| {
            Event::ListNamesAdvanced(ListNamesAdvanced {
                partition: partition.into(),
                next_counter,
            })
        }),
        (key(), any::<[u8; 32]>(), any::<i64>()).prop_map(|(key_id, public_key, from)| {
            Event::SigningKeyAdded(SigningKeyAdded {
                key_id,
                public_key,
                signs_from: Timestamp(from),
            })
        }),
        (key(), any::<i64>(), any::<i64>()).prop_map(|(key_id, signs, verifies)| {
            Event::SigningKeyRetired(SigningKeyRetired {
                key_id,
                signs_until: Timestamp(signs),
                verifies_until: Timestamp(verifies),
            })
        }),
        key().prop_map(|key_id| Event::SigningKeyCompromised(SigningKeyCompromised { key_id })),
        (any::<[u8; 32]>(), ".{0,200}").prop_map(|(digest, text)| {
            Event::PolicyAdopted(PolicyAdopted {
                digest: PolicyDigest(digest),
                text,
            })
        }),
        prop::collection::vec(any_scan_batches(), 1..5)
            .prop_map(|batches| Event::ScanBatchesSealed(ScanBatchesSealed { batches })),
        (1_u64..1 << 60, 1_u32.., any::<[u8; 32]>())
            .prop_map(|(first, count, digest)| Event::QueriesSealed(QueriesSealed { first, count, digest })),
    ]
}

/// The event as a projection decodes it.
fn without_sealed(mut event: Event) -> Event {
    match &mut event {
        Event::CodeIssued(event) => event.sealed_token = Sealed::default(),
        Event::CodeRevoked(event) => event.reason = Sealed::default(),
        Event::CodeSuspended(event) => event.reason = Sealed::default(),
        Event::CodeReinstated(event) => event.reason = Sealed::default(),
        Event::StandingChanged(event) => event.reason = Sealed::default(),
        Event::HolderRenamed(event) => event.reason = Sealed::default(),
        _ => {}
    }
    event
}

proptest! {
    #[test]
    fn every_event_round_trips(event in any_event()) {
        let (type_name, version, payload) = encode(&event);
        prop_assert_eq!(type_name, event.type_name());
        let projected = decode_for_projection(type_name, version, &payload);
        prop_assert_eq!(decode(type_name, version, &payload), Ok(event.clone()));
        prop_assert_eq!(projected, Ok(without_sealed(event)));
    }

    /// Accepted bytes are canonical: encoding the event again yields the same bytes.
    #[test]
    fn any_bytes_are_refused_or_are_an_event(
        like in any_event(),
        bytes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        for version in [1, 2, 3] {
            if let Ok(event) = decode(like.type_name(), version, &bytes) {
                prop_assert_eq!(&encode(&event).2, &bytes);
            }
        }
    }
}

#[test]
fn batches_of_scans_that_are_empty_or_out_of_range_are_refused() {
    type Change = fn(&mut v3::ScanBatches);
    let message = |change: Change| {
        let mut batches = v3::ScanBatches {
            day: 19_235,
            writer: vec![0x57; 8].into(),
            first: 1,
            count: 1,
            digest: vec![0xd1; 32].into(),
        };
        change(&mut batches);
        v3::ScanBatchesSealed { batches: vec![batches] }.encode_to_vec()
    };
    assert!(decode("ScanBatchesSealed", 3, &message(|_| {})).is_ok());
    let refused: [(Change, &str); 5] = [
        (|batches| batches.first = 0, "batches.first"),
        (|batches| batches.count = 0, "batches.first"),
        (|batches| batches.first = u64::MAX, "batches.first"),
        (|batches| batches.writer = vec![1; 7].into(), "batches.writer"),
        (|batches| batches.digest = vec![1; 31].into(), "batches.digest"),
    ];
    for (change, expected) in refused {
        let Err(DecodeEventError::Malformed { field, .. }) = decode("ScanBatchesSealed", 3, &message(change)) else {
            panic!("{expected} was accepted");
        };
        assert_eq!(field, expected);
    }
    assert!(decode("ScanBatchesSealed", 3, &[]).is_err(), "no batches");
    for (first, count, digest) in [(0, 1, 32), (1, 0, 32), (u64::MAX, 1, 32), (1, 1, 31)] {
        let digest = vec![0xd2; digest].into();
        let sealed = v3::QueriesSealed { first, count, digest }.encode_to_vec();
        assert!(decode("QueriesSealed", 3, &sealed).is_err(), "{first} {count}");
    }
    let long = v3::PolicyAdopted {
        digest: vec![0x50; 32].into(),
        text: "x".repeat(64 * 1024 + 1),
    };
    assert!(
        decode("PolicyAdopted", 3, &long.encode_to_vec()).is_err(),
        "a policy over its limit"
    );
}
