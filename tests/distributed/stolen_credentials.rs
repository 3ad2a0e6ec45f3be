//! The permissions of each credential of `citycode secrets`. Every request of the JetStream API and of the system
//! account of a server 2.15, and every subject of the city, is tried with every credential; the permitted ones are
//! compared with a table. Then the permitted requests are used as a thief would use them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event, HeaderMap};
use citycode_testkit::eventually;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::city::{City, audit};
use crate::nats_permissions::{ask, ask_as_allowed, make_days, messages, thief};

mod requests;
mod table;

use requests::{everything, listened};
use table::{LISTENS, PUBLISHES, Place};

const PATIENCE: Duration = Duration::from_secs(30);
/// Less than half of the client's queue of events, which drops events when it is full.
const BATCH: usize = 50;

/// A thief's connection, and the permissions violations that the server reported.
pub(crate) struct Prober {
    client: Client,
    refused: Arc<Mutex<BTreeSet<String>>>,
}

impl Prober {
    async fn connect(city: &City, user: &str) -> Self {
        let refused = Arc::new(Mutex::new(BTreeSet::new()));
        let heard = Arc::clone(&refused);
        let seed = std::fs::read_to_string(city.secret(&format!("nats/{user}.nk"))).expect("a seed");
        let client = ConnectOptions::with_nkey(seed.trim().to_owned())
            .add_root_certificates(city.secret("tls/ca.pem"))
            .event_callback(move |event| {
                if let Event::ServerError(error) = event {
                    // "… violation for publish to "SUBJECT"", "… for subscription to "SUBJECT"".
                    heard
                        .lock()
                        .extend(error.to_string().split('"').nth(1).map(str::to_lowercase));
                }
                std::future::ready(())
            })
            .connect(city.urls())
            .await
            .expect("the server takes it");
        Self { client, refused }
    }

    /// Waits until the server has refused `last`, which was sent last and is permitted to no user.
    async fn wait_for_refusal_of(&self, last: &str) {
        eventually("the server has judged all of them", PATIENCE, || async {
            self.refused.lock().contains(last)
        })
        .await;
    }

    /// The subjects on which the server accepts messages of this client. The messages are not valid requests, and carry
    /// an expectation that no stream fulfils, so that no stream stores them.
    async fn publishes(&self, subjects: &[String]) -> BTreeSet<String> {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Expected-Last-Sequence", "999999999");
        for (round, some) in subjects.chunks(BATCH).enumerate() {
            for subject in some {
                let sent = self
                    .client
                    .publish_with_headers(subject.clone(), headers.clone(), "no request".into());
                sent.await.expect("it is connected");
            }
            let last = format!("thief.{round}");
            self.client
                .publish(last.clone(), "".into())
                .await
                .expect("it is connected");
            self.wait_for_refusal_of(&last).await;
        }
        self.taken(subjects)
    }

    /// The subjects to which the server lets this client subscribe.
    async fn listens(&self, subjects: &[String]) -> BTreeSet<String> {
        // Refusals of publishing do not count for subscriptions.
        self.refused.lock().clear();
        let mut listening = Vec::new();
        for subject in subjects {
            listening.push(self.client.subscribe(subject.clone()).await.expect("it is connected"));
        }
        listening.push(self.client.subscribe("thief.last").await.expect("it is connected"));
        self.wait_for_refusal_of("thief.last").await;
        self.taken(subjects)
    }

    fn taken(&self, subjects: &[String]) -> BTreeSet<String> {
        let refused = self.refused.lock();
        let taken = subjects
            .iter()
            .filter(|subject| !refused.contains(&subject.to_lowercase()));
        taken.cloned().collect()
    }
}

/// All streams of the servers, with their settings and number of messages.
async fn standing(city: &City) -> Value {
    let url = format!(
        "{}/jsz?accounts=true&streams=true&config=true",
        city.server().monitor_url()
    );
    let told: Value = reqwest::get(url).await.expect("an answer").json().await.expect("JSON");
    let mut streams = Vec::new();
    for account in told["account_details"].as_array().expect("a list") {
        for stream in account["stream_detail"].as_array().into_iter().flatten() {
            let state = &stream["state"];
            streams.push(json!([
                account["name"],
                stream["name"],
                stream["config"],
                state["messages"],
                state["last_seq"],
                state["consumer_count"]
            ]));
        }
    }
    streams.sort_by_key(Value::to_string);
    Value::Array(streams)
}

