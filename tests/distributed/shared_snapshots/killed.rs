//! A publisher that is killed during an upload.

use std::collections::BTreeMap;

use citycode_projection::LogIdentity;
use citycode_projection::snapshot::ProjectionKind;
use citycode_service_kit::files;
use citycode_testkit::{NatsProxy, Traffic, eventually, free_port};
use serde_json::{Value, json};

use super::made_up::made_up;
use super::town::Town;
use super::{NOT_FROM_SHARED, OFTEN, ONCE, PATIENCE, client, heads, place, standing, started};
use crate::city::{City, revocation, verifier};

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_killed_during_an_upload_leaves_the_earlier_snapshot_and_its_chunks_are_removed() {
    let mut town = Town::on(City::on_one().await, ONCE).await;
    let whole = town.city.start(&verifier(), "verifier-whole", NOT_FROM_SHARED).await;
    let of_whole = town.portal("portal-whole", &whole).await;
    town.live(&of_whole).await;
    let place = place(&town.city, ProjectionKind::Status).await;
    let (before, sequence) = standing(&place).await;
    // A second publisher has a much larger upload: invented codes in its own snapshot.
    let identity = LogIdentity {
        log_id: before.log_id,
        partitions: 4,
        buckets_per_partition: 65_536,
        hash_version: 1,
    };
    let state = town.city.folder.path().join("state/revocation-2/projections");
    for folder in [state.parent().expect("a folder"), &state] {
        files::create_private_dir(folder).expect("a folder");
    }
    eventually("the log is long enough", PATIENCE, || async {
        heads(&town.city).await[0] >= 4
    })
    .await;
    let large = made_up(town.city.folder.path(), &identity, 4, 1_000);
    std::fs::rename(large, state.join("status")).expect("it is moved");
    // The proxy holds back the last message, which would replace the earlier snapshot.
    let proxy = NatsProxy::to(&town.city.urls()[0], "$O.CC_STATUS_SNAPSHOTS.M.").await;
    proxy.set(Traffic::Hold);
    let via_proxy = [proxy.address().to_owned()];
    let doomed = town
        .city
        .launch(&revocation(), "revocation-2", free_port(), &via_proxy, OFTEN)
        .await;
    let client = client(&town.city).await;
    let chunks = async || {
        let subject = "$JS.API.STREAM.INFO.OBJ_CC_STATUS_SNAPSHOTS".to_owned();
        let asked = json!({ "subjects_filter": "$O.CC_STATUS_SNAPSHOTS.C.>" }).to_string();
        let answer = client.request(subject, asked.into()).await.expect("an answer");
        let info: Value = serde_json::from_slice(&answer.payload).expect("JSON");
        let subjects = info["state"]["subjects"].as_object().cloned().unwrap_or_default();
        let counts = subjects
            .into_iter()
            .map(|(subject, count)| (subject, count.as_u64().unwrap_or(0)));
        counts.collect::<BTreeMap<String, u64>>()
    };
    let amid = async {
        loop {
            if let Some((subject, _)) = chunks().await.into_iter().find(|(_, count)| *count > 8) {
                return subject;
            }
        }
    };
    let rest = tokio::time::timeout(PATIENCE, amid).await.expect("it begins to upload");
    drop(doomed.kill_9().await);
    // The earlier snapshot remains, and a new instance uses it.
    let (after, same) = standing(&place).await;
    assert_eq!((&after, same), (&before, sequence), "it had not come to its end");
    assert!(chunks().await.contains_key(&rest));
    let new = town.city.start(&verifier(), "verifier-new", "").await;
    assert!(
        started(&new, "status")
            .await
            .starts_with("started from the snapshot shared")
    );
    let of_new = town.portal("portal-new", &new).await;
    town.agree(&of_whole, &of_new).await;
    // The next check of any publisher removes the chunks.
    let _third = town.city.start(&revocation(), "revocation-3", OFTEN).await;
    eventually("its rest is gone", PATIENCE, || async {
        !chunks().await.contains_key(&rest)
    })
    .await;
    eventually("and a new one stands", PATIENCE, || async {
        standing(&place).await.0.salt != before.salt
    })
    .await;
}
