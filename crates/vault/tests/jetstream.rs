//! The vault on real NATS servers: one person is one holder, whoever asks where; an erasure leaves nothing to read.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use citycode_domain::id_number::{IdNumber, check_character};
use citycode_domain::ids::HolderId;
use citycode_domain::name::PersonName;
use citycode_jetstream::Connection;
use citycode_testkit::{NatsCluster, NatsServer, eventually};
use citycode_vault::jetstream::{
    JetStreamVault, NewVault, OpenError, VaultConfig, VaultKey, VaultKeys, index_key, provision, revocation_key,
};
use citycode_vault::{FillRandom, Person, Vault, VaultError};
use futures::future::join_all;
use jiff::civil::date;
use zeroize::Zeroizing;

const NAME: &str = "欧阳不在盘上";

fn random() -> FillRandom {
    Arc::new(|buffer| aws_lc_rs::rand::fill(buffer).expect("the system has randomness"))
}

fn key(of: u8) -> Zeroizing<[u8; 32]> {
    Zeroizing::new([of; 32])
}

fn master() -> VaultKeys {
    VaultKeys::only(VaultKey::Master(key(7)))
}

fn config(urls: Vec<String>, replicas: u8) -> VaultConfig {
    VaultConfig {
        connection: Connection::new(urls, "test"),
        replicas,
        expected_log_id: Some([1; 16]),
    }
}

fn new() -> NewVault {
    NewVault {
        vault_id: [2; 16],
        log_id: [1; 16],
        pages: 4,
    }
}

async fn open(config: &VaultConfig) -> JetStreamVault {
    provision(config, &new()).await.unwrap();
    JetStreamVault::open(config, &master(), random()).await.unwrap()
}

fn person() -> Person {
    Person {
        name: PersonName::parse(NAME).unwrap(),
        disability: true,
        group: None,
    }
}

fn number(serial: u16) -> IdNumber {
    let body = format!("31010119900101{serial:03}");
    let check = char::from(check_character(body.as_bytes()));
    IdNumber::parse(&format!("{body}{check}"), date(2026, 1, 1)).unwrap()
}

fn holder(n: u8, m: u16) -> HolderId {
    let mut id = [n; 16];
    id[..2].copy_from_slice(&m.to_be_bytes());
    HolderId(id)
}

