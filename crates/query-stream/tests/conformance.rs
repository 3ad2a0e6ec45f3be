//! What every engine of the stream must do; one suite for all of them.

use std::path::Path;
use std::sync::Arc;

use citycode_domain::ids::HolderId;
use citycode_jetstream::{Connection, api};
use citycode_query_stream::embedded::EmbeddedQueryStore;
use citycode_query_stream::jetstream::{JetStreamQueryStore, KEYS, OpenError, QueriesConfig, provision};
use citycode_query_stream::{Queries, Query, QueryKind, QueryStore, SecretName};
use citycode_service_kit::entropy::{Entropy as _, OsEntropy};
use citycode_testkit::{NatsServer, StoredBytes};
use citycode_vault::FillRandom;
use citycode_vault::log_binding::ForLog;
use zeroize::Zeroizing;

const DAY: u32 = 20_417;
const NOON: i64 = DAY as i64 * 86_400 + 43_200;
const WANG: HolderId = HolderId([0x11; 16]);
const LI: HolderId = HolderId([0x22; 16]);

fn query<'a>(purpose: &'a str, asked_at: i64, holder: Option<HolderId>) -> Query<'a> {
    Query {
        asked_at,
        asker: "https://id.example officer-7",
        roles: &[],
        kind: QueryKind::Explain,
        rows: 1,
        purpose,
        holder,
    }
}

fn queries(store: &Arc<dyn QueryStore>) -> Queries {
    Queries::new(Arc::clone(store), Arc::new(OsEntropy))
}

/// The whole suite; `store` is empty.
async fn conforms(store: Arc<dyn QueryStore>) {
    a_secret_is_created_once_and_destroyed(&store).await;
    records_are_read_in_their_order(&store).await;
    concurrent_records_have_sequences_of_their_own(&store).await;
    queries_about_a_person_are_found_until_the_person_is_erased(&store).await;
    a_destroyed_day_leaves_who_when_and_what(&store).await;
}

async fn a_secret_is_created_once_and_destroyed(store: &Arc<dyn QueryStore>) {
    let name = SecretName::Person([0xee; 16]);
    assert_eq!(store.secret(name).await.expect("an answer"), None);
    let (one, other) = tokio::join!(
        store.create_secret(name, Zeroizing::new([1; 32])),
        store.create_secret(name, Zeroizing::new([2; 32]))
    );
    let created = one.expect("created");
    assert_eq!(created, other.expect("created"), "both get the same");
    assert_eq!(store.secret(name).await.expect("an answer"), Some(created.clone()));
    assert!(store.secrets().await.expect("an answer").contains(&(name, created)));
    for _ in 0..2 {
        store.destroy_secret(name).await.expect("destroyed");
        assert_eq!(store.secret(name).await.expect("an answer"), None);
    }
    assert!(store.secrets().await.expect("an answer").is_empty());
    let again = store.create_secret(name, Zeroizing::new([3; 32])).await;
    assert_eq!(*again.expect("created again"), [3; 32]);
    store.destroy_secret(name).await.expect("destroyed");
}

async fn records_are_read_in_their_order(store: &Arc<dyn QueryStore>) {
    assert!(store.read(1, 10).await.expect("an answer").is_empty());
    let mut appended = Vec::new();
    for text in ["one", "two", "three"] {
        let bytes = queries(store).record(&query(text, NOON, None)).await.expect("recorded");
        appended.push(bytes);
    }
    assert_eq!(appended, [1, 2, 3]);
    let listed = queries(store).list(1, 10).await.expect("a list");
    let purposes: Vec<_> = listed
        .iter()
        .map(|query| query.purpose.as_deref().expect("retained"))
        .collect();
    assert_eq!(purposes, ["one", "two", "three"]);
    assert_eq!(listed[0].asker, "https://id.example officer-7");
    assert_eq!(
        (listed[0].kind.as_str(), listed[0].rows, listed[0].asked_at),
        ("explain", 1, NOON)
    );
    let rest = queries(store).list(2, 1).await.expect("a list");
    assert_eq!(rest.iter().map(|query| query.sequence).collect::<Vec<_>>(), [2]);
    assert!(queries(store).list(4, 10).await.expect("a list").is_empty());
}

