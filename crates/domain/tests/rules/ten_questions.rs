//! The ten questions that residents asked the city (2022-08-31), on the pure domain.

use citycode_domain::admission::{Decision, IdCheck, Reason};

use crate::holder::{DAY, Holder, MOTHER};

/// A holder with a sampling code, then an offline code.
fn holder() -> (Holder, [citycode_domain::event::CodeIssued; 2]) {
    let mut holder = Holder::with_guardian(MOTHER);
    let sampling = holder.issue("sampling");
    let offline = holder.issue("offline");
    (holder, [sampling, offline])
}

#[test]
fn question_01_the_sampling_code_works_on_after_an_offline_code() {
    let (holder, [sampling, _]) = holder();
    assert_eq!(
        holder.scan(&sampling, "sampling_desk", IdCheck::None).reason,
        Reason::Ok
    );
}

#[test]
fn question_02_the_sampling_code_can_be_renewed_and_the_offline_code_stays() {
    let (mut holder, [old, offline]) = holder();
    let new = holder.issue("sampling");
    assert!(holder.lives(&new) && !holder.lives(&old) && holder.lives(&offline));
}

#[test]
fn question_03_sampling_by_id_card_affects_neither_code() {
    use citycode_domain::admission::{IdCardEvidence, judge_id_card};
    let (holder, [sampling, offline]) = holder();
    let desk = holder.policy.place("sampling_desk").expect("a place");
    let evidence = IdCardEvidence {
        standing: holder.state.standing,
    };
    let verdict = judge_id_card(evidence, desk, &crate::holder::fresh(holder.now));
    assert_eq!(verdict.decision, Decision::Admit);
    assert!(holder.lives(&sampling) && holder.lives(&offline));
}

#[test]
fn question_04_the_live_code_still_serves_at_sampling() {
    let (mut holder, [sampling, offline]) = holder();
    let live = holder.issue("live");
    assert_eq!(
        holder.scan(&live, "sampling_desk", IdCheck::None).decision,
        Decision::Admit
    );
    assert!(holder.lives(&sampling) && holder.lives(&offline));
}

#[test]
fn question_05_a_sentinel_takes_no_paper_and_staff_take_it_with_the_card() {
    let (holder, [_, offline]) = holder();
    let at = |place, card| holder.scan(&offline, place, card);
    for card in [IdCheck::None, IdCheck::Match] {
        assert_eq!(at("sentinel", card).reason, Reason::KindNotAcceptedHere);
    }
    assert_eq!(at("staffed", IdCheck::None).decision, Decision::AdmitAfterIdCheck);
    assert_eq!(at("staffed", IdCheck::Match).decision, Decision::Admit);
}

#[test]
fn question_06_a_family_code_at_sampling_affects_nothing_else() {
    let (mut holder, [sampling, offline]) = holder();
    let family = holder.issue_for("family", "app", Some(MOTHER)).expect("issued");
    assert_eq!(
        holder.scan(&family, "sampling_desk", IdCheck::None).decision,
        Decision::Admit
    );
    assert!(holder.lives(&sampling) && holder.lives(&offline));
}

#[test]
fn question_07_a_screenshot_of_31_days_is_dead() {
    let (mut holder, [sampling, _]) = holder();
    holder.pass(31 * DAY);
    assert_eq!(
        holder.scan(&sampling, "sampling_desk", IdCheck::None).reason,
        Reason::Expired
    );
}

#[test]
fn question_08_the_earlier_screenshot_dies_at_once() {
    let (mut holder, [old, _]) = holder();
    holder.issue("sampling");
    assert_eq!(
        holder.scan(&old, "sampling_desk", IdCheck::None).reason,
        Reason::Superseded
    );
}

#[test]
fn question_09_the_print_reported_lost_at_a_kiosk_is_dead() {
    let (mut holder, [_, offline]) = holder();
    holder.lose("offline", "kiosk", None).expect("lost");
    assert_eq!(
        holder.scan(&offline, "staffed", IdCheck::Match).reason,
        Reason::ReportedLost
    );
}

#[test]
fn question_10_applied_again_the_old_print_is_dead_and_the_new_has_180_days() {
    let (mut holder, [_, old]) = holder();
    holder.pass(30 * DAY);
    let new = holder.issue("offline");
    assert_eq!(holder.scan(&old, "staffed", IdCheck::Match).reason, Reason::Superseded);
    assert_eq!(new.expires_at.seconds_since(holder.now), 180 * DAY);
}
