//! Fixtures of the tests of the JetStream engine: generated people, a vault on servers, and the contents of
//! disks.

use std::sync::Arc;
use std::time::Duration;

use citycode_domain::ids::HolderId;
use citycode_domain::name::PersonName;
use citycode_jetstream::Connection;
pub(crate) use citycode_testkit::id_number as number;
use citycode_testkit::{NatsServer, StoredBytes, eventually_some};
use citycode_vault::jetstream::{JetStreamVault, NewVault, OpenError, VaultConfig, VaultKey, VaultKeys, provision};
use citycode_vault::{FillRandom, Person, Vault as _, VaultError};
use zeroize::Zeroizing;

/// Timeout for servers that are starting, busy or in an election.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
pub(crate) const NAME: &str = "欧阳不在盘上";

pub(crate) fn random() -> FillRandom {
    Arc::new(|buffer| aws_lc_rs::rand::fill(buffer).expect("the system provides randomness"))
}

pub(crate) fn key(of: u8) -> Zeroizing<[u8; 32]> {
    Zeroizing::new([of; 32])
}

pub(crate) fn master() -> VaultKeys {
    VaultKeys::only(VaultKey::Master(key(7)))
}

pub(crate) fn config(urls: Vec<String>, replicas: u8) -> VaultConfig {
    VaultConfig {
        connection: Connection::new(urls, "test"),
        replicas,
        expected_log_id: Some([1; 16]),
        replaced_by: None,
    }
}

pub(crate) fn new() -> NewVault {
    NewVault {
        vault_id: [2; 16],
        log_id: [1; 16],
        pages: 4,
        origin: citycode_vault::jetstream::Origin::NewLog,
    }
}

/// Retries until it succeeds, or fails permanently.
pub(crate) async fn patiently<T>(what: &str, attempt: impl AsyncFn() -> Result<T, OpenError>) -> T {
    eventually_some(what, PATIENCE, || async {
        match attempt().await {
            Ok(done) => Some(done),
            Err(error) if error.may_pass() => None,
            Err(error) => panic!("{what}: {error}"),
        }
    })
    .await
}

/// Creates the vault if there is none, and opens it.
pub(crate) async fn open(config: &VaultConfig) -> JetStreamVault {
    patiently("the vault is created", async || provision(config, &new()).await).await;
    patiently("the vault opens", async || {
        JetStreamVault::open(config, &master(), random()).await
    })
    .await
}

/// Retries until the servers answer.
pub(crate) async fn answered<T>(what: &str, attempt: impl AsyncFn() -> Result<T, VaultError>) -> T {
    eventually_some(what, PATIENCE, || async {
        match attempt().await {
            Ok(done) => Some(done),
            Err(VaultError::Unavailable(_)) => None,
            Err(error) => panic!("{what}: {error}"),
        }
    })
    .await
}

/// Creates the first people of a vault.
pub(crate) async fn people(vault: &JetStreamVault, serials: std::ops::Range<u16>) {
    for serial in serials {
        answered("a person is created", async || {
            vault.find_or_create(&number(serial), holder(1, serial), person()).await
        })
        .await;
    }
}

pub(crate) fn person() -> Person {
    Person {
        name: PersonName::parse(NAME).unwrap(),
        disability: true,
        group: None,
    }
}

pub(crate) fn holder(n: u8, m: u16) -> HolderId {
    let mut id = [n; 16];
    id[..2].copy_from_slice(&m.to_be_bytes());
    HolderId(id)
}

pub(crate) fn on_disk(server: &NatsServer) -> StoredBytes {
    StoredBytes::below(&server.store_folder())
}

/// Whether the disk contains a part of it; any run of 24 bytes would be enough.
pub(crate) fn holds(disk: &StoredBytes, wanted: &[u8]) -> bool {
    disk.contain_run_of(wanted, 24)
}

/// A client of the servers that is independent of any vault.
pub(crate) async fn connected(urls: Vec<String>) -> citycode_jetstream::Client {
    let connection = Connection::new(urls, "test");
    citycode_jetstream::connect(&connection, |_| ()).await.unwrap()
}

/// The stored bytes of every version of every page.
pub(crate) async fn versions(server: &NatsServer) -> Vec<Vec<u8>> {
    let client = connected(vec![server.url()]).await;
    let mut found = Vec::new();
    let mut from = 1;
    loop {
        let body = serde_json::json!({ "seq": from, "next_by_subj": "$KV.CC_VAULT.>" });
        let message = citycode_jetstream::api::get_from_leader(&client, "KV_CC_VAULT", &body)
            .await
            .unwrap();
        let Some(message) = message else { return found };
        from = message.sequence + 1;
        found.push(message.payload.to_vec());
    }
}

/// The contents of the stream's own folder of a server; the replication log is stored next to it, see decision
/// 8.
pub(crate) fn on_stream(server: &NatsServer) -> StoredBytes {
    StoredBytes::below(&server.store_folder().join("jetstream/$G/streams/KV_CC_VAULT"))
}

/// A page of a table that was written.
pub(crate) async fn first_page(
    client: &impl citycode_jetstream::ApiClient,
    table: &str,
) -> citycode_jetstream::api::StoredMessage {
    for number in 0..4 {
        let body = serde_json::json!({ "last_by_subj": format!("$KV.CC_VAULT.{table}.000{number}") });
        let page = citycode_jetstream::api::get_from_leader(client, "KV_CC_VAULT", &body).await;
        if let Some(page) = page.unwrap() {
            return page;
        }
    }
    panic!("no page of {table} was written");
}
