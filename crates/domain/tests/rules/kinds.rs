//! R1–R6: kinds are independent, one valid code for each, reissue, expiry, reprint.

use citycode_domain::admission::{IdCheck, Reason};
use citycode_domain::lifecycle::{HolderState, Refusal};

use crate::holder::{DAY, FATHER, Holder, MOTHER};

#[test]
fn r01_nothing_done_to_one_kind_changes_another() {
    let mut holder = Holder::new();
    let live = holder.issue("live");
    let sampling = holder.issue("sampling");
    let offline = holder.issue("offline");
    holder.issue("sampling");
    holder.lose("sampling", "app", None).expect("lost");
    assert!(holder.lives(&live) && holder.lives(&offline));
    assert!(!holder.lives(&sampling));
    holder.pass(180 * DAY);
    assert!(holder.lives(&live), "the offline code's expiry is its own");
    assert!(!holder.lives(&offline));
}

#[test]
fn r02_scanning_appends_no_event_and_changes_nothing() {
    let mut holder = Holder::new();
    let sampling = holder.issue("sampling");
    let before = (holder.state.clone(), holder.log.len());
    for _ in 0..100 {
        assert_eq!(
            holder.scan(&sampling, "sampling_desk", IdCheck::None).reason,
            Reason::Ok
        );
    }
    assert_eq!(before, (holder.state.clone(), holder.log.len()));
}

#[test]
fn r03_registering_twice_is_one_holder() {
    let holder = Holder::new();
    let again = citycode_domain::lifecycle::register_holder::decide(&holder.state, FATHER);
    assert!(again.is_empty());
}

#[test]
fn r03_family_codes_are_one_for_each_guardian() {
    let mut holder = Holder::with_guardian(MOTHER);
    holder.relate(FATHER).expect("recorded");
    let hers = holder.issue_for("family", "app", Some(MOTHER)).expect("issued");
    let his = holder.issue_for("family", "app", Some(FATHER)).expect("issued");
    assert!(
        holder.lives(&hers) && holder.lives(&his),
        "the codes of two guardians are independent"
    );
    let hers_again = holder.issue_for("family", "app", Some(MOTHER)).expect("issued");
    assert_eq!(hers_again.supersedes, Some(hers.code));
    assert!(!holder.lives(&hers) && holder.lives(&his));
}

#[test]
fn r03_an_unregistered_person_gets_no_code() {
    let mut holder = Holder::new();
    holder.state = HolderState::default();
    assert_eq!(holder.issue_for("live", "app", None), Err(Refusal::NotRegistered));
}

#[test]
fn r04_one_event_ends_the_old_code_and_starts_the_new_one() {
    let mut holder = Holder::new();
    let old = holder.issue("sampling");
    let events = holder.log.len();
    let new = holder.issue("sampling");
    assert_eq!(holder.log.len(), events + 1, "one event: no crash can come between");
    assert_eq!(new.supersedes, Some(old.code));
    assert!(!holder.lives(&old) && holder.lives(&new));
    assert_eq!(
        holder.scan(&old, "sampling_desk", IdCheck::None).reason,
        Reason::Superseded
    );
}

#[test]
fn r05_an_expired_code_is_dead_for_good_and_a_new_one_supersedes_nothing() {
    let mut holder = Holder::new();
    let old = holder.issue("sampling");
    holder.pass(30 * DAY);
    assert_eq!(
        holder.scan(&old, "sampling_desk", IdCheck::None).reason,
        Reason::Expired
    );
    assert_eq!(holder.reprint("sampling", "app", None), Err(Refusal::NoValidCode));
    assert_eq!(holder.lose("sampling", "app", None), Err(Refusal::NoValidCode));
    let slot = holder.slot("sampling", None);
    assert_eq!(holder.revoke(slot), Err(Refusal::NoValidCode));
    assert_eq!(holder.suspend(slot), Err(Refusal::NoValidCode));
    let new = holder.issue("sampling");
    assert_eq!(new.supersedes, None);
    assert!(holder.lives(&new) && !holder.lives(&old));
}

#[test]
fn r06_reprint_names_the_same_code_and_leaves_its_expiry() {
    let mut holder = Holder::new();
    let issued = holder.issue("offline");
    let position = holder.log.last().expect("an event").1;
    holder.pass(100 * DAY);
    let events = holder.log.len();
    let reprint = holder.reprint("offline", "pc", None).expect("reprinted");
    assert_eq!(reprint.code.code_id, issued.code.code_id);
    assert_eq!(reprint.code.expires_at, issued.expires_at);
    assert_eq!(
        reprint.code.issued_position, position,
        "the token comes from its own event"
    );
    assert_eq!(holder.log.len(), events);
    assert_eq!(
        holder.reprint("offline", "kiosk", None),
        Err(Refusal::ChannelNotAllowed)
    );
}

#[test]
fn a_channel_does_only_what_the_policy_says() {
    let mut holder = Holder::new();
    for (kind, channel) in [
        ("offline", "app"),
        ("live", "kiosk"),
        ("sampling", "pc"),
        ("offline", "counter"),
    ] {
        let refused = holder.issue_for(kind, channel, None);
        assert_eq!(refused, Err(Refusal::ChannelNotAllowed), "{kind} at {channel}");
    }
    holder.issue("offline");
    assert_eq!(holder.lose("offline", "app", None), Err(Refusal::ChannelNotAllowed));
}
