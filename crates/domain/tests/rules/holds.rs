//! R22: an officer's hold and revocation.

use citycode_domain::admission::{IdCheck, Reason};
use citycode_domain::event::Event;
use citycode_domain::lifecycle::Refusal;

use crate::holder::{DAY, Holder};

#[test]
fn r22_a_held_code_refuses_until_it_is_reinstated() {
    let mut holder = Holder::new();
    let code = holder.issue("offline");
    let slot = code.code.slot;
    holder.suspend(slot).expect("held");
    assert_eq!(holder.scan(&code, "staffed", IdCheck::Match).reason, Reason::Suspended);
    assert_eq!(holder.suspend(slot), Ok(Vec::new()), "held already");
    holder.reinstate(slot).expect("freed");
    assert_eq!(holder.scan(&code, "staffed", IdCheck::Match).reason, Reason::Ok);
    assert_eq!(holder.reinstate(slot), Ok(Vec::new()), "free already");
}

#[test]
fn r22_while_held_the_kind_can_only_be_reported_lost() {
    let mut holder = Holder::new();
    let code = holder.issue("offline");
    let other = holder.issue("sampling");
    holder.suspend(code.code.slot).expect("held");
    assert_eq!(holder.issue_for("offline", "pc", None), Err(Refusal::OnHold));
    assert_eq!(holder.reprint("offline", "pc", None), Err(Refusal::OnHold));
    assert!(
        holder.reprint("sampling", "app", None).is_ok(),
        "another kind is free (R1)"
    );
    assert!(holder.lives(&other));
    holder.lose("offline", "pc", None).expect("a held code can be lost");
    assert_eq!(
        holder.scan(&code, "staffed", IdCheck::Match).reason,
        Reason::ReportedLost
    );
}

#[test]
fn r22_loss_or_expiry_of_a_held_code_does_not_lift_the_hold() {
    for lost in [true, false] {
        let mut holder = Holder::new();
        let code = holder.issue("offline");
        let slot = code.code.slot;
        holder.suspend(slot).expect("held");
        if lost {
            holder.lose("offline", "pc", None).expect("lost");
        } else {
            holder.pass(200 * DAY);
        }
        assert_eq!(
            holder.issue_for("offline", "pc", None),
            Err(Refusal::OnHold),
            "lost: {lost}"
        );
        let events = holder.reinstate(slot).expect("freed");
        let [Event::CodeReinstated(freed)] = &events[..] else {
            panic!("one event: {events:?}");
        };
        assert_eq!(freed.code, None, "a dead code does not become valid again");
        assert!(!holder.lives(&code));
        let new = holder.issue("offline");
        assert!(holder.lives(&new) && new.supersedes.is_none());
    }
}

#[test]
fn r22_revoking_ends_the_hold_and_the_code_for_good() {
    let mut holder = Holder::new();
    let code = holder.issue("offline");
    let slot = code.code.slot;
    holder.suspend(slot).expect("held");
    holder.revoke(slot).expect("revoked");
    assert_eq!(holder.scan(&code, "staffed", IdCheck::Match).reason, Reason::Revoked);
    assert_eq!(holder.reinstate(slot), Err(Refusal::NoValidCode), "dead for good");
    assert_eq!(holder.revoke(slot), Err(Refusal::NoValidCode));
    let new = holder.issue("offline");
    assert!(holder.lives(&new) && !holder.lives(&code));
}