async fn one_person_is_one_holder(urls: Vec<String>, replicas: u8) {
    let config = config(urls, replicas);
    let vaults = join_all([0, 1].map(|_| open(&config))).await;
    // Four callers at once for each of forty people, on two processes' vaults.
    let calls = (0..40u16).flat_map(|serial| (0..4u8).map(move |caller| (serial, caller)));
    let found = join_all(calls.map(|(serial, caller)| {
        let vault = &vaults[usize::from(caller % 2)];
        async move {
            let found = vault
                .find_or_create(&number(serial), holder(caller, serial), person())
                .await;
            (serial, found.unwrap())
        }
    }))
    .await;
    for serial in 0..40 {
        let of_one: Vec<_> = found.iter().filter(|(of, _)| *of == serial).collect();
        let first = of_one[0].1.holder;
        assert!(of_one.iter().all(|(_, found)| found.holder == first));
        assert_eq!(of_one.iter().filter(|(_, found)| found.created).count(), 1);
        for vault in &vaults {
            assert_eq!(vault.find(&number(serial)).await.unwrap(), Some(first));
            let file = vault.open(first).await.unwrap().unwrap();
            assert_eq!(*file.name, NAME);
            assert_eq!(&*file.id_number, number(serial).as_bytes());
            assert!(file.disability);
        }
    }
    assert_eq!(vaults[0].find(&number(900)).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn r03_one_person_is_one_holder_on_one_server() {
    let server = NatsServer::start().await;
    one_person_is_one_holder(vec![server.url()], 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r03_one_person_is_one_holder_on_three_servers_also_when_one_dies() {
    let mut servers = NatsCluster::start().await;
    let urls = servers.urls();
    one_person_is_one_holder(urls.clone(), 3).await;
    let vault = open(&config(urls, 3)).await;
    servers.servers_mut()[0].kill9().await;
    eventually("the vault is there again", Duration::from_secs(60), || async {
        vault.find_or_create(&number(50), holder(9, 50), person()).await.is_ok()
    })
    .await;
    assert!(vault.find(&number(7)).await.unwrap().is_some());
}

/// Every file below a folder in one piece.
fn everything_below(folder: &Path, into: &mut Vec<u8>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            everything_below(&path, into);
        } else {
            into.extend(std::fs::read(&path).unwrap_or_default());
        }
    }
}

fn on_disk(server: &NatsServer) -> Vec<u8> {
    let mut bytes = Vec::new();
    everything_below(&server.store_folder(), &mut bytes);
    bytes
}

fn holds(disk: &[u8], wanted: &[u8]) -> bool {
    // Any run of 24 bytes would be enough to go on.
    wanted
        .chunks_exact(24)
        .any(|run| disk.windows(24).any(|window| window == run))
}

/// The stored bytes of every version of every page.
async fn versions(server: &NatsServer) -> Vec<Vec<u8>> {
    let client = citycode_jetstream::connect(&Connection::new(vec![server.url()], "test"), |_| ())
        .await
        .unwrap();
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

#[tokio::test(flavor = "multi_thread")]
async fn r28_after_an_erasure_nothing_of_the_person_stands_on_the_disk_and_the_others_of_the_page_stay() {
    let server = NatsServer::start().await;
    let vault = open(&config(vec![server.url()], 1)).await;
    for serial in 0..12 {
        vault
            .find_or_create(&number(serial), holder(1, serial), person())
            .await
            .unwrap();
    }
    let before = versions(&server).await;
    let disk = on_disk(&server);
    assert!(
        before.iter().all(|version| holds(&disk, version)),
        "the test looks in the right place"
    );
    for plain in [NAME.as_bytes(), number(3).as_bytes(), &holder(1, 3).0] {
        assert!(!disk.windows(plain.len()).any(|window| window == plain), "in the clear");
    }
    // By several at once, as the caller and the follower of the log do it, and again.
    let second = open(&config(vec![server.url()], 1)).await;
    for erased in join_all([&vault, &second, &vault].map(|vault| vault.erase(holder(1, 3)))).await {
        erased.unwrap();
    }
    vault.erase(holder(1, 3)).await.unwrap();
    let after = versions(&server).await;
    assert!(after.len() <= 8 + 3, "one version a page, and keys: {}", after.len());
    let gone: Vec<_> = before.iter().filter(|version| !after.contains(version)).collect();
    assert!(gone.len() >= 2, "both pages of the person were written anew");
    let disk = on_disk(&server);
    assert!(
        gone.iter().all(|version| !holds(&disk, version)),
        "an old version stands on the disk"
    );
    assert_eq!(vault.find(&number(3)).await.unwrap(), None);
    assert!(vault.open(holder(1, 3)).await.unwrap().is_none());
    for serial in (0..12).filter(|serial| *serial != 3) {
        assert_eq!(vault.find(&number(serial)).await.unwrap(), Some(holder(1, serial)));
        assert_eq!(*vault.open(holder(1, serial)).await.unwrap().unwrap().name, NAME);
    }
    // The person may come again, as somebody new.
    let again = vault.find_or_create(&number(3), holder(5, 3), person()).await.unwrap();
    assert!(again.created && again.holder == holder(5, 3));
}

/// The stream's own folder of a server; what the replication keeps stands beside it, see decision 8.
fn stream_folder(server: &NatsServer) -> std::path::PathBuf {
    server.store_folder().join("jetstream/$G/streams/KV_CC_VAULT")
}

#[tokio::test(flavor = "multi_thread")]
async fn r28_after_an_erasure_no_stream_file_of_three_servers_has_the_persons_pages() {
    let cluster = NatsCluster::start().await;
    let vault = open(&config(cluster.urls(), 3)).await;
    for serial in 0..12 {
        let made = vault.find_or_create(&number(serial), holder(1, serial), person()).await;
        made.unwrap();
    }
    let before = versions(&cluster.servers()[0]).await;
    let on_stream = |server: &NatsServer| {
        let mut bytes = Vec::new();
        everything_below(&stream_folder(server), &mut bytes);
        bytes
    };
    for server in cluster.servers() {
        eventually("every server has every page", Duration::from_secs(60), || async {
            let disk = on_stream(server);
            before.iter().all(|version| holds(&disk, version))
        })
        .await;
    }
    vault.erase(holder(1, 3)).await.unwrap();
    let after = versions(&cluster.servers()[0]).await;
    let gone: Vec<_> = before.iter().filter(|version| !after.contains(version)).collect();
    assert!(gone.len() >= 2, "both pages of the person were written anew");
    for server in cluster.servers() {
        eventually("every server overwrites them", Duration::from_secs(60), || async {
            let disk = on_stream(server);
            gone.iter().all(|version| !holds(&disk, version))
        })
        .await;
    }
}

/// Some page of a table that was written.
async fn first_page(client: &impl citycode_jetstream::Asks, table: &str) -> citycode_jetstream::api::StoredMessage {
    for number in 0..4 {
        let body = serde_json::json!({ "last_by_subj": format!("$KV.CC_VAULT.{table}.000{number}") });
        let page = citycode_jetstream::api::get_from_leader(client, "KV_CC_VAULT", &body).await;
        if let Some(page) = page.unwrap() {
            return page;
        }
    }
    panic!("no page of {table} was written");
}

/// One who read the index before an erasure and writes after it, as an old index page put back has it.
#[tokio::test(flavor = "multi_thread")]
async fn r28_who_was_erased_does_not_come_back_by_an_older_look_at_the_index() {
    let server = NatsServer::start().await;
    let vault = open(&config(vec![server.url()], 1)).await;
    vault.find_or_create(&number(1), holder(1, 1), person()).await.unwrap();
    let client = async_nats::connect(server.url()).await.unwrap();
    let index = first_page(&client, "i").await;
    vault.erase(holder(1, 1)).await.unwrap();
    let put_back = citycode_jetstream::api::request(&client, index.subject, None, index.payload).await;
    put_back.unwrap();
    assert_eq!(
        vault.find(&number(1)).await.unwrap(),
        Some(holder(1, 1)),
        "the older look"
    );
    // Also with the erased number itself as the candidate.
    let again = vault.find_or_create(&number(1), holder(1, 1), person()).await.unwrap();
    assert!(again.created && again.holder != holder(1, 1));
    assert!(vault.open(holder(1, 1)).await.unwrap().is_none());
    assert_eq!(vault.find(&number(1)).await.unwrap(), Some(again.holder));
    assert!(vault.open(again.holder).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_left_is_completed_or_swept() {
    let server = NatsServer::start().await;
    let vault = open(&config(vec![server.url()], 1)).await;
    vault.find_or_create(&number(1), holder(1, 1), person()).await.unwrap();
    vault.find_or_create(&number(2), holder(1, 2), person()).await.unwrap();
    // A writer that died right after its write left a superseded version: as if nobody had overwritten it.
    let client = citycode_jetstream::connect(&Connection::new(vec![server.url()], "test"), |_| ())
        .await
        .unwrap();
    let pages = versions(&server).await.len();
    let page = first_page(&client, "p").await;
    let again = citycode_jetstream::api::request(&client, page.subject.clone(), None, page.payload.clone()).await;
    again.unwrap();
    assert_eq!(versions(&server).await.len(), pages + 1);
    vault.sweep().await.unwrap();
    assert_eq!(versions(&server).await.len(), pages);
    assert!(vault.open(holder(1, 1)).await.unwrap().is_some());
    assert!(vault.open(holder(1, 2)).await.unwrap().is_some());
    // A maker that died between its two writes left an index entry without a record.
    let (first, second) = (number(1), number(2));
    for subject in [
        "$KV.CC_VAULT.p.0000",
        "$KV.CC_VAULT.p.0001",
        "$KV.CC_VAULT.p.0002",
        "$KV.CC_VAULT.p.0003",
    ] {
        let body = serde_json::json!({ "last_by_subj": subject });
        let message = citycode_jetstream::api::get_from_leader(&client, "KV_CC_VAULT", &body)
            .await
            .unwrap();
        if let Some(message) = message {
            let body = serde_json::json!({ "seq": message.sequence });
            let _: serde_json::Value = citycode_jetstream::api::ask(&client, "STREAM.MSG.DELETE.KV_CC_VAULT", &body)
                .await
                .unwrap();
        }
    }
    assert!(vault.open(holder(1, 1)).await.unwrap().is_none());
    for (number, holder) in [(&first, holder(1, 1)), (&second, holder(1, 2))] {
        let found = vault
            .find_or_create(number, self::holder(8, 8), person())
            .await
            .unwrap();
        assert!(found.holder == holder && !found.created);
        assert!(vault.open(holder).await.unwrap().is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_key_another_log_and_no_vault_are_refused_by_name() {
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
async fn who_was_given_the_index_alone_finds_holders_and_opens_nobody() {
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
    // Erased and come again: what was sealed before does not open any more.
    vault.erase(holder(1, 1)).await.unwrap();
    vault.find_or_create(&number(1), holder(2, 2), person()).await.unwrap();
    let again = revocation.reason_key(&number(1)).await.unwrap().unwrap();
    assert!(again.open(b"reason", &sealed).is_err());
}

/// In front of each version: which key wraps its page's.
fn key_ids(versions: &[Vec<u8>]) -> std::collections::BTreeSet<Vec<u8>> {
    versions.iter().map(|version| version[1..9].to_vec()).collect()
}

/// A rotation that is cut short after the third page.
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
async fn another_master_key_takes_over_under_work_also_when_the_rotation_was_cut_short() {
    let server = NatsServer::start().await;
    let config = config(vec![server.url()], 1);
    provision(&config, &NewVault { pages: 64, ..new() }).await.unwrap();
    let vault = JetStreamVault::open(&config, &master(), random()).await.unwrap();
    for serial in 0..12 {
        let made = vault.find_or_create(&number(serial), holder(1, serial), person()).await;
        made.unwrap();
    }
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
    // Old and new are taken meanwhile, by whoever has both.
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
    // Nothing opens with the old key, and nothing that did is on the disk.
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
        "reasons outlive the key"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mark_of_erasures_moves_only_from_where_it_was_read() {
    let server = NatsServer::start().await;
    let config = config(vec![server.url()], 1);
    let (first, second) = (open(&config).await, open(&config).await);
    assert_eq!(first.erased_up_to().await.unwrap(), None);
    assert!(first.note_erased_up_to(None, &[3, 4]).await.unwrap());
    assert!(
        first.note_erased_up_to(None, &[3, 4]).await.unwrap(),
        "the same note again"
    );
    assert!(
        !second.note_erased_up_to(None, &[9, 9]).await.unwrap(),
        "somebody was faster"
    );
    assert_eq!(second.erased_up_to().await.unwrap(), Some(vec![3, 4]));
    assert!(second.note_erased_up_to(Some(&[3, 4]), &[5, 4]).await.unwrap());
    assert_eq!(first.erased_up_to().await.unwrap(), Some(vec![5, 4]));
    assert_eq!(versions(&server).await.len(), 3 + 1, "no older mark stays");
}
