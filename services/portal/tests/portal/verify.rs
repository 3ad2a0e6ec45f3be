//! Verification of one scan.

use citycode_wire::proto::model::v1::Standing;
use citycode_wire::proto::verifier::v1::verify_request::Scan;
use citycode_wire::proto::verifier::v1::{Decision, Reason, VerifyRequest, VerifyResponse};
use serde_json::json;

use crate::fakes::verdict;
use crate::harness::City;

#[tokio::test]
async fn a_scan_sends_every_field_and_answers_as_the_api_specifies() {
    let city = City::new();
    city.fakes.ready(verdict());
    let body = json!({
        "place": "staffed", "code": "TOKEN:TEXT", "id_number": "N", "device": "desk-1", "scan_id": "s/1",
        "at": "2022-08-31T10:00:00.9+08:00",
    });
    assert_eq!(
        city.post("/api/v1/verify", body).await.ok(),
        json!({
            "decision": "admit_after_id_check", "reason": "id_check_required", "kind": "offline",
            "code_id": "9f86d081884c7d65", "place": "staffed", "expires_at": "2023-02-27T02:00:00Z",
            "standing": "green", "as_of": {"position": {"partition": 3, "sequence": 41}, "age_ms": 120},
            "explanation": {"zh": "请核对身份证", "en": "Check the ID card"},
        })
    );
    let asked = city.fakes.asked::<VerifyRequest>();
    assert!(asked.place == "staffed" && asked.scan == Some(Scan::Code("TOKEN:TEXT".into())));
    assert!(asked.id_number == "N" && asked.device == "desk-1" && asked.scan_id == "s/1");
    assert_eq!(asked.at, Some(1_661_911_200), "whole seconds");
    assert!(!asked.omit_explanation);
}

#[tokio::test]
async fn r20_a_scan_id_is_drawn_if_the_place_registers_and_the_caller_sets_none() {
    let city = City::new();
    city.fakes.ready(verdict());
    for (place, named, drawn) in [
        ("sampling_desk", None, true),
        ("sampling_desk", Some(""), true),
        ("sampling_desk", Some("s/1"), false),
        ("newer_than_this_policy", None, true),
        ("sentinel", None, false),
    ] {
        let body = json!({"place": place, "code": "c", "scan_id": named});
        city.post("/api/v1/verify", body).await.ok();
        let sent = city.fakes.asked::<VerifyRequest>().scan_id;
        if drawn {
            assert_eq!(sent.len(), 22, "{place}");
        } else {
            assert_eq!(sent, named.unwrap_or_default(), "{place}");
        }
    }
}

#[tokio::test]
async fn fields_that_the_verifier_omits_are_omitted() {
    let city = City::new();
    city.fakes.ready(VerifyResponse {
        decision: Decision::Refuse.into(),
        reason: Reason::Unreadable.into(),
        kind: None,
        code_id: None,
        expires_at: None,
        standing: Standing::Unspecified.into(),
        ..verdict()
    });
    let answer = city
        .post("/api/v1/verify", json!({"place": "sentinel", "code": "?"}))
        .await;
    let answer = answer.ok();
    let names: std::collections::BTreeSet<_> = answer.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = ["as_of", "decision", "explanation", "place", "reason"];
    assert_eq!(names, expected.into());
}

#[tokio::test]
async fn every_reason_and_decision_has_its_name() {
    const REASONS: &str = "ok unreadable bad_signature not_yet_valid expired kind_not_accepted_here unknown_code \
        superseded reported_lost revoked suspended standing_yellow standing_red stale_proof missing_proof \
        id_check_required id_mismatch too_stale clock_untrusted double_use";
    const DECISIONS: &str = "admit admit_after_id_check refuse cannot_check";
    let city = City::new();
    for (reason, word) in (1..).zip(REASONS.split_whitespace()) {
        city.fakes.ready(VerifyResponse { reason, ..verdict() });
        let answer = city.post("/api/v1/verify", json!({"place": "p", "code": "c"})).await;
        assert_eq!(answer.ok()["reason"], word);
    }
    for (decision, word) in (1..).zip(DECISIONS.split_whitespace()) {
        city.fakes.ready(VerifyResponse { decision, ..verdict() });
        let answer = city.post("/api/v1/verify", json!({"place": "p", "code": "c"})).await;
        assert_eq!(answer.ok()["decision"], word);
    }
}

#[tokio::test]
async fn r29_an_answer_contains_the_position_only_if_the_verifiers_does() {
    let city = City::new();
    let mut without = verdict();
    without.as_of = Some(citycode_wire::proto::verifier::v1::AsOf {
        partition: None,
        sequence: None,
        age_ms: 500,
    });
    city.fakes.ready(without);
    let answer = city.post("/api/v1/verify", json!({"place": "p", "code": "c"})).await;
    assert_eq!(answer.ok()["as_of"], json!({"age_ms": 500}));
}

#[tokio::test]
async fn an_answer_without_a_verdict_is_a_problem() {
    let city = City::new();
    for answer in [
        VerifyResponse::default(),
        VerifyResponse {
            decision: 0,
            ..verdict()
        },
        VerifyResponse {
            reason: 99,
            ..verdict()
        },
        VerifyResponse {
            as_of: None,
            ..verdict()
        },
    ] {
        city.fakes.ready(answer);
        let answer = city.post("/api/v1/verify", json!({"place": "p", "code": "c"})).await;
        assert_eq!(answer.problem(), (500, "internal".into()));
    }
}

#[tokio::test]
async fn an_id_card_is_sent_as_a_card() {
    let city = City::new();
    city.fakes.ready(verdict());
    let body = json!({"place": "sentinel", "id_card": "N"});
    city.post("/api/v1/verify", body).await.ok();
    let asked = city.fakes.asked::<VerifyRequest>();
    assert!(asked.scan == Some(Scan::IdCard("N".into())) && asked.at.is_none());
}

#[tokio::test]
async fn a_scan_has_exactly_one_of_code_and_card_and_a_valid_time() {
    let city = City::new();
    for body in [
        json!({"place": "p"}),
        json!({"place": "p", "code": "c", "id_card": "N"}),
        json!({"code": "c"}),
        json!({"place": "p", "code": "c", "at": "yesterday"}),
        json!({"place": "p", "code": "c", "at": 1_661_911_200}),
        json!({"place": "p", "code": "c", "at": "2022-08-31T10:00:00"}),
        json!({"place": "p", "code": 7}),
        json!({"place": "p", "code": "c", "colour": "red"}),
    ] {
        let answer = city.post("/api/v1/verify", body.clone()).await;
        assert_eq!(answer.problem(), (400, "invalid_request".into()), "{body}");
    }
    assert_eq!(city.fakes.calls(), 0);
}
