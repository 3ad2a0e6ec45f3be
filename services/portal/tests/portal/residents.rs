//! Registering, relating and erasing persons.

use citycode_wire::proto::issuer::v1::{Attestation, EraseRequest, RegisterRequest, RelateRequest, UnrelateRequest};
use citycode_wire::proto::model::v1::Authentication;
use serde_json::json;

use crate::harness::City;

fn authentication(method: &str, assertion: &str) -> Option<Authentication> {
    Some(Authentication {
        method: method.into(),
        assertion: assertion.into(),
    })
}

#[tokio::test]
async fn register_sends_every_field_and_answers_an_empty_object() {
    let city = City::new();
    let body = json!({
        "id_number": "11010519491231002X", "name": "张小三", "disability": true, "group": "veterans",
        "channel": "kiosk", "authentication": {"method": "face", "assertion": "a.b.c"},
    });
    assert_eq!(city.post("/api/v1/register", body).await.ok(), json!({}));
    let expected = RegisterRequest {
        command_id: Vec::new(),
        channel: "kiosk".into(),
        authentication: authentication("face", "a.b.c"),
        id_number: "11010519491231002X".into(),
        name: "张小三".into(),
        attestation: Some(Attestation {
            disability: true,
            group: "veterans".into(),
        }),
    };
    let asked = city.fakes.asked::<RegisterRequest>();
    let expected = RegisterRequest {
        command_id: drawn(&asked.command_id),
        ..expected
    };
    assert!(asked == expected);
}

#[tokio::test]
async fn register_without_optional_fields_attests_nothing() {
    let city = City::new();
    let body = json!({"id_number": "11010519491231002X", "name": "张小三"});
    city.post("/api/v1/register", body).await.ok();
    let asked = city.fakes.asked::<RegisterRequest>();
    assert!(asked.attestation.is_none() && asked.authentication.is_none() && asked.channel.is_empty());
}

#[tokio::test]
async fn r17_relate_sends_both_parties_and_how_each_was_authenticated() {
    let city = City::new();
    let body = json!({
        "guardian": "G", "dependent": "D", "channel": "app",
        "guardian_authentication": {"method": "face"}, "dependent_authentication": {"assertion": "x.y.z"},
    });
    assert_eq!(city.post("/api/v1/relate", body).await.ok(), json!({}));
    let expected = RelateRequest {
        command_id: Vec::new(),
        channel: "app".into(),
        guardian_authentication: authentication("face", ""),
        dependent_authentication: authentication("", "x.y.z"),
        guardian_id_number: "G".into(),
        dependent_id_number: "D".into(),
    };
    let asked = city.fakes.asked::<RelateRequest>();
    let expected = RelateRequest {
        command_id: drawn(&asked.command_id),
        ..expected
    };
    assert!(asked == expected);
}

#[tokio::test]
async fn r17_unrelate_does_not_swap_guardian_and_dependent() {
    let city = City::new();
    let body = json!({"guardian": "G", "dependent": "D"});
    assert_eq!(city.post("/api/v1/unrelate", body).await.ok(), json!({}));
    let asked = city.fakes.asked::<UnrelateRequest>();
    assert!(asked.guardian_id_number == "G" && asked.dependent_id_number == "D");
}

#[tokio::test]
async fn r28_erase_names_the_holder() {
    let city = City::new();
    let answer = city.post("/api/v1/erase", json!({"id_number": "N"})).await;
    assert_eq!(answer.ok(), json!({}));
    assert!(city.fakes.asked::<EraseRequest>().id_number == "N");
}

/// Checks the id of a command whose caller set none: the portal has drawn it.
fn drawn(command_id: &[u8]) -> Vec<u8> {
    assert_eq!(command_id.len(), 16);
    command_id.to_vec()
}
