//! R21 and the domain's part of R28: standing, and erasing a person.

use citycode_domain::admission::{IdCheck, Reason};
use citycode_domain::event::Event;
use citycode_domain::ids::NameChangeId;
use citycode_domain::lifecycle::Refusal;
use citycode_domain::standing::Standing;

use crate::holder::{DAY, Holder, MOTHER};

#[test]
fn r21_one_event_names_every_code_that_is_not_dead() {
    let mut holder = Holder::with_guardian(MOTHER);
    let expired = holder.issue("sampling");
    holder.pass(30 * DAY);
    let lost = holder.issue("offline");
    holder.lose("offline", "pc", None).expect("lost");
    let live = holder.issue("live");
    let family = holder.issue_for("family", "app", Some(MOTHER)).expect("issued");
    let held = holder.issue("offline");
    holder.suspend(held.code.slot).expect("held");
    let events = holder.set_standing(Standing::Red).expect("changed");
    let [Event::StandingChanged(changed)] = &events[..] else {
        panic!("one event: {events:?}");
    };
    let named = |code: &citycode_domain::event::CodeIssued| changed.codes.contains(&code.code);
    assert!(named(&live) && named(&family) && named(&held));
    assert!(!named(&expired) && !named(&lost));
    assert_eq!(changed.codes.len(), 3);
    assert_eq!(holder.set_standing(Standing::Red), Ok(Vec::new()), "nothing changed");
}

#[test]
fn r21_a_code_is_issued_with_the_standing_and_green_admits_again() {
    let mut holder = Holder::new();
    holder.set_standing(Standing::Yellow).expect("changed");
    let live = holder.issue("live");
    assert_eq!(live.standing, Standing::Yellow);
    let sentinel = |holder: &Holder| holder.scan(&live, "sentinel", IdCheck::None).reason;
    assert_eq!(sentinel(&holder), Reason::StandingYellow);
    assert_eq!(
        holder.scan(&live, "staffed", IdCheck::None).reason,
        Reason::StandingYellow
    );
    assert_eq!(holder.scan(&live, "sampling_desk", IdCheck::None).reason, Reason::Ok);
    holder.set_standing(Standing::Red).expect("changed");
    assert_eq!(sentinel(&holder), Reason::StandingRed);
    assert!(holder.lives(&live), "standing changes no validity");
    holder.set_standing(Standing::Green).expect("changed");
    assert_eq!(sentinel(&holder), Reason::Ok, "the same code admits again");
}

#[test]
fn r21_a_reinstated_code_has_the_standing_that_was_set_during_the_hold() {
    let mut holder = Holder::new();
    let live = holder.issue("live");
    holder.suspend(live.code.slot).expect("held");
    holder.set_standing(Standing::Red).expect("changed");
    holder.reinstate(live.code.slot).expect("freed");
    assert_eq!(
        holder.scan(&live, "sentinel", IdCheck::None).reason,
        Reason::StandingRed
    );
}

#[test]
fn r28_a_corrected_name_is_one_event_without_the_name_and_leaves_the_codes() {
    let mut holder = Holder::new();
    let code = holder.issue("offline");
    let before = holder.state.clone();
    let events = holder.rename().expect("renamed");
    let [Event::HolderRenamed(renamed)] = &events[..] else {
        panic!("one event: {events:?}");
    };
    // The name itself is in the vault, under this id.
    assert_eq!(renamed.change, NameChangeId([6; 16]));
    assert_eq!(holder.state, before);
    assert!(holder.lives(&code));
}

#[test]
fn r28_erasure_ends_every_code_and_every_later_command_is_refused() {
    let mut holder = Holder::with_guardian(MOTHER);
    let live = holder.issue("live");
    let family = holder.issue_for("family", "app", Some(MOTHER)).expect("issued");
    let events = holder.erase(false).expect("erased");
    let [Event::HolderErased(erased)] = &events[..] else {
        panic!("one event: {events:?}");
    };
    assert_eq!(erased.codes, [live.code, family.code]);
    assert_eq!(holder.scan(&live, "sentinel", IdCheck::None).reason, Reason::Revoked);
    let gone = Refusal::NotRegistered;
    assert_eq!(holder.issue_for("live", "app", None), Err(gone));
    assert_eq!(holder.reprint("sampling", "app", None), Err(gone));
    assert_eq!(holder.lose("live", "app", None), Err(gone));
    assert_eq!(holder.revoke(live.code.slot), Err(gone));
    assert_eq!(holder.suspend(live.code.slot), Err(gone));
    assert_eq!(holder.reinstate(live.code.slot), Err(gone));
    assert_eq!(holder.relate(MOTHER), Err(gone));
    assert_eq!(holder.unrelate(MOTHER), Err(gone));
    assert_eq!(holder.set_standing(Standing::Red), Err(gone));
    assert_eq!(holder.rename(), Err(gone));
    assert_eq!(holder.erase(true), Err(gone));
}

#[test]
fn r28_erasure_needs_an_officer_during_a_hold_or_when_not_green() {
    let mut holder = Holder::new();
    let code = holder.issue("offline");
    holder.suspend(code.code.slot).expect("held");
    assert_eq!(holder.erase(false), Err(Refusal::OfficerNeeded));
    holder.lose("offline", "pc", None).expect("lost");
    assert_eq!(holder.erase(false), Err(Refusal::OfficerNeeded), "the hold stays");
    holder.reinstate(code.code.slot).expect("freed");
    holder.set_standing(Standing::Yellow).expect("changed");
    assert_eq!(holder.erase(false), Err(Refusal::OfficerNeeded));
    assert!(holder.erase(true).is_ok());
}