async fn concurrent_records_have_sequences_of_their_own(store: &Arc<dyn QueryStore>) {
    let instances = [queries(store), queries(store)];
    let calls = (0..40).map(|call| instances[call % 2].record_at(call));
    let mut sequences = futures_of(calls).await;
    sequences.sort_unstable();
    assert_eq!(sequences, (4..44).collect::<Vec<u64>>());
}

async fn futures_of<F: Future<Output = u64>>(calls: impl Iterator<Item = F>) -> Vec<u64> {
    let mut sequences = Vec::new();
    let calls: Vec<_> = calls.collect();
    let mut set = futures::future::join_all(calls).await;
    sequences.append(&mut set);
    sequences
}

trait RecordAt {
    async fn record_at(&self, call: usize) -> u64;
}

impl RecordAt for Queries {
    async fn record_at(&self, call: usize) -> u64 {
        let purpose = format!("call {call}");
        self.record(&query(&purpose, NOON, None)).await.expect("recorded")
    }
}

async fn queries_about_a_person_are_found_until_the_person_is_erased(store: &Arc<dyn QueryStore>) {
    let stream = queries(store);
    assert!(stream.about(WANG).await.expect("an answer").is_empty());
    for (purpose, holder) in [("complaint 17", WANG), ("complaint 18", LI), ("complaint 19", WANG)] {
        stream
            .record(&query(purpose, NOON, Some(holder)))
            .await
            .expect("recorded");
    }
    let purposes = |found: Vec<citycode_query_stream::RecordedQuery>| -> Vec<String> {
        found
            .into_iter()
            .map(|query| query.purpose.expect("retained"))
            .collect()
    };
    assert_eq!(
        purposes(stream.about(WANG).await.expect("found")),
        ["complaint 17", "complaint 19"]
    );
    let before = stream.list(44, 10).await.expect("a list");
    assert_eq!(before[0].person, before[2].person, "one number for one person");
    assert!(before[0].person.is_some() && before[0].person != before[1].person);
    for _ in 0..2 {
        stream.erase(WANG).await.expect("erased");
    }
    assert!(stream.about(WANG).await.expect("an answer").is_empty());
    assert_eq!(purposes(stream.about(LI).await.expect("found")), ["complaint 18"]);
    let after = queries(store).list(44, 10).await.expect("a list");
    assert_eq!(
        after.iter().map(|query| query.person).collect::<Vec<_>>(),
        [None, before[1].person, None]
    );
    assert_eq!(
        after[0].purpose.as_deref(),
        Some("complaint 17"),
        "the query itself stays"
    );
}

async fn a_destroyed_day_leaves_who_when_and_what(store: &Arc<dyn QueryStore>) {
    let stream = queries(store);
    let tomorrow = NOON + 86_400;
    stream
        .record(&query("the day after", tomorrow, Some(LI)))
        .await
        .expect("recorded");
    stream.forget_before(DAY + 1).await.expect("destroyed");
    let about: Vec<_> = stream
        .about(LI)
        .await
        .expect("found")
        .into_iter()
        .map(|query| query.purpose)
        .collect();
    assert_eq!(about, [Some("the day after".to_owned())]);
    let first = stream.list(1, 1).await.expect("a list").remove(0);
    assert_eq!((first.purpose, first.person), (None, None));
    assert_eq!(
        (first.asker.as_str(), first.asked_at),
        ("https://id.example officer-7", NOON)
    );
}

fn embedded(folder: &Path, how: ForLog) -> Arc<dyn QueryStore> {
    let folder = folder.join("queries");
    Arc::new(EmbeddedQueryStore::open_for_log(&folder, &[1; 16], how).expect("opened"))
}

#[tokio::test]
async fn the_engine_of_one_process_conforms() {
    let folder = tempfile::tempdir().expect("a folder");
    conforms(embedded(folder.path(), ForLog::Make)).await;
}

