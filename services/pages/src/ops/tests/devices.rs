//! Pairing and ending devices.

use citycode_access_records::{Entry, Table};
use http::StatusCode;

use super::{NOW, World, world};
use crate::session::Device;

const COMMAND: (&str, &str) = ("command_id", "11111111-1111-4111-8111-111111111111");

/// A device shows `code`.
async fn shown(world: &World, code: &str, area: &str) -> [u8; 16] {
    let key = world.site.seal.name("pairing", code.as_bytes());
    let value = format!("{{\"area\":\"{area}\",\"tries\":0,\"device\":null}}");
    let entry = Entry {
        value: value.as_bytes(),
        expires_at: NOW + 300,
    };
    let created = world.site.records.create(Table::Pairing, &key, entry, NOW).await;
    assert!(created.expect("records"));
    key
}

#[tokio::test]
async fn a_device_is_paired_once_and_ended() {
    let world = world();
    let session = world.session("admin");
    let key = shown(&world, "12345678", "gate").await;
    let fields = [
        ("code", "1234 5678"),
        ("device_name", "East"),
        ("target", "place:sentinel"),
        COMMAND,
    ];
    for _ in 0..2 {
        let (status, text) = world.post(&session, "/ops/devices", &fields).await;
        assert_eq!(status, StatusCode::OK, "{text}");
        assert!(
            text.contains("data-result=\"done\"") && text.contains("gate-11111111"),
            "{text}"
        );
    }
    let record = world
        .site
        .records
        .get(Table::Pairing, &key, NOW)
        .await
        .expect("records")
        .expect("a pairing");
    let value: serde_json::Value = serde_json::from_slice(&record.value).expect("JSON");
    assert_eq!(value["device"]["places"], serde_json::json!(["sentinel"]));
    let devices = world.site.records.list(Table::Device, NOW).await.expect("records");
    assert_eq!(devices.len(), 1);
    let device: Device = serde_json::from_slice(&devices[0].1.value).expect("a device");
    assert_eq!((device.id.as_str(), device.name.as_str()), ("gate-11111111", "East"));

    let (status, text) = world.get(&session, "/ops/devices/end?id=gate-11111111").await;
    assert_eq!(status, StatusCode::OK, "{text}");
    for _ in 0..2 {
        let (status, text) = world
            .post(&session, "/ops/devices/end", &[("id", "gate-11111111")])
            .await;
        assert_eq!(status, StatusCode::OK, "{text}");
    }
    assert!(
        world
            .site
            .records
            .list(Table::Device, NOW)
            .await
            .expect("records")
            .is_empty()
    );
}

#[tokio::test]
async fn wrong_codes_are_answered_alike_and_limited() {
    let world = world();
    let session = world.session("admin");
    let try_code = async |code: &str| {
        let fields = [
            ("code", code),
            ("device_name", "East"),
            ("target", "place:sentinel"),
            COMMAND,
        ];
        world.post(&session, "/ops/devices?lang=en", &fields).await.1
    };
    for _ in 0..5 {
        assert!(try_code("00000001").await.contains("wrong or no longer valid"));
    }
    assert!(try_code("00000001").await.contains("Too many attempts"));
}

#[tokio::test]
async fn a_code_that_is_typed_for_another_area_five_times_ends() {
    let world = world();
    shown(&world, "12345678", "kiosk").await;
    for round in 1..=6 {
        // A new session each time, so that only the code's own limit counts.
        let session = world.session("admin");
        let fields = [
            ("code", "12345678"),
            ("device_name", "East"),
            ("target", "place:sentinel"),
            COMMAND,
        ];
        let (_, text) = world.post(&session, "/ops/devices?lang=en", &fields).await;
        let expected = if round < 5 {
            "does not fit"
        } else {
            "wrong or no longer valid"
        };
        assert!(text.contains(expected), "round {round}: {text}");
    }
    let session = world.session("admin");
    let fields = [
        ("code", "12345678"),
        ("device_name", "K"),
        ("target", "channel:kiosk"),
        COMMAND,
    ];
    let (_, text) = world.post(&session, "/ops/devices?lang=en", &fields).await;
    assert!(
        text.contains("wrong or no longer valid"),
        "the right channel comes too late"
    );
}
