//! `/gate`: what the public sees.

use citycode_domain::admission::Reason;
use citycode_wire::proto::verifier::v1::verify_request::Scan;
use http::StatusCode;
use tonic::Status;

use crate::browser::{Answer, Browser};
use crate::verifier::Says;

async fn scan(gate: &mut Browser, code: &str, says: Says) -> Answer {
    let token = gate.get("/gate").await.field("form_token");
    gate.verifier.says(says);
    let fields = [("form_token", token.as_str()), ("code", code)];
    gate.post_by_script("/gate/scan", &fields).await
}

#[tokio::test(start_paused = true)]
async fn a_gate_asks_for_a_code_or_an_id_card_and_shows_the_age_of_its_knowledge() {
    let mut gate = Browser::of("gate").await;
    let idle = gate.get("/gate").await;
    assert!(idle.says("请出示随申码或身份证") && !idle.has_verdict());
    assert!(idle.says("data-age-ms=\"500\" data-fresh=\"true\""));
    assert!(
        !idle.says("page-head") && !idle.says("page-foot"),
        "nothing but the gate"
    );
    let polled = gate.poll("/gate/state").await;
    assert!(polled.status == StatusCode::OK && polled.says("data-age-ms=\"500\""));
}

#[tokio::test(start_paused = true)]
async fn a_verdict_at_a_gate_lasts_three_seconds_and_tells_nothing_of_the_code() {
    let mut gate = Browser::of("gate").await;
    let answer = scan(&mut gate, "CODE", Says::Verdict(Reason::Ok, Some("live"))).await;
    assert_eq!(
        answer.verdict(),
        " role=\"status\" data-decision=\"admit\" data-reason=\"ok\" data-age-ms=\"500\" data-clear-after-ms=\"3000\""
    );
    assert!(answer.says("通过") && !answer.says("随申码") && !answer.says("<dl"));
    let paper = scan(
        &mut gate,
        "CODE",
        Says::Verdict(Reason::IdCheckRequired, Some("offline")),
    )
    .await;
    assert!(
        paper.verdict().contains("admit_after_id_check") && !paper.says("<form"),
        "nobody compares here"
    );
}

#[tokio::test(start_paused = true)]
async fn r30_a_gate_shows_holds_and_standings_only_as_please_see_staff() {
    let mut gate = Browser::of("gate").await;
    for reason in [Reason::Suspended, Reason::StandingRed, Reason::StandingYellow] {
        let answer = scan(&mut gate, "CODE", Says::Verdict(reason, Some("live"))).await;
        assert!(answer.says("<p class=\"verdict-word\">请走人工通道</p>"));
        for revealing in ["红码", "黄码", "暂停"] {
            assert!(!answer.says(revealing), "{revealing}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_at_a_gate_shows_cannot_check() {
    let mut gate = Browser::of("gate").await;
    let answer = scan(&mut gate, "CODE", Says::Fails(Status::unavailable("gone"))).await;
    assert!(answer.verdict().contains("data-decision=\"cannot_check\""));
    assert!(answer.says("无法核验") && answer.says("请走人工通道"));
}

#[tokio::test(start_paused = true)]
async fn an_id_card_is_read_at_a_gate_and_without_scripts_the_page_returns_to_idle() {
    let mut gate = Browser::of("gate").await;
    let token = gate.get("/gate").await.field("form_token");
    gate.verifier.says(Says::Verdict(Reason::Ok, None));
    let fields = [("form_token", token.as_str()), ("code", "11010519491231002X")];
    let answer = gate.post("/gate/scan", &fields).await;
    assert!(matches!(gate.verifier.asked()[0].scan, Some(Scan::IdCard(_))));
    assert!(answer.has_verdict() && answer.says("content=\"3;url=/gate\""));
}

#[tokio::test(start_paused = true)]
async fn a_gate_that_was_ended_says_so() {
    let mut gate = Browser::of("gate").await;
    gate.end_device("gate-1").await;
    assert_eq!(gate.poll("/gate/state").await.status, StatusCode::GONE);
    let page = gate.get("/gate").await;
    assert!(page.status == StatusCode::GONE && page.says("本设备已停用"));
}
