//! Fixtures of the tests of the JetStream engine: generated people, a vault on servers, and the contents of
//! disks.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use citycode_domain::id_number::{IdNumber, check_character};
use citycode_domain::ids::HolderId;
use citycode_domain::name::PersonName;
use citycode_jetstream::Connection;
use citycode_testkit::{NatsServer, eventually_some};
use citycode_vault::jetstream::{JetStreamVault, NewVault, OpenError, VaultConfig, VaultKey, VaultKeys, provision};
use citycode_vault::{FillRandom, Person, Vault as _, VaultError};
use jiff::civil::date;
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

pub(crate) fn number(serial: u16) -> IdNumber {
    let body = format!("31010119900101{serial:03}");
    let check = char::from(check_character(body.as_bytes()));
    IdNumber::parse(&format!("{body}{check}"), date(2026, 1, 1)).unwrap()
}

pub(crate) fn holder(n: u8, m: u16) -> HolderId {
    let mut id = [n; 16];
    id[..2].copy_from_slice(&m.to_be_bytes());
    HolderId(id)
}

/// The contents of every file below a folder, concatenated.
fn everything_below(folder: &Path, into: &mut Vec<u8>) {
    // The server is running, so files may disappear during the read.
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            everything_below(&path, into);
        } else {
            into.extend(std::fs::read(&path).unwrap_or_default());
        }
    }
}

pub(crate) fn on_disk(server: &NatsServer) -> Vec<u8> {
    let mut bytes = Vec::new();
    everything_below(&server.store_folder(), &mut bytes);
    bytes
}

/// Whether the disk contains a part of it. Disks have many bytes: if the first two runs are absent, the rest is
/// not compared.
pub(crate) fn holds(disk: &[u8], wanted: &[u8]) -> bool {
    // Any run of 24 bytes would be enough.
    let runs = wanted.chunks_exact(24);
    let begins = |run: &[u8]| usize::from(u16::from_be_bytes([run[0], run[1]]));
    let mut begun = vec![false; 1 << 16];
    for run in runs.clone() {
        begun[begins(run)] = true;
    }
    let mut windows = disk.windows(24);
    windows.any(|window| begun[begins(window)] && runs.clone().any(|run| run == window))
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
pub(crate) fn on_stream(server: &NatsServer) -> Vec<u8> {
    let mut bytes = Vec::new();
    let folder = server.store_folder().join("jetstream/$G/streams/KV_CC_VAULT");
    everything_below(&folder, &mut bytes);
    bytes
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
