//! R16, R17: live and family codes.

use citycode_domain::admission::{IdCheck, Reason};
use citycode_domain::event::Event;
use citycode_domain::ids::HolderId;
use citycode_domain::lifecycle::{MAX_GUARDIANS, MAX_SLOTS, Refusal, relationship};

use crate::holder::{DAY, FATHER, Holder, MOTHER};

#[test]
fn r16_a_live_code_is_valid_for_365_days_and_only_for_the_holder() {
    let mut holder = Holder::with_guardian(MOTHER);
    let code = holder.issue("live");
    assert_eq!(code.expires_at.seconds_since(code.issued_at), 365 * DAY);
    let refused = holder.issue_for("live", "app", Some(MOTHER));
    assert_eq!(refused, Err(Refusal::HolderOnly));
}

#[test]
fn r17_a_family_code_depends_on_a_recorded_relationship() {
    let mut holder = Holder::new();
    let ask = |holder: &mut Holder, guardian| holder.issue_for("family", "app", guardian).map(|_| ());
    assert_eq!(ask(&mut holder, None), Err(Refusal::GuardianNeeded));
    assert_eq!(ask(&mut holder, Some(MOTHER)), Err(Refusal::RelationshipUnknown));
    holder.relate(MOTHER).expect("recorded");
    assert_eq!(ask(&mut holder, Some(MOTHER)), Ok(()));
    assert_eq!(ask(&mut holder, Some(FATHER)), Err(Refusal::RelationshipUnknown));
}

#[test]
fn r17_ending_the_relationship_ends_only_the_codes_that_depend_on_it() {
    let mut holder = Holder::with_guardian(MOTHER);
    holder.relate(FATHER).expect("recorded");
    let hers = holder.issue_for("family", "app", Some(MOTHER)).expect("issued");
    let his = holder.issue_for("family", "app", Some(FATHER)).expect("issued");
    let sampling = holder.issue_for("sampling", "app", Some(MOTHER)).expect("issued");
    let offline = holder.issue_for("offline", "pc", Some(MOTHER)).expect("issued");
    let events = holder.unrelate(MOTHER).expect("ended");
    let [Event::RelationshipEnded(ended)] = &events[..] else {
        panic!("one event: {events:?}");
    };
    assert_eq!(ended.codes, [hers.code]);
    assert_eq!(holder.scan(&hers, "sentinel", IdCheck::None).reason, Reason::Revoked);
    assert!([&his, &sampling, &offline].into_iter().all(|code| holder.lives(code)));
    let refused = holder.issue_for("family", "app", Some(MOTHER));
    assert_eq!(refused, Err(Refusal::RelationshipUnknown));
    assert_eq!(holder.unrelate(MOTHER), Err(Refusal::RelationshipUnknown));
}

#[test]
fn r17_a_relationship_is_recorded_once_and_never_with_oneself() {
    let mut holder = Holder::with_guardian(MOTHER);
    assert_eq!(holder.relate(MOTHER), Ok(Vec::new()));
    let own = relationship::decide_record(&holder.state, FATHER, FATHER);
    assert_eq!(own, Err(Refusal::OwnGuardian));
    for n in 1..MAX_GUARDIANS {
        let guardian = HolderId([u8::try_from(n).expect("small") + 100; 16]);
        assert_eq!(holder.relate(guardian).map(|events| events.len()), Ok(1));
    }
    assert_eq!(holder.relate(FATHER), Err(Refusal::TooMany));
}

#[test]
fn the_state_of_a_holder_whose_guardians_change_is_bounded() {
    let mut holder = Holder::new();
    for n in 0..MAX_SLOTS {
        let guardian = HolderId([u8::try_from(n).expect("small") + 10; 16]);
        holder.relate(guardian).expect("recorded");
        holder.issue_for("family", "app", Some(guardian)).expect("issued");
        holder.unrelate(guardian).expect("ended");
    }
    holder.relate(MOTHER).expect("recorded");
    let refused = holder.issue_for("family", "app", Some(MOTHER));
    assert_eq!(refused, Err(Refusal::TooMany));
}
