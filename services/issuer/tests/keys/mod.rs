//! Signing keys while the log accepts no commits, and under concurrent rotations.

use std::sync::Arc;

use citycode_event_store::memory::AppendFault;
use citycode_issuer::{KeyFolder, SigningKeys};
use citycode_service_kit::problem::Code;
use citycode_wire::proto::issuer::v1::{CompromiseKeyRequest, RotateKeysRequest};

use crate::fixture::City;

/// The active keys, according to an issuer.
fn lasting(city: &City) -> Vec<String> {
    let keys = city.issuer.list_keys().keys;
    let lasting = keys.into_iter().filter(|key| key.signs_until.is_none());
    lasting.map(|key| key.key_id).collect()
}

async fn has_folded_keys(city: &City) {
    let stream = citycode_log_folds::keys_stream();
    city.issuer
        .authorizer
        .log
        .catch_up_with(&stream)
        .await
        .expect("the log answers");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_log_accepts_no_commits_one_key_file_waits_to_be_announced() {
    let city = City::new().await;
    let first = city.key_files();
    assert_eq!(first.len(), 1);
    for fault in [
        AppendFault::Unavailable,
        AppendFault::Unavailable,
        AppendFault::LostAndUnknown,
        AppendFault::Unavailable,
    ] {
        city.store.fail_next_append(fault);
        if fault == AppendFault::LostAndUnknown {
            // The retry with the same bytes is refused.
            city.store.fail_next_append(AppendFault::Unavailable);
        }
        let refused = city
            .issuer
            .rotate_keys(&city.admin, &RotateKeysRequest::default())
            .await;
        assert_eq!(
            refused.expect_err("the log accepts no commits").code(),
            Code::Unavailable
        );
        assert_eq!(city.key_files(), [&first[0], "signing-next.key"]);
    }
    // If the process ends meanwhile, the next one announces the key.
    let waiting = city.folder.path().join("keys/signing-next.key");
    let seed = std::fs::read(&waiting).expect("a key");
    let again = KeyFolder::open(&city.folder.path().join("keys")).expect("keys");
    SigningKeys::load(again).expect("keys");
    assert_eq!(std::fs::read(&waiting).expect("a key"), seed);
    let rotated = city
        .issuer
        .rotate_keys(&city.admin, &RotateKeysRequest::default())
        .await;
    let key_id = rotated.expect("rotated").key.expect("a key").key_id;
    assert_eq!(lasting(&city), std::slice::from_ref(&key_id));
    let named = city.folder.path().join(format!("keys/signing-{key_id}.key"));
    assert_eq!(std::fs::read(named).expect("a key"), seed, "it is the key that waited");
    assert_eq!(city.key_files().len(), 2);
}

/// A `kill -9` of an earlier release could leave a part of the file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_incomplete_key_that_was_never_announced_does_not_stop_the_start() {
    let city = City::new().await;
    let keys = city.key_files();
    let torn = city.folder.path().join("keys/signing-next.key");
    for bytes in [&[][..], &[7; 31]] {
        std::fs::write(&torn, bytes).expect("written");
        std::fs::set_permissions(&torn, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("private");
        let folder = KeyFolder::open(&city.folder.path().join("keys")).expect("keys");
        SigningKeys::load(folder).expect("keys");
        assert_eq!(city.key_files(), keys);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_issuer_without_a_key_retries_the_same_key_until_the_log_accepts_it() {
    let one = City::new().await;
    let other = City::beside(Arc::clone(&one.store)).await;
    one.issuer
        .rotate_keys(&one.admin, &RotateKeysRequest::default())
        .await
        .expect("rotated");
    has_folded_keys(&other).await;
    for _ in 0..5 {
        other.store.fail_next_append(AppendFault::Unavailable);
        let refused = other.issuer.ensure_signing_key().await;
        assert_eq!(
            refused.expect_err("the log accepts no commits").code(),
            Code::Unavailable
        );
        assert_eq!(other.key_files().len(), 2);
    }
    other.store.fail_next_append(AppendFault::CommittedButUnknown);
    other.issuer.ensure_signing_key().await.expect("a key");
    other.issuer.ensure_signing_key().await.expect("a key");
    assert!(!other.key_files().contains(&"signing-next.key".to_owned()));
    assert_eq!(
        (other.key_files().len(), lasting(&other).len()),
        (2, 2),
        "one for each issuer"
    );
}

/// The test runs on one thread, so that every rotation begins before the log is folded further.
#[tokio::test]
async fn of_concurrent_rotations_one_key_stays_active() {
    let one = City::new().await;
    let other = City::beside(Arc::clone(&one.store)).await;
    let rotations = (0..16).map(|number| {
        let city = if number % 2 == 0 { &one } else { &other };
        async {
            city.issuer
                .rotate_keys(&city.admin, &RotateKeysRequest::default())
                .await
        }
    });
    let rotated = futures::future::join_all(rotations).await.into_iter();
    let mut answered: Vec<String> = rotated
        .map(|rotated| rotated.expect("rotated").key.expect("a key").key_id)
        .collect();
    for city in [&one, &other] {
        has_folded_keys(city).await;
        let lasting = lasting(city);
        assert_eq!(lasting.len(), 1, "{lasting:?}");
        assert!(answered.contains(&lasting[0]));
    }
    answered.sort();
    answered.dedup();
    assert_eq!(answered.len(), 16, "each rotation added a key");
    // The issuer whose key was retired adds its own and does not affect the other's.
    for city in [&one, &other] {
        city.issuer.ensure_signing_key().await.expect("a key");
    }
    has_folded_keys(&one).await;
    assert_eq!(lasting(&one).len(), 2, "one for each issuer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_marked_twice_concurrently_is_replaced_once() {
    let one = City::new().await;
    let other = City::beside(Arc::clone(&one.store)).await;
    let marked = lasting(&one).remove(0);
    let mut marks = tokio::task::JoinSet::new();
    for number in 0..8 {
        let city = if number % 2 == 0 { &one } else { &other };
        let (issuer, admin) = (city.issuer.clone(), Arc::clone(&city.admin));
        let request = CompromiseKeyRequest {
            key_id: marked.clone(),
            ..CompromiseKeyRequest::default()
        };
        marks.spawn(async move { issuer.compromise_key(&admin, &request).await });
    }
    while let Some(answer) = marks.join_next().await {
        let key = answer.expect("no panic").expect("marked").key.expect("the key");
        assert!(key.compromised && key.key_id == marked);
    }
    has_folded_keys(&one).await;
    let keys = one.issuer.list_keys().keys;
    assert_eq!((keys.len(), lasting(&one).len()), (3, 1), "{keys:?}");
}
