//! Tests of the embedded vault through its public interface: one holder per person, and nothing left after an
//! erasure.

use std::sync::Arc;

use citycode_domain::ids::HolderId;
use citycode_domain::name::PersonName;
use citycode_testkit::id_number as number;
use citycode_vault::embedded::EmbeddedVault;
use citycode_vault::{FillRandom, Person, Vault, VaultError};
use zeroize::Zeroizing;

fn random() -> FillRandom {
    Arc::new(|buffer| aws_lc_rs::rand::fill(buffer).expect("the system provides randomness"))
}

fn person() -> Person {
    Person {
        name: PersonName::parse("张三").expect("a name"),
        disability: true,
        group: Some("veteran".into()),
    }
}

fn holder(n: u16) -> HolderId {
    let mut bytes = [7; 16];
    bytes[..2].copy_from_slice(&n.to_be_bytes());
    HolderId(bytes)
}

const MASTER: [u8; 32] = [9; 32];

fn open(folder: &std::path::Path) -> EmbeddedVault {
    EmbeddedVault::open(folder, &Zeroizing::new(MASTER), random()).expect("the vault opens")
}

#[tokio::test]
async fn r03_one_person_is_one_holder_under_concurrency_and_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let vault = Arc::new(open(folder.path()));
    let attempts = (0..64).map(|n| {
        let vault = Arc::clone(&vault);
        tokio::spawn(async move {
            vault
                .find_or_create(&number(1), holder(n), person())
                .await
                .expect("an answer")
        })
    });
    let attempts: Vec<_> = attempts.collect();
    let mut found = Vec::new();
    for attempt in attempts {
        found.push(attempt.await.expect("no panic"));
    }
    assert_eq!(found.iter().filter(|one| one.created).count(), 1);
    assert!(found.iter().all(|one| one.holder == found[0].holder));
    drop(vault);
    let vault = open(folder.path());
    assert_eq!(vault.find(&number(1)).await.expect("an answer"), Some(found[0].holder));
    let file = vault.open(found[0].holder).await.expect("an answer").expect("known");
    assert_eq!(
        (file.name.as_str(), file.disability, file.group.as_deref()),
        ("张三", true, Some("veteran"))
    );
    assert_eq!(&*file.id_number, number(1).as_bytes());
}

#[tokio::test]
async fn r28_an_erasure_removes_one_person_and_keeps_the_others_of_the_page() {
    let folder = tempfile::tempdir().expect("a folder");
    let vault = open(folder.path());
    for n in 0..3000 {
        let mut candidate = holder(n);
        candidate.0[..2].copy_from_slice(&(n % 8).to_be_bytes());
        candidate.0[2..4].copy_from_slice(&n.to_be_bytes());
        if n < 400 {
            vault
                .find_or_create(&number(n), candidate, person())
                .await
                .expect("created");
        }
    }
    let gone = vault.find(&number(5)).await.expect("an answer").expect("known");
    let sealed = vault
        .open(gone)
        .await
        .expect("an answer")
        .expect("known")
        .key
        .seal(b"token", [1; 12], b"secret");
    let key_file = std::fs::read(folder.path().join("vault.keys")).expect("the key file");
    vault.erase(gone).await.expect("erased");
    vault.erase(gone).await.expect("erasing again changes nothing");
    assert_eq!(vault.find(&number(5)).await.expect("an answer"), None);
    assert!(vault.open(gone).await.expect("an answer").is_none());
    assert_ne!(
        std::fs::read(folder.path().join("vault.keys")).expect("the key file"),
        key_file
    );
    for n in (0..400).filter(|n| *n != 5) {
        let holder = vault.find(&number(n)).await.expect("an answer").expect("still known");
        let file = vault.open(holder).await.expect("an answer").expect("still there");
        assert_eq!(&*file.id_number, number(n).as_bytes());
        assert!(
            file.key.open(b"token", &sealed).is_err(),
            "no other key opens the erased person's seal"
        );
    }
    let again = vault
        .find_or_create(&number(5), holder(4000), person())
        .await
        .expect("created again");
    assert!(again.created && again.holder != gone);
}

#[tokio::test]
async fn r28_an_old_copy_of_the_database_reveals_nothing_of_an_erased_person() {
    let folder = tempfile::tempdir().expect("a folder");
    let copy = tempfile::tempdir().expect("a folder");
    let vault = open(folder.path());
    let found = vault
        .find_or_create(&number(1), holder(1), person())
        .await
        .expect("created");
    std::fs::copy(folder.path().join("vault.redb"), copy.path().join("vault.redb"))
        .expect("what freed pages would contain");
    vault.erase(found.holder).await.expect("erased");
    std::fs::copy(folder.path().join("vault.keys"), copy.path().join("vault.keys")).expect("the keys of today");
    drop(vault);
    // With the old database, today's keys and the master key, the person still cannot be found.
    let opened = EmbeddedVault::open(copy.path(), &Zeroizing::new(MASTER), random());
    match opened {
        Err(VaultError::Damaged(_)) => {}
        Err(other) => panic!("{other}"),
        Ok(vault) => assert!(!matches!(vault.find(&number(1)).await, Ok(Some(_)))),
    }
}

#[tokio::test]
async fn another_master_key_is_refused_and_the_files_contain_no_personal_data() {
    let folder = tempfile::tempdir().expect("a folder");
    let vault = open(folder.path());
    let created = vault
        .find_or_create(&number(1), holder(1), person())
        .await
        .expect("created");
    drop(vault);
    let refused = EmbeddedVault::open(folder.path(), &Zeroizing::new([1; 32]), random()).err();
    assert!(matches!(refused, Some(VaultError::Damaged(_))), "{refused:?}");
    for file in ["vault.redb", "vault.keys"] {
        let bytes = std::fs::read(folder.path().join(file)).expect("a file of the vault");
        for secret in [number(1).as_bytes().as_slice(), "张三".as_bytes(), &created.holder.0] {
            assert!(
                !bytes.windows(secret.len()).any(|window| window == secret),
                "{file} contains a secret"
            );
        }
    }
}