#[tokio::test]
async fn records_survive_a_restart_and_a_changed_record_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = embedded(folder.path(), ForLog::Make);
    let asked = query("complaint 17", NOON, Some(WANG));
    queries(&store).record(&asked).await.expect("recorded");
    drop(store);
    assert!(
        EmbeddedQueryStore::open_for_log(&folder.path().join("queries"), &[2; 16], ForLog::Keep).is_err(),
        "another log"
    );
    let store = embedded(folder.path(), ForLog::Keep);
    assert_eq!(queries(&store).about(WANG).await.expect("found").len(), 1);
    // Another officer's name in the record.
    let (_, bytes) = store.read(1, 1).await.expect("read").remove(0);
    let text = String::from_utf8(bytes).expect("JSON");
    assert!(!text.contains("complaint"), "the purpose is sealed: {text}");
    store
        .append(text.replace("officer-7", "officer-8").into_bytes())
        .await
        .expect("appended");
    let refused = queries(&store).list(1, 10).await.expect_err("a changed record");
    assert!(refused.to_string().contains("record 2 was changed"), "{refused}");
}

#[tokio::test]
async fn an_erased_persons_secret_is_overwritten_on_the_disk() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = embedded(folder.path(), ForLog::Make);
    queries(&store)
        .record(&query("complaint 17", NOON, Some(WANG)))
        .await
        .expect("recorded");
    let keys = folder.path().join("queries/keys");
    let person = std::fs::read_dir(&keys)
        .expect("keys")
        .flatten()
        .map(|entry| entry.path());
    let person = person
        .into_iter()
        .find(|path| path.to_string_lossy().contains("person-"))
        .expect("a person");
    // A second name of the file shows what the disk has after the removal.
    let other_name = folder.path().join("other-name");
    std::fs::hard_link(&person, &other_name).expect("linked");
    queries(&store).erase(WANG).await.expect("erased");
    assert!(!person.exists());
    assert_eq!(std::fs::read(&other_name).expect("read"), [0; 32]);
}

fn on(server: &NatsServer) -> QueriesConfig {
    QueriesConfig {
        connection: Connection::new(vec![server.url()], "test"),
        replicas: 1,
        log_id: [1; 16],
    }
}

async fn opened(server: &NatsServer, secret: u8) -> Result<JetStreamQueryStore, OpenError> {
    let random: FillRandom = Arc::new(|bytes| OsEntropy.fill(bytes));
    JetStreamQueryStore::open(&on(server), &Zeroizing::new([secret; 32]), random).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_engine_of_a_city_conforms_and_its_records_cannot_be_removed() {
    let server = NatsServer::start().await;
    assert!(matches!(opened(&server, 7).await, Err(OpenError::NoStream)));
    for _ in 0..2 {
        provision(&on(&server), &Zeroizing::new([7; 32])).await.expect("made");
    }
    assert!(matches!(opened(&server, 8).await, Err(OpenError::OtherSecret)));
    let store: Arc<dyn QueryStore> = Arc::new(opened(&server, 7).await.expect("opened"));
    conforms(store).await;
    let client = async_nats::connect(server.url()).await.expect("connected");
    for request in ["STREAM.MSG.DELETE.CC_QUERIES", "STREAM.PURGE.CC_QUERIES"] {
        let refused = client
            .request(format!("$JS.API.{request}"), r#"{"seq":1}"#.into())
            .await;
        let refused = String::from_utf8_lossy(&refused.expect("an answer").payload).into_owned();
        assert!(refused.contains("not permitted"), "{request}: {refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_persons_secret_is_overwritten_on_the_servers_disk() {
    let server = NatsServer::start().await;
    provision(&on(&server), &Zeroizing::new([7; 32])).await.expect("made");
    let store: Arc<dyn QueryStore> = Arc::new(opened(&server, 7).await.expect("opened"));
    queries(&store)
        .record(&query("complaint 17", NOON, Some(WANG)))
        .await
        .expect("recorded");
    let client = async_nats::connect(server.url()).await.expect("connected");
    let names = store.secrets().await.expect("secrets");
    let (name, _) = names
        .into_iter()
        .find(|(name, _)| matches!(name, SecretName::Person(_)))
        .expect("a person");
    let asked = serde_json::json!({ "last_by_subj": format!("cc.querykey.v1.{name}") });
    let sealed = api::get_from_leader(&client, KEYS, &asked)
        .await
        .expect("an answer")
        .expect("a secret")
        .payload;
    let folder = server.store_folder().join("jetstream/$G/streams").join(KEYS);
    assert!(
        StoredBytes::below(&folder).contain_run_of(&sealed, 16),
        "it is on the disk"
    );
    queries(&store).erase(WANG).await.expect("erased");
    assert!(
        !StoredBytes::below(&folder).contain_run_of(&sealed, 16),
        "no part of it is left"
    );
}
