//! Foreign messages in the log: only their buckets are confined, at verifiers and at writers, before and after
//! restarts, until an operator declares the messages. Codes that verifiers have as dead are still refused (R24).

use citycode_test_support::program;
use std::collections::BTreeSet;
use std::time::Duration;

use citycode_event_store::{
    BucketId, EventStore as _, LogPosition, Position, RecordedCommit, SubscriptionBatch, codec,
};
use citycode_event_store_jetstream::JetStreamEventStore;
use citycode_testkit::{IdNumbers, Process, Running, eventually};
use jiff::civil::date;
use serde_json::{Value, json};

use crate::city::{City, Services, verifier};

const PATIENCE: Duration = Duration::from_secs(60);
const PLACE: &str = "staffed";

/// The whole current log.
async fn whole_log(city: &City) -> Vec<RecordedCommit> {
    let store = JetStreamEventStore::open(&city.log()).await.expect("the log opens");
    let heads = store.heads().await.expect("heads");
    let mut position = LogPosition::start(4);
    let mut subscription = store.subscribe_to_all(position.clone()).await.expect("it begins");
    let mut all = Vec::new();
    while !position.reaches(&heads) {
        if let SubscriptionBatch::Commits(commits) = subscription.next_batch().await.expect("it goes on") {
            for commit in commits {
                position.set(commit.position.partition, commit.position.sequence);
                all.push(RecordedCommit::clone(&commit));
            }
        }
    }
    all
}

fn issues(commit: &RecordedCommit) -> bool {
    commit
        .commit
        .events
        .iter()
        .any(|event| event.event_type == "CodeIssued")
}

async fn buckets_with_codes(city: &City) -> BTreeSet<BucketId> {
    let all = whole_log(city).await;
    all.iter()
        .filter(|commit| issues(commit))
        .map(|commit| commit.bucket)
        .collect()
}

/// Publishes a message with a writer's credential, and returns its position.
pub(crate) async fn publish(city: &City, bucket: BucketId, payload: Vec<u8>) -> Position {
    let thief = async_nats::connect(city.urls()).await.expect("a connection");
    let stored = thief.request(format!("cc.ev.v1.{bucket}"), payload.into()).await;
    let stored: Value = serde_json::from_slice(&stored.expect("an answer").payload).expect("JSON");
    let sequence = stored["seq"].as_u64().unwrap_or_else(|| panic!("{stored}"));
    Position {
        partition: bucket.partition,
        sequence: citycode_event_store::Sequence(sequence),
    }
}

/// The readiness of the verifier's component: HTTP status, state and reason.
async fn readiness(address: &str) -> Option<(u16, String)> {
    let answer = reqwest::get(format!("{address}/health/ready")).await.ok()?;
    let status = answer.status().as_u16();
    let health: Value = answer.json().await.ok()?;
    let components = health["components"].as_array()?;
    let found = components.iter().find(|component| component["name"] == "verifier")?;
    Some((status, format!("{}: {}", found["state"], found["reason"])))
}

