//! Loss reports, acts of officers, and standings.

use citycode_wire::proto::model::v1::Standing;
use citycode_wire::proto::revocation::v1::{
    ReinstateRequest, ReinstateResponse, ReportLossRequest, ReportLossResponse, RevokeRequest, RevokeResponse,
    SetStandingRequest, SuspendRequest, SuspendResponse,
};
use serde_json::json;

use crate::harness::City;

const CODE_ID: &str = "9f86d081884c7d65";

#[tokio::test]
async fn r15_a_loss_report_needs_the_person_and_returns_the_code_that_was_ended() {
    let city = City::new();
    city.fakes.ready(ReportLossResponse {
        code_id: CODE_ID.into(),
    });
    let body = json!({
        "kind": "offline", "id_number": "N", "channel": "kiosk", "guardian": "G", "authentication": {"method": "face"},
    });
    let answer = city.post("/api/v1/report-loss", body).await;
    assert_eq!(answer.ok(), json!({"code_id": CODE_ID}));
    let asked = city.fakes.asked::<ReportLossRequest>();
    assert!(asked.kind == "offline" && asked.id_number == "N" && asked.channel == "kiosk");
    assert!(asked.guardian_id_number == "G" && asked.authentication.is_some_and(|how| how.method == "face"));
}

macro_rules! officer_acts {
    ($($name:ident: $path:literal, $request:ident, $response:expr;)+) => {$(
        #[tokio::test]
        async fn $name() {
            let city = City::new();
            city.fakes.ready($response);
            let body = json!({"kind": "family", "id_number": "N", "reason": "because", "guardian": "G"});
            assert_eq!(city.post($path, body).await.ok(), json!({"code_id": CODE_ID}));
            let asked = city.fakes.asked::<$request>();
            assert!(asked.kind == "family" && asked.id_number == "N");
            assert!(asked.guardian_id_number == "G" && asked.reason == "because");
            let without_reason = city.post($path, json!({"kind": "family", "id_number": "N"})).await;
            assert_eq!(without_reason.problem(), (400, "invalid_request".into()));
        }
    )+};
}

officer_acts! {
    r22_revoking_names_a_reason: "/api/v1/revoke", RevokeRequest, RevokeResponse { code_id: CODE_ID.into() };
    r22_suspending_names_a_reason: "/api/v1/suspend", SuspendRequest, SuspendResponse { code_id: CODE_ID.into() };
    r22_reinstating_names_a_reason: "/api/v1/reinstate", ReinstateRequest,
        ReinstateResponse { code_id: Some(CODE_ID.into()) };
}

#[tokio::test]
async fn reinstating_without_a_valid_code_answers_without_a_code_id() {
    let city = City::new();
    let body = json!({"kind": "offline", "id_number": "N", "reason": "because"});
    assert_eq!(city.post("/api/v1/reinstate", body).await.ok(), json!({}));
}

#[tokio::test]
async fn r21_each_standing_has_its_own_value_and_others_are_refused() {
    let city = City::new();
    for (word, value) in [
        ("green", Standing::Green),
        ("yellow", Standing::Yellow),
        ("red", Standing::Red),
    ] {
        let body = json!({"id_number": "N", "standing": word, "reason": "because"});
        assert_eq!(city.post("/api/v1/standing", body).await.ok(), json!({}));
        let asked = city.fakes.asked::<SetStandingRequest>();
        assert!(asked.standing() == value && asked.id_number == "N" && asked.reason == "because");
    }
    for word in ["", "Green", "blue", "0"] {
        let body = json!({"id_number": "N", "standing": word, "reason": "because"});
        let answer = city.post("/api/v1/standing", body).await;
        assert_eq!(answer.problem(), (400, "invalid_request".into()), "{word}");
    }
    assert_eq!(city.fakes.calls(), 0);
}
