//! Names that the log and the API keep for ever, texts of errors, and what `Debug` output must not contain.

use std::collections::BTreeSet;
use std::fmt::{Debug, Display};

use citycode_domain::admission::{Decision, Reason};
use citycode_domain::event::{
    CodeIssued, CodeReinstated, CodeReportedLost, CodeRevoked, CodeSuspended, Event, ForeignMessageDeclared,
    HolderErased, HolderRegistered, HolderRenamed, IndexBlockLeased, IndexRangeRevoked, ListNamesAdvanced,
    PolicyAdopted, QueriesSealed, RelationshipEnded, RelationshipRecorded, ScanBatchesSealed, Sealed, SigningKeyAdded,
    SigningKeyCompromised, SigningKeyRetired, StandingChanged,
};
use citycode_domain::id_number::{IdNumber, InvalidIdNumber};
use citycode_domain::ids::{KeyId, ListFacts, ListId, NameChangeId, PolicyDigest};
use citycode_domain::lifecycle::Refusal;
use citycode_domain::reason::{ActReason, InvalidReason};
use citycode_domain::standing::Standing;
use citycode_domain::time::Timestamp;

use crate::holder::{Holder, MOTHER, START};

/// One event of each type in holders' streams.
fn events_of_holders() -> [Event; 11] {
    let issued = Holder::new().issue("live");
    let code = issued.code;
    let reason = || Sealed(vec![1]);
    let guardian = MOTHER;
    [
        Event::HolderRegistered(HolderRegistered { holder: MOTHER }),
        Event::RelationshipRecorded(RelationshipRecorded { guardian }),
        Event::RelationshipEnded(RelationshipEnded {
            guardian,
            codes: vec![code],
        }),
        Event::CodeIssued(issued),
        Event::CodeReportedLost(CodeReportedLost {
            code,
            acting_guardian: None,
        }),
        Event::CodeRevoked(CodeRevoked { code, reason: reason() }),
        Event::CodeSuspended(CodeSuspended { code, reason: reason() }),
        Event::CodeReinstated(CodeReinstated {
            slot: code.slot,
            code: None,
            reason: reason(),
        }),
        Event::StandingChanged(StandingChanged {
            standing: Standing::Red,
            codes: vec![code],
            reason: reason(),
        }),
        Event::HolderRenamed(HolderRenamed {
            change: NameChangeId([1; 16]),
            reason: reason(),
        }),
        Event::HolderErased(HolderErased {
            codes: vec![code],
            by_officer: false,
        }),
    ]
}

/// One event of each type in the streams of lists, keys and foreign messages.
fn events_of_the_system() -> [Event; 10] {
    let CodeIssued { code, .. } = Holder::new().issue("live");
    let list = code.status.list;
    let facts = ListFacts::for_code(0, code.slot.kind, START).expect("the window ends in time");
    let key_id = KeyId([1; 4]);
    [
        Event::IndexBlockLeased(IndexBlockLeased {
            list,
            facts,
            counter: None,
            first_index: 0,
            count: 1,
        }),
        Event::IndexRangeRevoked(IndexRangeRevoked {
            list,
            first_index: 0,
            count: 1,
        }),
        Event::ListNamesAdvanced(ListNamesAdvanced {
            partition: 0,
            next_counter: 1,
        }),
        Event::ForeignMessageDeclared(ForeignMessageDeclared {
            sequence: 1,
            digest: [0; 32],
            reason: "a test".to_owned(),
        }),
        Event::PolicyAdopted(PolicyAdopted {
            digest: PolicyDigest([0; 32]),
            text: String::new(),
        }),
        Event::ScanBatchesSealed(ScanBatchesSealed { batches: Vec::new() }),
        Event::QueriesSealed(QueriesSealed {
            first: 1,
            count: 1,
            digest: [0; 32],
        }),
        Event::SigningKeyAdded(SigningKeyAdded {
            key_id,
            public_key: [0; 32],
            signs_from: START,
        }),
        Event::SigningKeyRetired(SigningKeyRetired {
            key_id,
            signs_until: START,
            verifies_until: START,
        }),
        Event::SigningKeyCompromised(SigningKeyCompromised { key_id }),
    ]
}