async fn city_with_days() -> (City, Place) {
    let city = City::secured().await;
    city.provision().await;
    let today = make_days(&city).await;
    let id = reqwest::get(format!("{}/varz", city.server().monitor_url())).await;
    let id: Value = id.expect("an answer").json().await.expect("JSON");
    let server = id["server_id"].as_str().expect("a name").to_owned();
    (city, Place { today, server })
}

#[tokio::test(flavor = "multi_thread")]
async fn each_credential_has_exactly_the_permissions_of_the_table() {
    let (city, place) = city_with_days().await;
    let before = standing(&city).await;
    let users: Vec<String> = std::fs::read_dir(city.secret("nats"))
        .expect("a folder")
        .filter_map(|file| Some(file.ok()?.file_name().to_str()?.strip_suffix(".nk")?.to_owned()))
        .collect();
    assert_eq!(users.len(), PUBLISHES.len(), "each credential has its line: {users:?}");
    for user in &users {
        let seed = std::fs::read_to_string(city.secret(&format!("nats/{user}.nk"))).expect("a seed");
        let key = nkeys::KeyPair::from_seed(seed.trim()).expect("a seed").public_key();
        let wanted = |table: &[(&str, &[&str])]| {
            let line = table.iter().find(|(of, _)| of == user);
            place.expand(line.map_or(&[][..], |(_, subjects)| subjects), &key)
        };
        let prober = Prober::connect(&city, user).await;
        let published = prober.publishes(&everything(&place, &key)).await;
        assert_eq!(published, wanted(PUBLISHES), "{user} publishes");
        let heard = prober.listens(&listened(&key)).await;
        assert_eq!(heard, wanted(LISTENS), "{user} listens");
    }
    assert_eq!(standing(&city).await, before, "something was changed");
}

