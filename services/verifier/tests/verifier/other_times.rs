//! Requests for another time: answered on the current state, never for the past, and never counted.

use std::time::Duration;

use citycode_domain::admission::{Decision, Reason};
use citycode_service_kit::problem::Code as ProblemCode;
use citycode_wire::proto::verifier::v1::VerifyRequest;
use metrics_exporter_prometheus::PrometheusBuilder;

use crate::city::{City, WANG, caller, card, desk, request, words};

impl City {
    /// A request for a time this many seconds from now.
    fn question(&self, text: &str, seconds_from_now: i64) -> VerifyRequest {
        let mut question = request("sampling_desk", text, "");
        question.at = Some(self.now().plus_seconds(seconds_from_now).0);
        question
    }
}

#[tokio::test]
async fn a_time_more_than_5_s_ago_is_not_answered_with_the_status_of_now() {
    let city = City::new().await;
    let code = city.issue("sampling", 1).await;
    city.clock.advance(Duration::from_secs(30));
    city.prove().await;
    for role in ["auditor", "admin"] {
        let asker = caller(&[role]);
        let just_now = city.verify(&asker, city.question(&code.text, -5)).await.unwrap();
        assert_eq!(words(&just_now), (Decision::Admit, Reason::Ok));
        let past = city.verify(&asker, city.question(&code.text, -6)).await.unwrap_err();
        assert_eq!(past.code(), ProblemCode::PastNotSupported);
        assert_eq!(past.code().exit_code(), 2);
        let mut least = city.question(&code.text, 0);
        least.at = Some(i64::MIN);
        let least = city.verify(&asker, least).await.unwrap_err();
        assert_eq!(least.code(), ProblemCode::PastNotSupported);
    }
    let mut of_a_card = card("staffed", WANG, "");
    of_a_card.at = Some(city.now().plus_seconds(-6).0);
    let of_a_card = city.verify(&caller(&["admin"]), of_a_card).await.unwrap_err();
    assert_eq!(of_a_card.code(), ProblemCode::PastNotSupported);
    let of_a_gate = city.verify(&desk(), city.question(&code.text, -6)).await.unwrap_err();
    assert_eq!(
        of_a_gate.code(),
        ProblemCode::NotAllowed,
        "the missing right is reported first"
    );
}

#[tokio::test]
async fn r25_a_request_for_another_time_counts_as_no_scan_and_raises_no_alarm() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let rendered = recorder.handle();
    let _installed = metrics::set_default_local_recorder(&recorder);
    let city = City::new().await;
    let forged = city.sign("sampling", 1, None);
    city.clock.advance(Duration::from_secs(3 * 3_600));
    city.prove().await;
    let auditor = caller(&["auditor"]);
    let answer = city.verify(&auditor, city.question(&forged.text, 60)).await.unwrap();
    assert_eq!(words(&answer), (Decision::Refuse, Reason::UnknownCode));
    let counted = || {
        let text = rendered.render();
        let lines = text.lines().filter(|line| line.starts_with("citycode_verifier_"));
        let of_scans = |line: &&str| line.contains("_scans_") || line.contains("alarms") || line.contains("unknown");
        let values = lines
            .filter(of_scans)
            .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
        values.sum::<u64>()
    };
    assert_eq!(counted(), 0);
    let scanned = city
        .verify(&desk(), request("sampling_desk", &forged.text, ""))
        .await
        .unwrap();
    assert_eq!(words(&scanned), (Decision::Refuse, Reason::UnknownCode));
    assert_eq!(counted(), 3, "one scan, one unknown code, one alarm");
}

#[tokio::test]
async fn r24_a_request_for_another_time_for_a_code_that_is_not_folded_yet_cannot_be_checked() {
    let city = City::new().await;
    city.clock.advance(Duration::from_secs(3));
    let newborn = city.sign("sampling", 1, None);
    let auditor = caller(&["auditor"]);
    let answer = city.verify(&auditor, city.question(&newborn.text, 60)).await.unwrap();
    assert_eq!(words(&answer), (Decision::CannotCheck, Reason::TooStale));
}

#[tokio::test]
async fn r24_a_request_for_another_time_has_the_same_age_limit_as_a_scan() {
    let city = City::new().await;
    let code = city.issue("sampling", 1).await;
    city.clock.advance(Duration::from_secs(61));
    let auditor = caller(&["auditor"]);
    let answer = city.verify(&auditor, city.question(&code.text, 60)).await.unwrap();
    assert_eq!(words(&answer), (Decision::CannotCheck, Reason::TooStale));
    assert_eq!(answer.as_of.unwrap().age_ms, 61_000);
    city.prove().await;
    let answer = city.verify(&auditor, city.question(&code.text, 60)).await.unwrap();
    assert_eq!(words(&answer), (Decision::Admit, Reason::Ok));
}
