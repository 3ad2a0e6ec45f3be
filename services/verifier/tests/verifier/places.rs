//! What each place accepts, and the precedence of reasons.

use citycode_domain::admission::{Decision, Reason};
use citycode_domain::event::{
    CodeReinstated, CodeReportedLost, CodeRevoked, CodeSuspended, Event, Sealed, StandingChanged,
};
use citycode_domain::standing::Standing;
use citycode_service_kit::problem::Code as ProblemCode;
use citycode_token::DeviceSigner;

use crate::city::{City, HOLDER, LI, WANG, caller, desk, holder_stream, request, wang, words};

fn standing(code: &crate::city::Code, standing: Standing) -> Event {
    Event::StandingChanged(StandingChanged {
        standing,
        codes: vec![code.issued.code],
        reason: Sealed::default(),
    })
}

#[tokio::test]
async fn r18_the_sentinel_never_admits_a_paper_code_whatever_its_state() {
    let city = City::new().await;
    let code = city.issue("offline", 1).await;
    assert_eq!(city.reason("sentinel", &code.text), Reason::KindNotAcceptedHere);
    let answer = city.scan_with_card("sentinel", &code.text, WANG);
    assert_eq!(answer.verdict, Reason::KindNotAcceptedHere.verdict());
}

#[tokio::test]
async fn r19_paper_is_admitted_at_a_staffed_place_only_with_the_holders_card() {
    let city = City::new().await;
    let code = city.issue("offline", 1).await;
    let bare = city.scan("staffed", &code.text).verdict;
    assert_eq!(bare.decision, Decision::AdmitAfterIdCheck);
    assert_eq!(
        city.scan_with_card("staffed", &code.text, WANG).verdict.reason,
        Reason::Ok
    );
    let other = city.scan_with_card("staffed", &code.text, LI).verdict;
    assert_eq!((other.decision, other.reason), (Decision::Refuse, Reason::IdMismatch));
}

#[tokio::test]
async fn r21_standing_matters_only_at_places_that_require_it_and_changes_no_validity() {
    let city = City::new().await;
    let phone = DeviceSigner::from_seed([4; 32]);
    let code = city.issue_live(1, &phone).await;
    let shown = city.shown(&code, &phone);
    for (set, reason) in [
        (Standing::Yellow, Reason::StandingYellow),
        (Standing::Red, Reason::StandingRed),
        (Standing::Green, Reason::Ok),
    ] {
        city.tell(&holder_stream(), standing(&code, set)).await;
        let answer = city.scan("sentinel", &shown);
        assert_eq!((answer.verdict.reason, answer.standing), (reason, Some(set)));
        let desk = city.scan("sampling_desk", &shown);
        assert_eq!(
            (desk.verdict.reason, desk.standing),
            (Reason::Ok, None),
            "R30: not shown where not needed"
        );
        let card = city
            .verifier
            .scan_id_card(city.place("staffed"), &wang(), Some(HOLDER), city.at_once());
        assert_eq!((card.verdict.reason, card.standing), (reason, Some(set)));
    }
    let stranger = city
        .verifier
        .scan_id_card(city.place("staffed"), &wang(), None, city.at_once());
    assert_eq!(
        stranger.verdict.reason,
        Reason::Ok,
        "without a standing a person counts as green"
    );
}

#[tokio::test]
async fn r22_a_code_on_hold_is_refused_until_reinstated_and_a_revoked_one_permanently() {
    let city = City::new().await;
    let code = city.issue("sampling", 1).await;
    let held = CodeSuspended {
        code: code.issued.code,
        reason: Sealed::default(),
    };
    city.tell(&holder_stream(), Event::CodeSuspended(held)).await;
    assert_eq!(city.reason("sampling_desk", &code.text), Reason::Suspended);
    let lifted = CodeReinstated {
        slot: code.issued.code.slot,
        code: Some(code.issued.code),
        reason: Sealed::default(),
    };
    city.tell(&holder_stream(), Event::CodeReinstated(lifted.clone())).await;
    assert_eq!(city.reason("sampling_desk", &code.text), Reason::Ok);
    let revoked = CodeRevoked {
        code: code.issued.code,
        reason: Sealed::default(),
    };
    city.tell(&holder_stream(), Event::CodeRevoked(revoked)).await;
    city.tell(&holder_stream(), Event::CodeReinstated(lifted)).await;
    assert_eq!(city.reason("sampling_desk", &code.text), Reason::Revoked);
}

