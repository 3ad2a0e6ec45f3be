//! Correcting a name in a distributed city: every issuer prints the new name, no earlier version of the person's page
//! remains on the server's disk, and a starting issuer completes a correction that a crash interrupted.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use citycode_domain::event::{Event, HolderRenamed, Sealed};
use citycode_domain::id_number::IdNumber;
use citycode_domain::ids::{HolderId, NameChangeId};
use citycode_domain::name::PersonName;
use citycode_event_store::{EventStore as _, StreamState};
use citycode_event_store_jetstream::JetStreamEventStore;
use citycode_jetstream::{Connection, api};
use citycode_log_folds::holder_stream;
use citycode_service_kit::entropy::{Entropy as _, OsEntropy};
use citycode_service_kit::files;
use citycode_testkit::{IdNumbers, commit_of, eventually};
use citycode_vault::Vault as _;
use citycode_vault::jetstream::{JetStreamVault, VaultConfig, VaultKey, VaultKeys};
use jiff::civil::date;
use serde_json::{Value, json};

use crate::city::{City, DEADLINE, audit, behind, issuer, portal, revocation, verifier};

const PATIENCE: Duration = Duration::from_secs(60);

async fn vault(city: &City) -> JetStreamVault {
    let config = VaultConfig {
        connection: Connection::new(city.urls().to_vec(), "test"),
        replicas: 1,
        expected_log_id: None,
        replaced_by: None,
    };
    let master = files::read_secret(&city.secret("keys/vault-master.key")).expect("a key");
    let random: citycode_vault::FillRandom = Arc::new(|bytes| OsEntropy.fill(bytes));
    let keys = VaultKeys::only(VaultKey::Master(master));
    JetStreamVault::open(&config, &keys, random).await.expect("it opens")
}

async fn holder(vault: &JetStreamVault, id_number: &str) -> HolderId {
    let number = IdNumber::parse(id_number, date(2026, 1, 1)).expect("a number");
    vault.find(&number).await.expect("it answers").expect("known")
}

/// The stored bytes of every version of the people's pages.
async fn pages(city: &City) -> Vec<Vec<u8>> {
    let client = async_nats::connect(city.urls().to_vec()).await.expect("a connection");
    let (mut found, mut from) = (Vec::new(), 1);
    loop {
        let body = json!({ "seq": from, "next_by_subj": "$KV.CC_VAULT.p.>" });
        let page = api::get_from_leader(&client, "KV_CC_VAULT", &body)
            .await
            .expect("an answer");
        let Some(page) = page else { return found };
        from = page.sequence + 1;
        found.push(page.payload.to_vec());
    }
}

/// Whether any 24 bytes of it are in a file below the folder.
fn is_on_disk(folder: &Path, wanted: &[u8]) -> bool {
    std::fs::read_dir(folder).into_iter().flatten().flatten().any(|entry| {
        let path = entry.path();
        if path.is_dir() {
            return is_on_disk(&path, wanted);
        }
        // The running server may remove a file meanwhile.
        let bytes = std::fs::read(&path).unwrap_or_default();
        let mut runs = wanted.chunks_exact(24);
        runs.any(|run| bytes.windows(24).any(|window| window == run))
    })
}

/// Checks that no page that was replaced is readable on the disk; how many were replaced.
fn assert_replaced_pages_are_gone(disk: &Path, before: &[Vec<u8>], after: &[Vec<u8>]) -> usize {
    let replaced = before.iter().filter(|page| !after.contains(page));
    replaced
        .inspect(|page| assert!(!is_on_disk(disk, page), "a replaced page is on the disk"))
        .count()
}

async fn print(city: &City, portal: &str, id_number: &str) -> Value {
    let reprint = json!({ "id_number": id_number, "kind": "offline", "channel": "pc", "print": true });
    city.post(portal, "reprint", reprint).await
}

#[tokio::test(flavor = "multi_thread")]
async fn r28_a_corrected_name_is_printed_everywhere_and_the_old_one_is_on_no_disk() {
    let city = City::on_one().await;
    city.provision().await;
    let issuers = [
        city.start(&issuer(), "issuer-1", "").await,
        city.start(&issuer(), "issuer-2", "").await,
    ];
    let revoking = city.start(&revocation(), "revocation", "").await;
    let verifying = city.start(&verifier(), "verifier", "").await;
    let auditing = city.start(&audit(), "audit", "").await;
    let services = |issuers: &[&str]| behind(issuers, &[revoking.url()], &[verifying.url()], &[auditing.url()]);
    let door = city
        .start(&portal(), "portal", &services(&[issuers[0].url(), issuers[1].url()]))
        .await;
    let person = IdNumbers::new(92).born(date(1950, 5, 5));
    city.register(door.url(), &person).await;
    let code = city.issue(door.url(), &person, "offline").await;
    let before = pages(&city).await;
    let disk = city.server().store_folder();
    assert!(
        before.iter().all(|page| is_on_disk(&disk, page)),
        "the test looks in the right place"
    );

    let rename = json!({ "id_number": person, "name": "张晓三四", "reason": "登记笔误" });
    city.post(door.url(), "rename", rename).await;

    let after = pages(&city).await;
    // The person's page, and the page of the vault's mark if an issuer advanced it meanwhile.
    let replaced = assert_replaced_pages_are_gone(&disk, &before, &after);
    assert!(replaced > 0, "the person's page was rewritten");
    for _ in 0..4 {
        let again = print(&city, door.url(), &person).await;
        assert_eq!(
            (&again["token"], &again["masked_name"]),
            (&code["token"], &json!("张**四"))
        );
    }
    let asked = json!({ "id_number": person, "kind": "offline" });
    let history = city.post(door.url(), "history", asked).await;
    assert!(history.to_string().contains("HolderRenamed"), "{history}");

    // A crash between log and vault: the name is staged, the log has the change, and no issuer runs.
    for issuing in issuers {
        issuing.kill_9().await;
    }
    let (vault, change) = (vault(&city).await, NameChangeId([8; 16]));
    let holder = holder(&vault, &person).await;
    let name = PersonName::parse("李五").expect("a name");
    assert!(vault.stage_name(holder, change, &name).await.expect("it answers"));
    let staged = pages(&city).await;
    let log = JetStreamEventStore::open(&city.log()).await.expect("a log");
    let renamed = Event::HolderRenamed(HolderRenamed {
        change,
        reason: Sealed(Vec::new()),
    });
    let commit = commit_of(holder_stream(holder), &renamed, 1, 1_800_000_000);
    log.append_to_stream(commit, StreamState::Any).await.expect("appended");
    let issuing = city.start(&issuer(), "issuer-1", "").await;
    // The issuer is ready, so no waiting is needed from here on.
    let file = vault.open(holder).await.expect("it answers").expect("a person");
    assert!(*file.name == "李五" && file.named_by() == Some(change) && !file.has_staged_name());
    let after = pages(&city).await;
    assert_replaced_pages_are_gone(&disk, &staged, &after);
    let door = city
        .start(&portal(), "another portal", &services(&[issuing.url()]))
        .await;
    let printed = async || print(&city, door.url(), &person).await["masked_name"] == "李*";
    eventually("the new portal reaches the issuer", PATIENCE, printed).await;
    assert!(!issuing.said().contains("张晓三四") && !issuing.said().contains("李五"));
    assert!(issuing.terminate(DEADLINE).await.success());
}
