use axum::response::IntoResponse as _;
use http_body_util::BodyExt as _;
use tonic::Status;

use super::*;

#[test]
fn every_code_survives_the_round_trip_through_grpc() {
    for &code in Code::ALL {
        let problem = Problem::new(code, "孔乙己's case: 「什么」")
            .with_fix("do this")
            .with_retry_after(3);
        let status = Status::from(problem.clone());
        assert_eq!(status.code(), code.grpc_code());
        // Over the wire: into headers and out of them.
        let headers = status.into_http::<()>().into_parts().0.headers;
        let received = Status::from_header_map(&headers).unwrap();
        assert_eq!(Problem::from(received), problem);
    }
    let unauthenticated = Problem::unauthenticated("no token");
    let status = Status::from(unauthenticated.clone());
    assert_eq!(status.code(), tonic::Code::Unauthenticated);
    assert_eq!(Problem::from(status), unauthenticated);
}

#[test]
fn the_outcome_of_a_change_passes_through_grpc_into_the_answer() {
    let problem = Problem::change_unknown();
    let headers = Status::from(problem.clone()).into_http::<()>().into_parts().0.headers;
    let received = Problem::from(Status::from_header_map(&headers).unwrap());
    assert!(received.is_outcome_unknown());
    assert_eq!(received, problem);
    let words = |problem: Problem| serde_json::to_value(problem).unwrap();
    assert_eq!(words(problem)["outcome"], "unknown");
    let refused = Problem::new(Code::OnHold, "held");
    assert!(words(refused.clone()).get("outcome").is_none());
    assert_eq!(words(refused.clone().of_change())["outcome"], "not_done");
    assert_eq!(
        Problem::from(Status::from(refused.clone().of_change())).outcome(),
        Some(Outcome::NotDone)
    );
    assert_eq!(Problem::change_unknown().of_change().outcome(), Some(Outcome::Unknown));
    assert_eq!(Problem::change_unknown().of_query().outcome(), None);
    // A service of an earlier release sends the outcome beside the problem, not in it.
    let mut earlier = Status::from(Problem::new(Code::Unavailable, "nobody knows"));
    earlier
        .metadata_mut()
        .insert("citycode-outcome", "unknown".parse().unwrap());
    assert!(Problem::from(earlier).is_outcome_unknown());
    assert!(!Problem::new(Code::Unavailable, "it was not made").is_outcome_unknown());
    assert!(Problem::from(Status::unavailable("broken pipe")).is_outcome_unknown());
}

#[test]
fn exit_codes_are_those_of_the_public_api() {
    let expected = [
        (
            3,
            "not_eligible channel_not_allowed relationship_unknown family_code_required on_hold invalid_id_number invalid_name unknown_kind unknown_place idempotency_key_reused",
        ),
        (4, "not_registered no_valid_code not_found no_record retention"),
        (5, "unavailable"),
        (6, "not_allowed rate_limited"),
        (2, "invalid_request past_not_supported time_not_available"),
        (1, "too_large unreadable_image internal not_implemented"),
    ];
    let mut count = 0;
    for (exit, codes) in expected {
        for text in codes.split(' ') {
            assert_eq!(Code::parse(text).unwrap().exit_code(), exit, "{text}");
            count += 1;
        }
    }
    assert_eq!(count, Code::ALL.len(), "every code is in the table");
    assert_eq!(Code::parse("nonsense"), None);
}

#[tokio::test]
async fn an_http_answer_is_problem_json_with_the_stable_code() {
    let response = Problem::new(Code::RateLimited, "too many")
        .with_retry_after(7)
        .into_response();
    assert_eq!(response.status(), 429);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    assert_eq!(response.headers()["retry-after"], "7");
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(json["type"], "urn:citycode:problem:rate_limited");
    assert_eq!(json["code"], "rate_limited");
    assert_eq!(json["status"], 429);
    assert_eq!(json["detail"], "too many");

    let response = Problem::unauthenticated("no token").into_response();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["www-authenticate"]),
        (401, &"Bearer".parse().unwrap())
    );
}

#[test]
fn a_status_of_another_implementation_becomes_a_problem_without_its_text() {
    let problem = Problem::from(Status::unavailable("dial tcp 10.1.2.3:99: refused"));
    assert_eq!(problem.code(), Code::Unavailable);
    assert!(!problem.to_string().contains("10.1.2.3"));
    assert_eq!(Problem::from(Status::unknown("?")).code(), Code::Internal);
}

#[test]
fn a_forged_problem_with_an_impossible_status_is_ignored() {
    let mut status = Status::internal("x");
    let json = br#"{"type":"t","title":"t","status":200,"code":"not_found","detail":"d"}"#;
    status
        .metadata_mut()
        .insert_bin("citycode-problem-bin", tonic::metadata::MetadataValue::from_bytes(json));
    assert_eq!(Problem::from(status).code(), Code::Internal);
}

#[test]
fn a_very_long_text_is_cut_between_characters() {
    let problem = Problem::new(Code::Internal, "字".repeat(5_000));
    assert_eq!(problem.detail().chars().count(), MAX_TEXT_CHARS);
}

#[test]
fn the_line_for_people_names_title_cause_remedy_and_code() {
    assert_eq!(
        Problem::new(Code::NotRegistered, "nobody with this number is known.").to_string(),
        "Not registered: nobody with this number is known. Register the person first [not_registered]"
    );
}
