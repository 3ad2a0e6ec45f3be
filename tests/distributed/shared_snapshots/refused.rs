//! Snapshots that are refused.

use std::fs::File;

use citycode_projection::LogIdentity;
use citycode_projection::snapshot::ProjectionKind;
use citycode_shared_snapshot::NewSnapshot;
use citycode_testkit::eventually;
use citycode_token::SigningKey;
use serde_json::json;

use super::made_up::made_up;
use super::town::Town;
use super::{NOT_FROM_SHARED, ONCE, PATIENCE, client, place, signing, standing, started};
use crate::city::{City, revocation, verifier};

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_revocation_did_not_sign_for_this_log_is_refused_and_the_log_is_replayed() {
    let mut town = Town::on(City::on_one().await, ONCE).await;
    let whole = town.city.start(&verifier(), "verifier-whole", NOT_FROM_SHARED).await;
    let of_whole = town.portal("portal-whole", &whole).await;
    town.live(&of_whole).await;
    let place = place(&town.city, ProjectionKind::Status).await;
    let (genuine, _) = standing(&place).await;
    let identity = LogIdentity {
        log_id: genuine.log_id,
        partitions: 4,
        buckets_per_partition: 65_536,
        hash_version: 1,
    };
    let foreign = LogIdentity {
        log_id: [9; 16],
        ..identity
    };
    let (ours, forger) = (signing(&town.city), SigningKey::from_seed([6; 32]));
    let cases = [
        ("forged", &identity, 1, &forger, "revocation did not sign it"),
        ("foreign", &foreign, 1, &ours, "it belongs to another log"),
        ("ahead", &identity, 9_000, &ours, "but the log ends at"),
        ("unsigned", &identity, 1, &ours, "it has no valid statement"),
        ("truncated", &identity, 1, &ours, "the object is truncated"),
    ];
    let client = client(&town.city).await;
    for (number, (name, identity, sequence, signing, reason)) in (1u8..).zip(cases) {
        let file = made_up(town.city.folder.path(), identity, sequence, u32::from(sequence == 1));
        let new = NewSnapshot {
            file: File::open(file).expect("a file"),
            identity: *identity,
            signing,
            salt: [number; 16],
            made_at: 1_790_000_000,
            replaces: place.current().await.expect("an answer").sequence(),
        };
        place.publish(new).await.expect("anyone may write to these servers");
        let stored = async |subject: String, bytes: String| {
            client.request(subject, bytes.into()).await.expect("an answer");
        };
        if name == "unsigned" {
            let bare =
                json!({ "name": "status", "bucket": "CC_STATUS_SNAPSHOTS", "nuid": "x", "size": 1, "chunks": 1 });
            stored("$O.CC_STATUS_SNAPSHOTS.M.c3RhdHVz".into(), bare.to_string()).await;
        }
        if name == "truncated" {
            let gone = json!({ "filter": "$O.CC_STATUS_SNAPSHOTS.C.>" });
            stored("$JS.API.STREAM.PURGE.OBJ_CC_STATUS_SNAPSHOTS".into(), gone.to_string()).await;
        }
        let new = town.city.start(&verifier(), &format!("verifier-{name}"), "").await;
        let heard = new.said();
        assert!(
            heard.contains("SHARED SNAPSHOT REFUSED") && heard.contains(reason),
            "{name}: {heard}"
        );
        let said = started(&new, "status").await;
        assert!(said.starts_with("started from an empty state"), "{name}: {said}");
        let of_new = town.portal(&format!("portal-{name}"), &new).await;
        town.agree(&of_whole, &of_new).await;
    }
    // A starting revocation service replaces an unusable snapshot.
    let second = town.city.start(&revocation(), "revocation-2", ONCE).await;
    eventually("it is replaced", PATIENCE, || async {
        standing(&place).await.0.salt != [5; 16]
    })
    .await;
    assert!(
        second.said().contains("the shared snapshot is incomplete"),
        "{}",
        second.said()
    );
}
