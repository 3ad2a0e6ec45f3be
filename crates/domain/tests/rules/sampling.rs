//! R7–R10: the sampling code.

use citycode_domain::admission::{IdCheck, Reason};
use citycode_domain::lifecycle::Refusal;
use jiff::civil::date;

use crate::holder::{DAY, Holder, MOTHER};

#[test]
fn r07_valid_at_issue_and_dead_at_30_days_to_the_second() {
    let mut holder = Holder::new();
    let code = holder.issue("sampling");
    let scan = |holder: &Holder| holder.scan(&code, "sampling_desk", IdCheck::None).reason;
    assert_eq!(scan(&holder), Reason::Ok, "valid at the instant of issue");
    holder.pass(30 * DAY - 1);
    assert_eq!(scan(&holder), Reason::Ok, "a screenshot may be reused");
    holder.pass(1);
    assert_eq!(scan(&holder), Reason::Expired);
    holder.pass(DAY);
    assert_eq!(scan(&holder), Reason::Expired, "dead at 31 days");
}

#[test]
fn r08_any_registered_holder_may_get_one() {
    for birth in [date(1952, 1, 1), date(1990, 1, 1), date(2022, 8, 31)] {
        let mut holder = Holder::new().born(birth);
        assert!(holder.issue_for("sampling", "app", None).is_ok(), "{birth}");
    }
}

#[test]
fn r09_a_guardian_needs_a_valid_family_code() {
    let mut holder = Holder::new();
    let ask = |holder: &mut Holder| holder.issue_for("sampling", "app", Some(MOTHER)).map(|_| ());
    assert_eq!(ask(&mut holder), Err(Refusal::FamilyCodeRequired), "a stranger");
    holder.relate(MOTHER).expect("recorded");
    assert_eq!(
        ask(&mut holder),
        Err(Refusal::FamilyCodeRequired),
        "a relationship is not enough"
    );
    holder.issue_for("family", "app", Some(MOTHER)).expect("issued");
    assert_eq!(ask(&mut holder), Ok(()));
    let family = holder.slot("family", Some(MOTHER));
    holder.suspend(family).expect("held");
    assert_eq!(
        ask(&mut holder),
        Err(Refusal::FamilyCodeRequired),
        "a family code on hold is not sufficient"
    );
    holder.reinstate(family).expect("freed");
    assert_eq!(ask(&mut holder), Ok(()));
    holder.pass(365 * DAY);
    assert_eq!(
        ask(&mut holder),
        Err(Refusal::FamilyCodeRequired),
        "an expired family code is not sufficient"
    );
}

#[test]
fn r10_regenerating_kills_every_earlier_image() {
    let mut holder = Holder::new();
    let images: Vec<_> = (0..5).map(|_| holder.issue("sampling")).collect();
    let (last, earlier) = images.split_last().expect("five");
    for image in earlier {
        let reason = holder.scan(image, "sampling_desk", IdCheck::None).reason;
        assert_eq!(reason, Reason::Superseded);
    }
    assert_eq!(holder.scan(last, "sampling_desk", IdCheck::None).reason, Reason::Ok);
}