/// The name of a variant without its content.
fn variant(value: &impl Debug) -> String {
    let text = format!("{value:?}");
    text.split('(').next().unwrap_or_default().to_owned()
}

/// `AdmitAfterIdCheck` → `admit_after_id_check`.
fn snake_case(name: &str) -> String {
    let mut text = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.push(c.to_ascii_lowercase());
    }
    text
}

/// Asserts that each error has a text of its own, so that a reader can tell them apart.
fn assert_distinct_texts<E: Display + Debug>(errors: &[E]) {
    let texts: BTreeSet<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), errors.len(), "{texts:?}");
    for text in &texts {
        assert!(text.split_whitespace().count() > 3, "not a sentence: {text:?}");
    }
}

#[test]
fn the_log_records_an_event_under_the_name_of_its_type() {
    let events: Vec<Event> = events_of_holders().into_iter().chain(events_of_the_system()).collect();
    for event in &events {
        assert_eq!(event.type_name(), variant(event));
    }
    let names: BTreeSet<&str> = events.iter().map(Event::type_name).collect();
    assert_eq!(names.len(), events.len(), "no name is used twice");
}

#[test]
fn r23_decisions_and_reasons_have_the_names_of_the_api() {
    for decision in Decision::ALL {
        assert_eq!(decision.name(), snake_case(&variant(&decision)));
    }
    for reason in Reason::ALL {
        assert_eq!(reason.name(), snake_case(&variant(&reason)));
    }
}

#[test]
fn r21_a_standing_is_found_by_its_name_only() {
    for standing in [Standing::Green, Standing::Yellow, Standing::Red] {
        assert_eq!(standing.name(), snake_case(&variant(&standing)));
        assert_eq!(Standing::from_name(standing.name()), Some(standing));
    }
    for other in ["", "Green", "amber", "green "] {
        assert_eq!(Standing::from_name(other), None, "{other:?}");
    }
}

#[test]
fn every_error_has_a_text_of_its_own() {
    assert_distinct_texts(&[
        Refusal::NotRegistered,
        Refusal::NoValidCode,
        Refusal::NotEligible,
        Refusal::ChannelNotAllowed,
        Refusal::RelationshipUnknown,
        Refusal::FamilyCodeRequired,
        Refusal::OnHold,
        Refusal::HolderOnly,
        Refusal::GuardianNeeded,
        Refusal::OwnGuardian,
        Refusal::OfficerNeeded,
        Refusal::TooMany,
    ]);
    assert_distinct_texts(&[
        InvalidIdNumber::Length,
        InvalidIdNumber::Retired,
        InvalidIdNumber::Character,
        InvalidIdNumber::NotPlain,
        InvalidIdNumber::BirthDate,
        InvalidIdNumber::BornInFuture,
        InvalidIdNumber::CheckCharacter,
    ]);
    assert_distinct_texts(&[
        InvalidReason::Empty,
        InvalidReason::TooLong,
        InvalidReason::ControlCharacter,
    ]);
}

#[test]
fn r28_debug_output_contains_no_personal_data() {
    let number = IdNumber::parse("11010519491231002X", Holder::new().facts.today).expect("a valid number");
    assert_eq!(format!("{number:?}"), "IdNumber(…)");
    let reason = ActReason::parse("张三的密接").expect("a valid reason");
    assert_eq!(format!("{reason:?}"), "ActReason(…)");
    let sealed = Sealed(b"secret".to_vec());
    assert_eq!(format!("{sealed:?}"), "Sealed(6 bytes)");
}

#[test]
fn a_status_list_is_written_as_eight_hex_digits() {
    assert_eq!(ListId(0x1A).to_string(), "0000001a");
    assert_eq!(format!("{:?}", ListId(0xFEDC_BA98)), "ListId(fedcba98)");
    assert_eq!(
        Timestamp(0).plus_seconds(ListFacts::WINDOW_SECONDS),
        Timestamp(2_592_000)
    );
}