/// Malicious requests to create streams: copies, streams that publish into others, others' names.
fn malicious_streams(name: &str) -> [Value; 5] {
    [
        json!({ "name": name, "subjects": ["cc.steal"], "republish": { "src": "cc.steal", "dest": "cc.ev.v1.00.0000" } }),
        json!({ "name": name, "mirror": { "name": "KV_CC_VAULT" } }),
        json!({ "name": name, "sources": [{ "name": "CC_SCAN_KEYS" }] }),
        json!({ "name": name, "subjects": ["cc.echo.v1"], "max_age": 1_000_000_000 }),
        json!({ "name": "THIEF", "subjects": ["cc.thief"] }),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn seeds_that_create_streams_create_no_others_and_change_no_existing_ones() {
    let (city, place) = city_with_days().await;
    let before = standing(&city).await;
    for (user, streams) in [
        (
            "provision",
            &[
                "CC_EV_00",
                "CC_EV_03",
                "OBJ_CC_STATUS_SNAPSHOTS",
                "OBJ_CC_REGISTER_SNAPSHOTS",
                "CC_ASSERTION_USES",
            ][..],
        ),
        ("restore", &["CC_EV_00", "CC_EV_03"]),
        ("vault-provision", &["KV_CC_VAULT"]),
        ("scans-provision", &["CC_SCAN_KEYS"]),
        ("queries-provision", &["CC_QUERIES", "CC_QUERY_KEYS"]),
        (
            "pages-provision",
            &[
                "CC_ACCESS_ENDED_SESSIONS",
                "CC_ACCESS_ENDED_PEOPLE",
                "CC_ACCESS_START_LINKS",
                "CC_ACCESS_PAIRINGS",
                "CC_ACCESS_DEVICES",
                "CC_ACCESS_INVITATIONS",
                "CC_ACCESS_CARD_READINGS",
            ],
        ),
    ] {
        let client = thief(&city, user).await;
        for stream in streams {
            for making in malicious_streams(stream) {
                let made =
                    ask_as_allowed(&client, &format!("$JS.API.STREAM.CREATE.{stream}"), &making.to_string()).await;
                assert!(
                    made["error"]["code"].as_u64().is_some(),
                    "{user}: {making} was answered {made}"
                );
            }
        }
    }
    assert_eq!(standing(&city).await, before);
    let backup = thief(&city, "vault-backup").await;
    let request =
        json!({ "config": { "name": "KV_CC_VAULT", "subjects": ["$KV.CC_VAULT.>"], "storage": "file" }, "state": {} });
    let brought = ask_as_allowed(&backup, "$JS.API.STREAM.RESTORE.KV_CC_VAULT", &request.to_string()).await;
    assert!(
        brought["error"]["code"].as_u64().is_some(),
        "restored over an existing one: {brought}"
    );
    // The keeper of scan records creates and destroys days, so it can create any stream up to its account's limit.
    let keeper = thief(&city, "scans-keeper").await;
    let mut made = 0;
    let refused = loop {
        let name = format!("THIEF_{made}");
        let making = json!({ "name": name, "subjects": [format!("cc.thief.{made}")] }).to_string();
        let answer = ask_as_allowed(&keeper, &format!("$JS.API.STREAM.CREATE.{name}"), &making).await;
        if !answer["error"].is_null() {
            break answer;
        }
        made += 1;
    };
    assert_eq!(refused["error"]["err_code"], 10_027, "{refused}");
    // The limit of streams, less the existing days and the stream of keys.
    assert_eq!(made, 1 + 2 * (3 + 2) - (1 + 2 * 2), "{place:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_seed_can_destroy_no_more_than_documented() {
    let (city, place) = city_with_days().await;
    let log = thief(&city, "issuer").await;
    let before = messages(&log, "CC_EV_00").await;
    // Revocation can purge snapshots, which are published again, and nothing of the log.
    let revocation = thief(&city, "revocation").await;
    let purged = ask_as_allowed(&revocation, "$JS.API.STREAM.PURGE.OBJ_CC_STATUS_SNAPSHOTS", "").await;
    assert_eq!(purged["success"], true, "{purged}");
    assert!(ask(&revocation, "$JS.API.STREAM.PURGE.CC_EV_00", "").await.is_none());
    // The monitoring user cannot administer the servers.
    let sys = thief(&city, "sys").await;
    let told = ask_as_allowed(&sys, "$SYS.REQ.SERVER.PING.JSZ", "").await;
    assert_eq!(
        told["data"]["streams"].as_u64(),
        Some(4 + 2 + 1 + 1 + 1 + 1 + 4 + 2 + 7),
        "{told}"
    );
    for request in ["$JS.API.ACCOUNT.PURGE.LOG", "$SYS.REQ.ACCOUNT.LOG.CLAIMS.UPDATE"] {
        assert!(ask(&sys, request, "").await.is_none(), "{request}");
    }
    let reload = format!("$SYS.REQ.SERVER.{}.RELOAD", place.server);
    assert!(ask(&sys, &reload, "").await.is_none());
    assert_eq!(messages(&log, "CC_EV_00").await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_stream_appears_in_metrics_and_in_the_log() {
    let (city, _) = city_with_days().await;
    let auditing = city.start(&audit(), "audit", "").await;
    let shown = async |wanted: &str| {
        let text = reqwest::get(format!("{}/metrics", auditing.url()))
            .await
            .expect("an answer");
        text.text().await.expect("text").lines().any(|line| line == wanted)
    };
    eventually("all streams were provisioned", PATIENCE, || {
        shown("citycode_nats_foreign_streams 0")
    })
    .await;
    let keeper = thief(&city, "scans-keeper").await;
    let mirror = json!({ "name": "KEYS_FOR_EVER", "mirror": { "name": "CC_SCAN_KEYS" } }).to_string();
    let made = ask_as_allowed(&keeper, "$JS.API.STREAM.CREATE.KEYS_FOR_EVER", &mirror).await;
    assert!(made["error"].is_null(), "{made}");
    eventually("it is seen", PATIENCE, || shown("citycode_nats_foreign_streams 1")).await;
    assert!(shown("citycode_nats_stored_messages{streams=\"log\"} 0").await);
    let said = auditing.said();
    assert!(
        said.contains("NOT PROVISIONED") && said.contains("SCANS/KEYS_FOR_EVER"),
        "{said}"
    );
}