/// Runs a `citycode log` command; returns its exit code and output.
pub(crate) async fn log_command(city: &City, act: &str, position: Position, more: &[&str]) -> (i32, String) {
    let mut command = tokio::process::Command::new(program("citycode"));
    let urls = city.urls().join(",");
    command.args(["--output", "json", "log", act, &position.to_string(), "--log", &urls]);
    command.args(["--replicas", "1", "--unproven"]).args(more);
    let ended = Process::output(&mut command).await.expect("it runs");
    let said = [ended.stdout, ended.stderr].concat();
    (
        ended.status.code().unwrap_or(-1),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

async fn declare(city: &City, position: Position) -> (i32, String) {
    declare_with(city, position, &["--no-archive"]).await
}

pub(crate) async fn declare_with(city: &City, position: Position, more: &[&str]) -> (i32, String) {
    let flags = [&["--reason", "published with a leaked credential"][..], more].concat();
    log_command(city, "declare-foreign", position, &flags).await
}

/// Replaces a verifier by another one on the same port.
async fn verifier_instead(city: &City, of: Running, name: &str) -> Running {
    let (_, port) = of.url().rsplit_once(':').expect("a port");
    let port = port.parse().expect("a number");
    of.terminate(PATIENCE).await;
    city.launch(&verifier(), name, port, city.urls(), "").await
}

fn token(code: &Value) -> String {
    code["token"].as_str().expect("a code").to_owned()
}

/// A person with a dead and a valid code, and their bucket of the log.
struct Person {
    id_number: String,
    dead: String,
    live: String,
    bucket: BucketId,
}

async fn person(city: &City, portal: &str, seed: u64) -> Person {
    let id_number = IdNumbers::new(seed).born(date(1950, 5, 5));
    let before = buckets_with_codes(city).await;
    city.register(portal, &id_number).await;
    let dead = token(&city.issue(portal, &id_number, "offline").await);
    let live = token(&city.issue(portal, &id_number, "offline").await);
    let after = buckets_with_codes(city).await;
    let bucket = *after.difference(&before).next().expect("a bucket of its own");
    Person {
        id_number,
        dead,
        live,
        bucket,
    }
}

/// Checks the state while the bucket of `struck` is confined.
async fn only_one_bucket_is_confined(city: &City, services: &Services, struck: &Person, other: &Person) {
    let portal = services.portal.url();
    let decides = async |code: &str, decision: &str| city.decision(portal, PLACE, code).await.starts_with(decision);
    eventually("the valid code cannot be checked", PATIENCE, || {
        decides(&struck.live, "cannot_check/too_stale")
    })
    .await;
    assert!(decides(&struck.dead, "refuse/superseded").await);
    eventually("the other bucket goes on", PATIENCE, || decides(&other.live, "admit")).await;
    eventually("the verifier is ready and says why", PATIENCE, || async {
        let said = readiness(services.verifier.url()).await;
        said.is_some_and(|(status, said)| status == 200 && said.contains(&struck.bucket.to_string()))
    })
    .await;
}

/// The request of an offline code.
fn order(person: &Person) -> Value {
    json!({ "id_number": person.id_number, "kind": "offline", "channel": "kiosk" })
}

/// No code is issued in the confined bucket, and the answer gives the reason without a position (R29).
async fn writers_refuse(city: &City, portal: &str, struck: &Person, position: Position) {
    let (status, refused) = city.call(portal, "issue", &order(struck)).await.expect("an answer");
    assert_eq!((status, &refused["code"]), (503, &json!("unavailable")), "{refused}");
    assert_eq!(refused["outcome"], "not_done", "{refused}");
    assert!(refused["detail"].to_string().contains("not a commit"), "{refused}");
    assert!(
        !refused.to_string().contains(&position.to_string()),
        "no position: {refused}"
    );
}

/// A verifier restarted from its snapshot after the declarations, and a new one, judge as before.
async fn restarts_apply_the_declarations(city: &City, mut services: Services, dead: &str, living: &str) {
    let portal = services.portal.url().to_owned();
    for name in ["verifier", "newcomer"] {
        services.verifier = verifier_instead(city, services.verifier, name).await;
        eventually("the valid code is admitted after a start", PATIENCE, || async {
            city.decision(&portal, PLACE, living).await.starts_with("admit")
        })
        .await;
        let decided = city.decision(&portal, PLACE, dead).await;
        assert!(decided.starts_with("refuse/superseded"), "{name}: {decided}");
    }
    services.issuer.terminate(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_message_confines_only_its_bucket_until_it_is_declared() {
    let city = City::on_one().await;
    city.provision().await;
    let mut services = city.start_all("").await;
    let portal = services.portal.url().to_owned();
    let struck = person(&city, &portal, 7).await;
    let mut other = person(&city, &portal, 8).await;
    let decides = async |code: &str, decision: &str| city.decision(&portal, PLACE, code).await.starts_with(decision);
    eventually("the valid code is admitted", PATIENCE, || {
        decides(&struck.live, "admit")
    })
    .await;

    let first = publish(&city, struck.bucket, b"no commit".to_vec()).await;
    only_one_bucket_is_confined(&city, &services, &struck, &other).await;
    writers_refuse(&city, &portal, &struck, first).await;
    other.live = token(&city.post(&portal, "issue", order(&other)).await);
    eventually("what is new elsewhere is admitted", PATIENCE, || {
        decides(&other.live, "admit")
    })
    .await;

    // A copy of a valid commit of that bucket, which is not its last one.
    let all = whole_log(&city).await;
    let genuine = all
        .iter()
        .find(|commit| commit.bucket == struck.bucket && issues(commit))
        .expect("one");
    let (copied, _) = codec::encode(&genuine.commit, &genuine.previous_hash).expect("bytes");
    let second = publish(&city, struck.bucket, copied.to_vec()).await;

    // The snapshot may or may not contain the message.
    services.verifier = verifier_instead(&city, services.verifier, "verifier").await;
    only_one_bucket_is_confined(&city, &services, &struck, &other).await;

    let (exit, said) = declare(&city, genuine.position).await;
    assert!(exit == 2 && said.contains("a valid commit"), "{exit} {said}");
    for (position, why) in [(first, "no commit"), (second, "expectation")] {
        let (exit, said) = log_command(&city, "inspect", position, &[]).await;
        assert!(exit == 0 && said.contains("\"foreign\""), "{why}: {exit} {said}");
    }
    let (exit, said) = declare(&city, first).await;
    assert_eq!(exit, 0, "{said}");
    only_one_bucket_is_confined(&city, &services, &struck, &other).await;
    let (exit, said) = declare(&city, second).await;
    assert_eq!(exit, 0, "{said}");
    let (exit, again) = declare(&city, second).await;
    assert!(exit == 0 && again == said, "it is declared once: {again}");

    eventually("its code is admitted again", PATIENCE, || {
        decides(&struck.live, "admit")
    })
    .await;
    assert!(decides(&struck.dead, "refuse/superseded").await);
    let next = city.post(&portal, "issue", order(&struck)).await;
    eventually("it takes appends again", PATIENCE, || {
        decides(next["token"].as_str().expect("a code"), "admit")
    })
    .await;
    assert!(
        decides(&struck.live, "refuse/superseded").await,
        "the earlier code died by it"
    );
    eventually("nothing is confined", PATIENCE, || async {
        readiness(services.verifier.url()).await == Some((200, "\"ready\": null".to_owned()))
    })
    .await;

    let living = next["token"].as_str().expect("a code");
    restarts_apply_the_declarations(&city, services, &struck.live, living).await;
}
