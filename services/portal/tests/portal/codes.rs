//! Issuing, reprinting, the list of codes, and a code's history.

use citycode_wire::proto::audit::v1::history_request::Subject;
use citycode_wire::proto::audit::v1::{HistoryEntry, HistoryRequest, HistoryResponse};
use citycode_wire::proto::issuer::v1::{
    CodeLife, CodeState, IssueRequest, IssueResponse, ListCodesRequest, ListCodesResponse, ReprintRequest,
    ReprintResponse,
};
use citycode_wire::proto::model::v1::Position;
use serde_json::{Value, json};

use crate::fakes::code;
use crate::harness::City;

fn code_json() -> Value {
    json!({
        "code_id": "9f86d081884c7d65", "kind": "offline", "token": "TOKEN:TEXT",
        "issued_at": "2022-08-31T02:00:00Z", "expires_at": "2023-02-27T02:00:00Z",
        "supersedes": "0011223344556677", "status": {"list": "0000002a", "index": 77},
    })
}

#[tokio::test]
async fn issue_sends_every_field_and_answers_as_the_api_specifies() {
    let city = City::new();
    city.fakes.ready(IssueResponse { code: Some(code()) });
    let body = json!({
        "kind": "live", "id_number": "N", "channel": "app", "guardian": "G", "disability": true, "print": true,
        "authentication": {"method": "face"},
        "device_key": {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
    });
    let answer = city.post("/api/v1/issue", body).await;
    assert_eq!(answer.ok(), code_json());
    assert_eq!(answer.header("cache-control"), "no-store", "it holds a token");
    let asked = city.fakes.asked::<IssueRequest>();
    assert!(asked.kind == "live" && asked.id_number == "N" && asked.channel == "app");
    assert!(asked.guardian_id_number == "G" && asked.print);
    assert!(asked.attestation.is_some_and(|attested| attested.disability));
    assert_eq!(asked.device_key.len(), 32);
    assert_eq!(asked.device_key[..2], [0xd7, 0x5a]);
}

#[tokio::test]
async fn a_p256_key_is_sent_as_a_compressed_point_and_a_private_key_is_refused() {
    let city = City::new();
    city.fakes.ready(IssueResponse { code: Some(code()) });
    // RFC 7517 appendix A.1; its y ends in 0x23, which is odd.
    let mut key = json!({
        "kty": "EC", "crv": "P-256", "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
        "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
    });
    let body = |key: &Value| json!({"kind": "live", "id_number": "N", "channel": "app", "device_key": key});
    city.post("/api/v1/issue", body(&key)).await.ok();
    let asked = city.fakes.asked::<IssueRequest>();
    assert_eq!((asked.device_key.len(), asked.device_key[0]), (33, 3));
    key["d"] = json!("870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE");
    let refused = city.post("/api/v1/issue", body(&key)).await;
    assert_eq!(refused.problem(), (400, "invalid_request".into()));
    assert_eq!(city.fakes.calls(), 0);
}

#[tokio::test]
async fn absent_parts_of_a_code_are_left_out_and_a_masked_name_is_shown() {
    let city = City::new();
    let mut answer = code();
    answer.supersedes = None;
    answer.masked_name = Some("张*三".into());
    city.fakes.ready(ReprintResponse { code: Some(answer) });
    let body = json!({"kind": "offline", "id_number": "N", "channel": "pc", "print": true});
    let answered = city.post("/api/v1/reprint", body).await.ok();
    assert_eq!(answered.get("supersedes"), None);
    assert_eq!(answered["masked_name"], "张*三");
    let asked = city.fakes.asked::<ReprintRequest>();
    assert!(asked.kind == "offline" && asked.channel == "pc" && asked.print);
}

#[tokio::test]
async fn an_answer_without_a_required_field_is_an_internal_error_not_an_empty_code() {
    let city = City::new();
    let body = json!({"kind": "offline", "id_number": "N", "channel": "pc"});
    for path in ["/api/v1/issue", "/api/v1/reprint"] {
        let answer = city.post(path, body.clone()).await;
        assert_eq!(answer.problem(), (500, "internal".into()), "{path}");
    }
}

fn state(code_id: &str, kind: &str, through_guardian: bool, issued_at: i64, life: CodeLife) -> CodeState {
    CodeState {
        code_id: code_id.into(),
        kind: kind.into(),
        through_guardian,
        issued_at,
        expires_at: issued_at + 1,
        state: life.into(),
        suspended_since: None,
    }
}

#[tokio::test]
async fn codes_are_listed_with_the_names_of_their_states() {
    let city = City::new();
    let words = [
        "valid",
        "suspended",
        "expired",
        "superseded",
        "reported_lost",
        "revoked",
    ];
    let lives = (1..=6).map(|life| CodeLife::try_from(life).unwrap());
    let codes = lives
        .map(|life| state("9f86d081884c7d65", "live", true, 1_661_911_200, life))
        .collect();
    city.fakes.ready(ListCodesResponse {
        codes,
        ..ListCodesResponse::default()
    });
    let body = json!({"id_number": "N", "channel": "app"});
    let answer = city.post("/api/v1/codes", body).await.ok();
    let listed = answer["codes"].as_array().unwrap();
    let states: Vec<_> = listed.iter().map(|code| code["state"].as_str().unwrap()).collect();
    assert_eq!(states, words);
    assert_eq!(
        listed[0],
        json!({
            "code_id": "9f86d081884c7d65", "kind": "live", "through_guardian": true, "state": "valid",
            "issued_at": "2022-08-31T02:00:00Z", "expires_at": "2022-08-31T02:00:01Z",
        })
    );
    let asked = city.fakes.asked::<ListCodesRequest>();
    assert!(asked.id_number == "N" && asked.channel == "app");
}

#[tokio::test]
async fn a_history_by_code_id_is_rendered_entry_by_entry() {
    let city = City::new();
    city.fakes.ready(HistoryResponse {
        entries: vec![HistoryEntry {
            position: Some(Position {
                partition: 2,
                sequence: 9,
            }),
            decided_at: 1_661_911_200,
            event_type: "CodeIssued".into(),
            actor_role: "channel:kiosk".into(),
            channel: "kiosk".into(),
            code_id: Some("9f86d081884c7d65".into()),
            details: [("kind".to_owned(), "offline".to_owned())].into(),
        }],
    });
    let answer = city
        .post("/api/v1/history", json!({"code_id": "9f86d081884c7d65"}))
        .await;
    assert_eq!(
        answer.ok(),
        json!({"entries": [{
            "position": {"partition": 2, "sequence": 9}, "decided_at": "2022-08-31T02:00:00Z", "event": "CodeIssued",
            "actor": "channel:kiosk", "channel": "kiosk", "code_id": "9f86d081884c7d65", "details": {"kind": "offline"},
        }]})
    );
    let asked = city.fakes.asked::<HistoryRequest>();
    assert!(asked.subject == Some(Subject::CodeId("9f86d081884c7d65".into())));
}

#[tokio::test]
async fn a_history_by_person_uses_the_valid_code_of_the_kind_and_sends_no_personal_data_to_audit() {
    let city = City::new();
    let codes = vec![
        state("1111111111111111", "offline", false, 300, CodeLife::Revoked),
        state("2222222222222222", "offline", false, 200, CodeLife::Valid),
        state("3333333333333333", "sampling", false, 900, CodeLife::Valid),
    ];
    city.fakes.ready(ListCodesResponse {
        codes,
        ..ListCodesResponse::default()
    });
    let body = json!({"kind": "offline", "id_number": "N"});
    assert_eq!(city.post("/api/v1/history", body).await.ok(), json!({"entries": []}));
    let asked = city.fakes.asked::<HistoryRequest>();
    assert!(asked.subject == Some(Subject::CodeId("2222222222222222".into())));
    assert!(city.fakes.asked::<ListCodesRequest>().id_number == "N");
}

#[tokio::test]
async fn a_history_without_a_code_is_no_valid_code_and_an_incomplete_request_is_refused() {
    let city = City::new();
    let none = city.post("/api/v1/history", json!({"kind": "offline", "id_number": "N"}));
    assert_eq!(none.await.problem(), (404, "no_valid_code".into()));
    for body in [
        json!({}),
        json!({"kind": "offline"}),
        json!({"id_number": "N"}),
        json!({"code_id": "9f86d081884c7d65", "kind": "offline", "id_number": "N"}),
    ] {
        let answer = city.post("/api/v1/history", body.clone()).await;
        assert_eq!(answer.problem(), (400, "invalid_request".into()), "{body}");
    }
}
