//! Public data: keys, status lists, the policy; and an admin's changes of keys.

use citycode_wire::proto::audit::v1::{GetLogFileRequest, GetLogFileResponse};
use citycode_wire::proto::issuer::v1::{
    CompromiseKeyRequest, CompromiseKeyResponse, ListKeysResponse, RotateKeysResponse, SigningKey,
};
use citycode_wire::proto::revocation::v1::{
    GetStatusListRequest, GetStatusListResponse, ListStatusKeysResponse, ListStatusListsResponse, StatusKey,
    StatusListSummary,
};
use serde_json::json;

use crate::harness::City;

#[tokio::test]
async fn keys_are_a_jwk_set_or_a_cose_key_set_as_requested() {
    let city = City::new();
    city.fakes.ready(ListKeysResponse {
        keys: Vec::new(),
        jwks: r#"{"keys":[{"kid":"0badc0de"}]}"#.into(),
        cose_key_set: vec![0x81, 0xa0],
    });
    city.fakes.ready(status_keys("5747a7ce"));
    for accept in [&[][..], &[("accept", "*/*")], &[("accept", "application/json, */*")]] {
        let answer = city.get("/api/v1/keys", accept).await;
        let expected = json!({"keys": [{"kid": "0badc0de"}], "status_list_keys": [status_key("5747a7ce")]});
        assert_eq!(answer.ok(), expected);
        assert_eq!(answer.header("cache-control"), "public, max-age=30");
        assert_eq!(answer.header("vary"), "accept");
    }
    let cose = [("accept", "application/cose-key-set")];
    let answer = city.get("/api/v1/keys", &cose).await;
    assert_eq!((answer.status, &answer.body[..]), (200, &[0x81, 0xa0][..]));
    assert_eq!(answer.header("content-type"), "application/cose-key-set");
}

fn status_keys(kid: &str) -> ListStatusKeysResponse {
    ListStatusKeysResponse {
        keys: vec![StatusKey {
            key_id: kid.into(),
            public_key: vec![0xff; 32],
        }],
        cose_key_set: vec![0x81, 0xa1],
    }
}

fn status_key(kid: &str) -> serde_json::Value {
    json!({
        "kty": "OKP", "crv": "Ed25519", "x": "__________________________________________8", "kid": kid,
        "alg": "Ed25519", "use": "status-list",
    })
}

#[tokio::test]
async fn status_keys_are_in_a_separate_set() {
    let city = City::new();
    city.fakes.ready(status_keys("5747a7ce"));
    let answer = city.get("/api/v1/status-keys", &[]).await;
    assert_eq!(answer.ok(), json!({"keys": [status_key("5747a7ce")]}));
    assert_eq!(answer.header("cache-control"), "public, max-age=30");
    let cose = [("accept", "application/cose-key-set")];
    let answer = city.get("/api/v1/status-keys", &cose).await;
    assert_eq!((answer.status, &answer.body[..]), (200, &[0x81, 0xa1][..]));
    assert_eq!(answer.header("content-type"), "application/cose-key-set");
}

#[tokio::test]
async fn a_key_that_signs_codes_is_not_published_as_a_status_key_and_code_keys_do_not_wait_for_status_keys() {
    let city = City::new();
    city.fakes.ready(ListKeysResponse {
        jwks: r#"{"keys":[{"kid":"0badc0de"}]}"#.into(),
        ..Default::default()
    });
    city.fakes.ready(status_keys("0badc0de"));
    let both = city.get("/api/v1/keys", &[]).await;
    assert_eq!(both.ok(), json!({"keys": [{"kid": "0badc0de"}]}));
    city.fakes.ready(ListStatusKeysResponse::default());
    let none = city.get("/api/v1/keys", &[]).await;
    assert_eq!(none.ok(), json!({"keys": [{"kid": "0badc0de"}]}));
    assert_eq!(
        none.header("cache-control"),
        "no-store",
        "an incomplete answer is not kept"
    );
}

fn key() -> SigningKey {
    SigningKey {
        key_id: "0badc0de".into(),
        public_key: vec![0xff; 32],
        signs_from: 1_661_911_200,
        signs_until: None,
        verifies_until: Some(1_677_463_200),
        compromised: true,
    }
}

#[tokio::test]
async fn r25_rotating_and_compromising_return_the_key() {
    let city = City::new();
    city.fakes.ready(RotateKeysResponse { key: Some(key()) });
    city.fakes.ready(CompromiseKeyResponse { key: Some(key()) });
    let expected = json!({
        "kty": "OKP", "crv": "Ed25519", "x": "__________________________________________8", "kid": "0badc0de",
        "alg": "Ed25519", "use": "sig", "signs_from": "2022-08-31T02:00:00Z", "signs_until": null,
        "verifies_until": "2023-02-27T02:00:00Z", "compromised": true,
    });
    let answer = city.post("/api/v1/keys/rotate", json!({})).await;
    assert_eq!(answer.ok(), expected);
    let answer = city.post("/api/v1/keys/0badc0de/compromise", json!({})).await;
    assert_eq!(answer.ok(), expected);
    assert_eq!(city.fakes.asked::<CompromiseKeyRequest>().key_id, "0badc0de");
}