#[tokio::test]
async fn r23_the_first_reason_takes_precedence() {
    let city = City::new().await;
    let code = city.issue("sampling", 1).await;
    assert_eq!(city.reason("sentinel", "HELLO"), Reason::Unreadable);
    assert_eq!(city.reason("sentinel", &"A".repeat(5_000)), Reason::Unreadable);
    assert_eq!(city.reason("sentinel", "码"), Reason::Unreadable);
    let spaced = format!(" \u{feff}{}\r\n", code.text.to_lowercase());
    assert_eq!(
        city.reason("sampling_desk", &spaced),
        Reason::Ok,
        "space and case do not matter"
    );
    let lost = CodeReportedLost {
        code: code.issued.code,
        acting_guardian: None,
    };
    city.tell(&holder_stream(), Event::CodeReportedLost(lost)).await;
    assert_eq!(city.reason("sampling_desk", &code.text), Reason::ReportedLost);
    assert_eq!(
        city.reason("sentinel", &code.text),
        Reason::KindNotAcceptedHere,
        "before the end of the code"
    );
    city.clock.advance(std::time::Duration::from_secs(31 * 86_400));
    assert_eq!(city.reason("sentinel", &code.text), Reason::Expired, "before the kind");
}

#[tokio::test]
async fn r16_a_live_code_needs_a_fresh_proof_every_time() {
    let city = City::new().await;
    let phone = DeviceSigner::from_seed([4; 32]);
    let code = city.issue_live(1, &phone).await;
    assert_eq!(city.reason("sampling_desk", &code.text), Reason::MissingProof);
    let shown = city.shown(&code, &phone);
    assert_eq!(city.reason("sampling_desk", &shown), Reason::Ok);
    city.clock.advance(std::time::Duration::from_secs(61));
    city.prove().await;
    assert_eq!(
        city.reason("sampling_desk", &shown),
        Reason::StaleProof,
        "a screenshot expires by itself"
    );
    let thief = DeviceSigner::from_seed([5; 32]);
    let forged = city.shown(&code, &thief);
    assert_eq!(city.reason("sampling_desk", &forged), Reason::BadSignature);
    let again = city.shown(&code, &phone);
    assert_eq!(city.reason("sampling_desk", &again), Reason::Ok);
}

#[tokio::test]
async fn the_error_for_an_unknown_place_lists_the_places_and_a_foreign_device_may_not_verify() {
    let city = City::new().await;
    let code = city.issue("sampling", 1).await;
    let unknown = city
        .verify(&desk(), request("airport", &code.text, ""))
        .await
        .unwrap_err();
    assert_eq!(unknown.code(), ProblemCode::UnknownPlace);
    assert!(unknown.detail().contains("sampling_desk"));
    let gate = caller(&["verifier:sentinel:gate-7"]);
    let elsewhere = city
        .verify(&gate, request("staffed", &code.text, ""))
        .await
        .unwrap_err();
    assert_eq!(elsewhere.code(), ProblemCode::NotAllowed);
    let mut as_other = request("sentinel", &code.text, "");
    as_other.device = "gate-8".into();
    let as_other = city.verify(&gate, as_other).await.unwrap_err();
    assert_eq!(as_other.code(), ProblemCode::NotAllowed);
    let right = city.verify(&gate, request("sentinel", &code.text, "")).await.unwrap();
    assert_eq!(words(&right), (Decision::Refuse, Reason::KindNotAcceptedHere));
}

#[tokio::test]
async fn only_an_auditor_may_verify_for_another_time() {
    let city = City::new().await;
    let code = city.issue("sampling", 1).await;
    let mut later = request("sampling_desk", &code.text, "what-if");
    later.at = Some(crate::city::START + 31 * 86_400);
    let refused = city.verify(&desk(), later.clone()).await.unwrap_err();
    assert_eq!(refused.code(), ProblemCode::NotAllowed);
    let answer = city.verify(&caller(&["auditor"]), later).await.unwrap();
    assert_eq!(words(&answer), (Decision::Refuse, Reason::Expired));
    let now = city
        .verify(&desk(), request("sampling_desk", &code.text, "what-if"))
        .await
        .unwrap();
    assert_eq!(
        words(&now),
        (Decision::Admit, Reason::Ok),
        "nothing was recorded under the scan id"
    );
}
