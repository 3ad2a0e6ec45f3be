//! Tests of the vault's identity, of its keys, and of the rotation of the master key.

use std::sync::Arc;

use citycode_testkit::NatsServer;
use citycode_vault::jetstream::{
    JetStreamVault, NewVault, OpenError, VaultConfig, VaultKey, VaultKeys, index_key, provision, revocation_key,
};
use citycode_vault::{Vault as _, VaultError};

use crate::fixture::{
    NAME, config, holder, holds, key, master, new, number, on_disk, open, people, person, random, versions,
};

#[tokio::test(flavor = "multi_thread")]
async fn another_key_another_log_and_a_missing_vault_have_their_own_errors() {
    let server = NatsServer::start().await;
    let config = config(vec![server.url()], 1);
    let opened = |config: VaultConfig, key: VaultKey| async move {
        JetStreamVault::open(&config, &VaultKeys::only(key), random())
            .await
            .err()
    };
    let no_vault = opened(config.clone(), VaultKey::Master(key(7))).await;
    assert!(matches!(no_vault, Some(OpenError::NoVault)));
    provision(&config, &new()).await.unwrap();
    let early = opened(config.clone(), VaultKey::Index(index_key(&key(7))))
        .await
        .unwrap();
    assert!(matches!(early, OpenError::NoKeys) && early.may_pass(), "{early}");
    drop(open(&config).await);
    for other in [
        VaultKey::Master(key(8)),
        VaultKey::Index(key(7)),
        VaultKey::Revocation(index_key(&key(7))),
    ] {
        assert!(matches!(opened(config.clone(), other).await, Some(OpenError::OtherKey)));
    }
    let other = VaultConfig {
        expected_log_id: Some([3; 16]),
        ..config.clone()
    };
    let other_log = opened(other, VaultKey::Master(key(7))).await;
    assert!(matches!(other_log, Some(OpenError::OtherLog)));
    let other = VaultConfig { replicas: 3, ..config };
    let settings = opened(other, VaultKey::Master(key(7))).await;
    assert!(matches!(settings, Some(OpenError::WrongSettings(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_index_key_alone_finds_holders_and_opens_no_person() {
    let server = NatsServer::start().await;
    let config = config(vec![server.url()], 1);
    let vault = open(&config).await;
    vault.find_or_create(&number(1), holder(1, 1), person()).await.unwrap();
    let of_master = vault.reason_key(&number(1)).await.unwrap().unwrap();
    let given = async |key| {
        JetStreamVault::open(&config, &VaultKeys::only(key), random())
            .await
            .unwrap()
    };
    let verifier = given(VaultKey::Index(index_key(&key(7)))).await;
    let revocation = given(VaultKey::Revocation(revocation_key(&key(7)))).await;
    for index_only in [&verifier, &revocation] {
        assert_eq!(index_only.find(&number(1)).await.unwrap(), Some(holder(1, 1)));
        assert_eq!(index_only.find(&number(2)).await.unwrap(), None);
        let refused = index_only.open(holder(1, 1)).await.err().unwrap();
        assert!(matches!(refused, VaultError::NotGiven("people's pages")), "{refused}");
        let refused = index_only.erase(holder(1, 1)).await.err().unwrap();
        assert!(matches!(refused, VaultError::NotGiven("people's pages")), "{refused}");
    }
    let refused = verifier.reason_key(&number(1)).await.err().unwrap();
    assert!(
        matches!(refused, VaultError::NotGiven("officers' reasons")),
        "{refused}"
    );
    let of_revocation = revocation.reason_key(&number(1)).await.unwrap().unwrap();
    let sealed = of_revocation.seal(b"reason", [0; 12], b"lost in the metro");
    assert_eq!(*of_master.open(b"reason", &sealed).unwrap(), *b"lost in the metro");
    assert!(revocation.reason_key(&number(2)).await.unwrap().is_none());
    // The person was erased and registered again: what was sealed before can no longer be opened.
    vault.erase(holder(1, 1)).await.unwrap();
    vault.find_or_create(&number(1), holder(2, 2), person()).await.unwrap();
    let again = revocation.reason_key(&number(1)).await.unwrap().unwrap();
    assert!(again.open(b"reason", &sealed).is_err());
}

/// The id of the wrapping key in front of each version.
fn key_ids(versions: &[Vec<u8>]) -> std::collections::BTreeSet<Vec<u8>> {
    versions.iter().map(|version| version[1..9].to_vec()).collect()
}

/// A rotation that is interrupted after the third page.
async fn rotate_three_pages(rotating: Arc<JetStreamVault>) {
    let (third, mut reached) = tokio::sync::mpsc::unbounded_channel();
    let rotation = tokio::spawn(async move {
        let told = std::sync::atomic::AtomicU32::new(0);
        rotating
            .rotate(|| {
                if told.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 2 {
                    third.send(()).unwrap();
                }
            })
            .await
    });
    reached.recv().await.unwrap();
    rotation.abort();
    let _ = rotation.await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_master_key_is_rotated_under_load_also_after_an_interruption() {
    let server = NatsServer::start().await;
    let config = config(vec![server.url()], 1);
    provision(&config, &NewVault { pages: 64, ..new() }).await.unwrap();
    let vault = JetStreamVault::open(&config, &master(), random()).await.unwrap();
    people(&vault, 0..12).await;
    let sealed = vault
        .reason_key(&number(2))
        .await
        .unwrap()
        .unwrap()
        .seal(b"r", [0; 12], b"why");
    let old_versions = versions(&server).await;
    let old_ids = key_ids(&old_versions);
    let both = || VaultKeys {
        current: VaultKey::Master(key(7)),
        next: Some(VaultKey::Master(key(8))),
    };
    let working = JetStreamVault::open(&config, &both(), random()).await.unwrap();
    let rotating = Arc::new(JetStreamVault::open(&config, &both(), random()).await.unwrap());
    rotate_three_pages(Arc::clone(&rotating)).await;
    // During the rotation, services with both keys accept both.
    for serial in 0..12 {
        assert_eq!(working.find(&number(serial)).await.unwrap(), Some(holder(1, serial)));
        assert!(working.open(holder(1, serial)).await.unwrap().is_some());
    }
    working
        .find_or_create(&number(20), holder(1, 20), person())
        .await
        .unwrap();
    let (written, ()) = tokio::join!(rotating.rotate(|| {}), async {
        for serial in 21..30 {
            let made = working
                .find_or_create(&number(serial), holder(1, serial), person())
                .await;
            made.unwrap();
        }
        working.erase(holder(1, 3)).await.unwrap();
    });
    assert!(written.unwrap() > 0);
    assert_eq!(rotating.rotate(|| {}).await.unwrap(), 0, "nothing is left to do");
    // Nothing can be opened with the old key, and no version under it is on the disk.
    let new_versions = versions(&server).await;
    assert!(key_ids(&new_versions).is_disjoint(&old_ids));
    assert_eq!(new_versions.len() as u64, rotating.pages(), "one version of every page");
    let disk = on_disk(&server);
    assert!(old_versions.iter().all(|version| !holds(&disk, version)));
    let old = JetStreamVault::open(&config, &master(), random()).await.err();
    assert!(matches!(old, Some(OpenError::OtherKey)));
    let stale = vault.find(&number(2)).await;
    assert!(matches!(stale, Err(VaultError::OtherKey)), "{stale:?}");
    let new = VaultKeys::only(VaultKey::Master(key(8)));
    let new = JetStreamVault::open(&config, &new, random()).await.unwrap();
    for serial in (0..12).chain(20..30).filter(|serial| *serial != 3) {
        assert_eq!(new.find(&number(serial)).await.unwrap(), Some(holder(1, serial)));
        assert_eq!(*new.open(holder(1, serial)).await.unwrap().unwrap().name, NAME);
    }
    assert_eq!(new.find(&number(3)).await.unwrap(), None);
    let index = VaultKeys::only(VaultKey::Revocation(revocation_key(&key(8))));
    let index = JetStreamVault::open(&config, &index, random()).await.unwrap();
    let reasons = index.reason_key(&number(2)).await.unwrap().unwrap();
    assert_eq!(
        *reasons.open(b"r", &sealed).unwrap(),
        *b"why",
        "reasons can be opened after the rotation"
    );
}
