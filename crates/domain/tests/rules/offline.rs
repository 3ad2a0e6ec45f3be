//! R11–R15: the offline code.

use citycode_domain::admission::{IdCheck, Reason};
use citycode_domain::event::EligibilityGround;
use citycode_domain::lifecycle::Refusal;
use jiff::civil::{Date, date};

use crate::holder::{DAY, Holder, MOTHER};

fn ground(birth: Date, today: Date) -> Result<EligibilityGround, Refusal> {
    let mut holder = Holder::new().born(birth);
    holder.facts.today = today;
    holder.issue_for("offline", "kiosk", None).map(|issued| issued.ground)
}

#[test]
fn r11_valid_180_days_half_open() {
    let mut holder = Holder::new();
    let code = holder.issue("offline");
    assert_eq!(code.expires_at.seconds_since(code.issued_at), 180 * DAY);
    holder.pass(180 * DAY - 1);
    assert!(holder.lives(&code));
    holder.pass(1);
    assert!(!holder.lives(&code));
}

#[test]
fn r12_age_is_judged_in_full_years_to_the_day() {
    let under = Ok(EligibilityGround::Under);
    let from = Ok(EligibilityGround::From);
    let no = Err(Refusal::NotEligible);
    let today = date(2022, 8, 31);
    let table = [
        (date(2022, 8, 31), today, under),
        (date(2004, 9, 1), today, under),
        (date(2004, 8, 31), today, no),
        (date(1990, 1, 1), today, no),
        (date(1962, 9, 1), today, no),
        (date(1962, 8, 31), today, from),
        // 29 February falls on 1 March in common years.
        (date(2004, 2, 29), date(2022, 2, 28), under),
        (date(2004, 2, 29), date(2022, 3, 1), no),
        (date(1964, 2, 29), date(2024, 2, 28), no),
        (date(1964, 2, 29), date(2024, 2, 29), from),
        (date(1960, 2, 29), date(2021, 2, 28), from),
    ];
    for (birth, today, expected) in table {
        assert_eq!(ground(birth, today), expected, "born {birth}, on {today}");
    }
}

#[test]
fn r12_a_certificate_or_a_group_is_a_ground_at_every_age() {
    let mut holder = Holder::new().born(date(1990, 1, 1));
    let ask = |holder: &mut Holder| holder.issue_for("offline", "kiosk", None).map(|code| code.ground);
    assert_eq!(ask(&mut holder), Err(Refusal::NotEligible));
    holder.facts.group = true;
    assert_eq!(ask(&mut holder), Ok(EligibilityGround::Group));
    holder.facts.disability = true;
    assert_eq!(ask(&mut holder), Ok(EligibilityGround::Disability));
}

#[test]
fn r13_a_relative_with_a_recorded_relationship_may_get_it() {
    let mut holder = Holder::new().born(date(2015, 1, 1));
    let refused = holder.issue_for("offline", "kiosk", Some(MOTHER));
    assert_eq!(refused, Err(Refusal::RelationshipUnknown));
    holder.relate(MOTHER).expect("recorded");
    let code = holder.issue_for("offline", "kiosk", Some(MOTHER)).expect("issued");
    assert_eq!(code.acting_guardian, Some(MOTHER));
    assert_eq!(code.code.slot.guardian, None, "it is the holder's, not the mother's");
}

#[test]
fn r13_eligibility_is_judged_at_issue_not_later() {
    let mut holder = Holder::new().born(date(2004, 9, 1));
    let code = holder.issue("offline");
    holder.pass(DAY);
    assert_eq!(holder.facts.today, date(2022, 9, 1), "the 18th birthday");
    assert!(holder.lives(&code), "the code lives on");
    assert!(holder.reprint("offline", "pc", None).is_ok());
    let refused = holder.issue_for("offline", "pc", None);
    assert_eq!(refused, Err(Refusal::NotEligible), "a new issue is judged again");
    assert!(holder.lives(&code), "and its refusal kills nothing");
}

#[test]
fn r14_loss_reissue_and_issue_again_each_kill_every_earlier_print() {
    let mut holder = Holder::new();
    let first = holder.issue("offline");
    let second = holder.issue("offline");
    holder.lose("offline", "kiosk", None).expect("lost");
    let third = holder.issue_for("offline", "bank_kiosk", None).expect("issued");
    let reasons = [&first, &second, &third].map(|code| holder.scan(code, "staffed", IdCheck::Match).reason);
    assert_eq!(reasons, [Reason::Superseded, Reason::ReportedLost, Reason::Ok]);
    assert_eq!(third.supersedes, None, "the lost one was dead already");
}

#[test]
fn r15_after_a_loss_report_there_is_no_valid_code_until_one_is_issued() {
    let mut holder = Holder::new();
    let code = holder.issue_for("offline", "kiosk", None).expect("issued");
    holder
        .lose("offline", "pc", None)
        .expect("another channel, and no code shown");
    assert!(!holder.lives(&code));
    assert_eq!(holder.reprint("offline", "pc", None), Err(Refusal::NoValidCode));
    assert_eq!(holder.lose("offline", "pc", None), Err(Refusal::NoValidCode));
    assert_eq!(holder.state.all_alive(holder.now).count(), 0);
    let new = holder.issue("offline");
    assert!(holder.lives(&new));
}