#[tokio::test]
async fn status_lists_are_listed_by_their_uris() {
    let city = City::new();
    let list = |uri: &str| StatusListSummary {
        list: "0000002a".into(),
        uri: uri.into(),
        retires_at: 0,
    };
    let uris = ["https://s.example/0000002a", "https://s.example/0000002b"];
    city.fakes.ready(ListStatusListsResponse {
        lists: uris.map(list).to_vec(),
        public_key: vec![0xff; 32],
        key_id: "5747a7ce".into(),
    });
    let answer = city.get("/api/v1/status-lists", &[]).await;
    let expected = json!({"status_lists": uris, "status_list_keys": [status_key("5747a7ce")]});
    assert_eq!(answer.ok(), expected);
}

fn status_list(not_modified: bool) -> GetStatusListResponse {
    GetStatusListResponse {
        content: if not_modified { Vec::new() } else { vec![0xd2, 0x84] },
        media_type: "application/statuslist+cwt".into(),
        etag: "\"7-41\"".into(),
        not_modified,
        ttl_seconds: 300,
    }
}

#[tokio::test]
async fn a_status_list_has_a_type_an_etag_and_a_cache_lifetime() {
    let city = City::new();
    city.fakes.ready(status_list(false));
    let answer = city.get("/api/v1/status-lists/0000002a", &[]).await;
    assert_eq!((answer.status, &answer.body[..]), (200, &[0xd2, 0x84][..]));
    assert_eq!(answer.header("content-type"), "application/statuslist+cwt");
    assert_eq!(answer.header("etag"), "\"7-41\"");
    assert_eq!(answer.header("cache-control"), "public, max-age=300");
    let asked = city.fakes.asked::<GetStatusListRequest>();
    assert_eq!((asked.list.as_str(), asked.if_none_match.as_str()), ("0000002a", ""));
    assert_eq!(asked.media_type, "application/statuslist+cwt");

    let jwt = [("accept", "application/statuslist+jwt")];
    city.get("/api/v1/status-lists/0000002a", &jwt).await;
    let asked = city.fakes.asked::<GetStatusListRequest>();
    assert_eq!(asked.media_type, "application/statuslist+jwt");
}

#[tokio::test]
async fn a_copy_that_is_still_valid_is_not_sent_again() {
    let city = City::new();
    city.fakes.ready(status_list(true));
    let tag = [("if-none-match", "\"7-41\"")];
    let answer = city.get("/api/v1/status-lists/0000002a", &tag).await;
    assert_eq!((answer.status, answer.body.len()), (304, 0));
    assert_eq!(answer.header("etag"), "\"7-41\"");
    assert_eq!(answer.header("cache-control"), "public, max-age=300");
    let asked = city.fakes.asked::<GetStatusListRequest>();
    assert_eq!(asked.if_none_match, "\"7-41\"");
}

#[tokio::test]
async fn a_malformed_list_name_is_not_found_without_a_call() {
    let city = City::new();
    for name in ["2a", "0000002g", "0000002a0", "%ff%ff%ff%ff", "..%2f..%2fx"] {
        let answer = city.get(&format!("/api/v1/status-lists/{name}"), &[]).await;
        assert_eq!(answer.problem(), (404, "not_found".into()), "{name}");
    }
    assert_eq!(city.fakes.calls(), 0);
}

#[tokio::test]
async fn the_policy_lists_kinds_places_and_channels_with_their_labels() {
    let city = City::new();
    let answer = city.get("/api/v1/policy", &[]).await;
    assert_eq!(
        answer.ok(),
        json!({
            "name": "testville", "label": {"zh": "试城", "en": "Testville"}, "time_zone": "Asia/Shanghai",
            "kinds": [{
                "name": "offline", "label": {"zh": "离线随申码", "en": "Offline code"},
                "validity_seconds": 15_552_000, "device_bound": false, "on_paper": true,
            }],
            "places": [
                {"name": "sentinel", "label": {"zh": "数字哨兵", "en": "Digital sentinel"}},
                {"name": "sampling_desk", "label": {"zh": "采样点", "en": "Sampling desk"}},
            ],
            "channels": [{"name": "kiosk", "label": {"zh": "自助终端", "en": "Kiosk"}}],
            "proof": {"max_age_seconds": 60, "max_ahead_seconds": 5},
        })
    );
}

#[tokio::test]
async fn files_of_the_logs_trees_are_passed_on_as_they_are() {
    let city = City::new();
    for (path, asked, media_type) in [
        ("/log/keys", "keys", "text/plain; charset=utf-8"),
        ("/log/07/checkpoint", "07/checkpoint", "text/plain; charset=utf-8"),
        ("/log/07/witnessed", "07/witnessed", "text/plain; charset=utf-8"),
        (
            "/log/07/tile/0/x001/234",
            "07/tile/0/x001/234",
            "application/octet-stream",
        ),
        (
            "/log/07/tile/1/000.p/17",
            "07/tile/1/000.p/17",
            "application/octet-stream",
        ),
    ] {
        city.fakes.ready(GetLogFileResponse {
            content: vec![0xff, 0x00],
            media_type: media_type.into(),
            ttl_seconds: 60,
        });
        let answer = city.get(path, &[]).await;
        assert_eq!((answer.status, &answer.body[..]), (200, &[0xff, 0x00][..]), "{path}");
        assert_eq!(answer.header("content-type"), media_type);
        assert_eq!(answer.header("cache-control"), "public, max-age=60");
        assert_eq!(city.fakes.asked::<GetLogFileRequest>().path, asked);
    }
}
