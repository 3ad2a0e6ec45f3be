//! A vault that was restored under an earlier release, whose issuers served with it: a person registered a second time,
//! and the last step finds the first codes nevertheless.

use std::sync::Arc;

use citycode_event_store::EventStore as _;
use citycode_event_store_jetstream::JetStreamEventStore;
use citycode_jetstream::Connection;
use citycode_testkit::IdNumbers;
use citycode_vault::Vault as _;
use citycode_vault::jetstream::{JetStreamVault, VaultConfig, VaultKey, VaultKeys};
use jiff::civil::date;
use zeroize::Zeroizing;

use super::{City, Life, restore_vault, succeeds};

/// Moves the vault's mark to the log's end, as issuers of the earlier release did even if people were missing.
async fn mark_as_whole(city: &City) {
    let store = JetStreamEventStore::open(&city.log()).await.expect("the log");
    let heads = store.heads().await.expect("an answer");
    let config = VaultConfig {
        connection: Connection::new(city.urls().to_vec(), "test"),
        replicas: 1,
        expected_log_id: Some(store.log_id().0),
        replaced_by: None,
    };
    let master = std::fs::read(city.secret("keys/vault-master.key")).expect("a key");
    let master = VaultKey::Master(Zeroizing::new(master.try_into().expect("32 bytes")));
    // This test seals only a mark, so constant randomness is safe.
    let random = Arc::new(|bytes: &mut [u8]| bytes.fill(7));
    let vault = JetStreamVault::open(&config, &VaultKeys::only(master), random).await;
    let vault = vault.expect("the vault");
    let before = vault.erased_up_to().await.expect("an answer");
    let reached: Vec<u64> = heads.iter().map(|(_, sequence)| sequence.0).collect();
    let noted = vault.note_erased_up_to(before.as_deref(), &reached).await;
    assert!(noted.expect("an answer"), "nobody else moves it");
}

#[tokio::test(flavor = "multi_thread")]
async fn r03_a_person_who_registered_again_after_a_restore_keeps_one_valid_code() {
    let city = City::on_one().await;
    city.provision().await;
    let person = IdNumbers::new(31).born(date(1950, 5, 5));
    let backup = city.folder.path().join("vault").display().to_string();
    let admits = "admit_after_id_check/id_check_required";
    Life::start(&city).await.stop().await;
    succeeds(&city, "backup", &["vault", "back-up", "--to", &backup]).await;
    let life = Life::start(&city).await;
    city.register(life.services.portal.url(), &person).await;
    let first = life.issue(&city, &person).await;
    life.stop().await;
    restore_vault(&city, &backup).await;
    mark_as_whole(&city).await;
    let life = Life::start(&city).await;
    city.register(life.services.portal.url(), &person).await;
    let second = life.issue(&city, &person).await;
    for code in [&first, &second] {
        life.is_decided(&city, code, admits).await;
    }
    life.stop().await;

    let step = ["vault", "suspend-unknown", "--backup", &backup, "--count", "1"];
    let said = succeeds(&city, "issuer", &step).await;
    assert!(said.contains(first["code_id"].as_str().expect("an id")), "{said}");
    let life = Life::start(&city).await;
    life.is_decided(&city, &first, "refuse/suspended").await;
    life.is_decided(&city, &second, admits).await;
    life.stop().await;
}
