//! Audits of a distributed city: recorded verdicts are explained and recomputed from the records on NATS servers, with
//! the credentials that an audit service has (R26).

use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use citycode_domain::admission::Reason;
use citycode_domain::event::{Event, ScanBatches};
use citycode_domain::ids::Position;
use citycode_event_store::{EventStore as _, Revision};
use citycode_event_store_jetstream::{Credentials, JetStreamEventStore};
use citycode_jetstream::api::{self, StoredMessage};
use citycode_log_folds::{events_of, scan_batches_stream};
use citycode_policy_file::SHANGHAI;
use citycode_scan_records::jetstream::archive::RecordStream;
use citycode_scan_records::jetstream::{JetStreamScanRecords, ScansConfig};
use citycode_scan_records::{DAY_SECONDS, ScanNote, ScanRecords as _};
use citycode_service_kit::clock::{Clock as _, ManualClock, SystemClock, UnixSeconds};
use citycode_service_kit::files;
use citycode_service_kit::health::HealthRegistry;
use citycode_testkit::{IdNumbers, Running, eventually, eventually_some};
use jiff::civil::date;
use serde_json::{Value, json};

use crate::city::{City, DEADLINE, Services, registers, revocation};
use crate::nats_permissions::{ask, thief};

const PATIENCE: Duration = Duration::from_secs(60);

/// A city whose server accepts only its users, with recorded scans of one person's code.
struct Audited {
    city: City,
    services: Services,
    code: String,
}

impl Audited {
    async fn open(city: City) -> Self {
        city.provision().await;
        let services = city.start_all("").await;
        registers(&services.verifier).await;
        let portal = services.portal.url();
        let id_number = IdNumbers::new(130).born(date(1950, 5, 5));
        city.register(portal, &id_number).await;
        let issued = city.issue(portal, &id_number, "offline").await;
        let code = issued["token"].as_str().expect("a code").to_owned();
        eventually("the verifier knows the code", PATIENCE, || async {
            city.decision(portal, "staffed", &code).await.starts_with("admit")
        })
        .await;
        Self { city, services, code }
    }

    fn portal(&self) -> &str {
        self.services.portal.url()
    }

    async fn scan(&self, place: &str, device: &str, scan_id: &str) -> Value {
        let scan = json!({ "place": place, "device": device, "scan_id": scan_id, "code": self.code });
        self.city.post(self.portal(), "verify", scan).await
    }

    /// The explanation of a recorded scan, once its batch is written.
    async fn explained(&self, device: &str, scan_id: &str) -> Value {
        let question = json!({ "purpose": "complaint 17", "device": device, "scan_id": scan_id });
        eventually_some("the scan is recorded", PATIENCE, || async {
            match self.city.call(self.portal(), "audit/explain", &question).await? {
                (200, answer) => Some(answer),
                // Its batch is not written yet, or the audit has not read the log that far.
                (404 | 503, problem) if problem["code"] == "no_record" || problem["code"] == "unavailable" => None,
                (status, problem) => panic!("{status}: {problem}"),
            }
        })
        .await
    }

    /// The batches of a day whose digests are in the log.
    async fn digests(&self) -> Vec<ScanBatches> {
        let mut config = self.city.log();
        if self.city.is_secured() {
            let seed = std::fs::read_to_string(self.city.secret("nats/issuer.nk")).expect("a seed");
            config.connection.credentials = Credentials::NkeySeed(seed.trim().to_owned().into());
            config.connection.root_certificates = Some(self.city.secret("tls/ca.pem"));
        }
        let store = JetStreamEventStore::open(&config).await.expect("the log");
        let commits = store.read_stream(&scan_batches_stream(), Revision::EMPTY).await;
        let commits = commits.expect("the log can be read");
        let events = commits.iter().flat_map(|commit| events_of(commit).expect("events"));
        let sealed = events.filter_map(|event| match event {
            Event::ScanBatchesSealed(sealed) => Some(sealed.batches),
            _ => None,
        });
        sealed.flatten().collect()
    }

    /// Waits until the log has the digests of this many messages of a stream, each once.
    async fn wait_for_digests(&self, stream: RecordStream, messages: u64) {
        eventually("the digests are in the log", PATIENCE, || async {
            let digests = self.digests().await;
            let mut last = 0;
            for batches in digests.iter().filter(|batches| batches.writer == stream.writer()) {
                assert_eq!(batches.first, last + 1, "{digests:?}");
                last += u64::from(batches.count);
            }
            last >= messages
        })
        .await;
    }

    /// The result of an audit of this day.
    async fn audit(&self, path: &str, more: Value) -> Value {
        audit(&self.city, self.portal(), path, more).await
    }
}

/// The result of an audit of this day.
async fn audit(city: &City, portal: &str, path: &str, more: Value) -> Value {
    let now = SystemClock::new().now().0;
    let instant = |seconds| jiff::Timestamp::from_second(seconds).expect("an instant").to_string();
    let mut question = json!({
        "purpose": "monthly audit", "from": instant(now - DAY_SECONDS), "to": instant(now + DAY_SECONDS)
    });
    for (name, value) in more.as_object().expect("an object") {
        question[name] = value.clone();
    }
    let lines = city.lines(portal, path, &question).await;
    let last = lines.last().expect("a line");
    last.get("result").unwrap_or_else(|| panic!("{last}")).clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn r26_verdicts_recorded_on_nats_are_explained_recomputed_and_judged_under_another_policy() {
    let audited = Audited::open(City::secured().await).await;
    for number in 0..12 {
        let scan_id = format!("scan-{number}");
        let verdict = audited.scan("sentinel", "gate-7", &scan_id).await;
        assert_eq!(verdict["reason"], "kind_not_accepted_here", "{verdict}");
    }
    let registered = audited.scan("sampling_desk", "desk-1", "sample-1").await;
    assert_eq!(registered["decision"], "admit", "{registered}");

    for (device, scan_id, reason) in [
        ("gate-7", "scan-11", "kind_not_accepted_here"),
        ("desk-1", "sample-1", "ok"),
    ] {
        let answer = audited.explained(device, scan_id).await;
        assert_eq!(answer["recorded"]["reason"], reason, "{answer}");
        assert_eq!(
            (&answer["agrees"], &answer["recomputed"]["reason"]),
            (&json!(true), &json!(reason)),
            "{answer}"
        );
        let rests_on = answer["rests_on"].as_array().expect("a list");
        assert!(rests_on.iter().any(|event| event["event"] == "CodeIssued"), "{answer}");
    }

    let result = audited.audit("audit/run", json!({})).await;
    assert_eq!(
        (&result["differ_total"], &result["missing"], &result["extra"]),
        (&json!(0), &json!(0), &json!(0)),
        "{result}"
    );
    assert_eq!(result["scans"], result["agree"], "{result}");
    assert!(result["scans"].as_u64() >= Some(13), "{result}");

    let lenient = SHANGHAI.replace(
        "accepts = { live = \"admit\", family = \"admit\", id_card = \"admit\" }",
        "accepts = { live = \"admit\", family = \"admit\", offline = \"admit\", id_card = \"admit\" }",
    );
    assert_ne!(lenient, SHANGHAI);
    let result = audited.audit("audit/what-if", json!({ "policy": lenient })).await;
    assert_eq!(result["changed"], 12, "{result}");
    assert_eq!(result["by"][0]["kind"], "offline", "{result}");
    assert_eq!(result["by"][0]["place"], "sentinel", "{result}");
    // The revocation service reads the sealed records with its own credential, and has no key of them.
    audited.wait_for_digests(RecordStream::Scans, 1).await;
    audited.wait_for_digests(RecordStream::Registrations, 1).await;
    let result = audited.audit("audit/run", json!({})).await;
    assert_eq!(
        (&result["altered"], &result["missing"]),
        (&json!([]), &json!(0)),
        "{result}"
    );
    for service in audited.services.on_servers() {
        let said = service.said();
        assert!(!said.contains("Permissions Violation"), "{said}");
    }
}

/// A stream, for somebody who administers the servers.
struct AdministeredStream {
    client: Client,
    name: String,
    messages: Vec<StoredMessage>,
}

impl AdministeredStream {
    /// The stream of a day's ordinary scans.
    async fn of_scans(city: &City, day: i64) -> Self {
        Self::open(city, &format!("CC_SCANS_{day}")).await
    }

    async fn open(city: &City, name: &str) -> Self {
        let client = async_nats::connect(city.urls()).await.expect("a connection");
        let messages = api::get_batch(&client, name, &json!({ "seq": 1, "batch": 1_000 })).await;
        Self {
            client,
            name: name.to_owned(),
            messages: messages.expect("the messages"),
        }
    }

    /// Creates the stream anew with other payloads of its messages, without those that have none.
    async fn replace(&self, payload: impl Fn(&StoredMessage) -> Option<Vec<u8>>) {
        let mut config = api::stream_info(&self.client, &self.name)
            .await
            .expect("a stream")
            .config;
        let deletes = self.messages.iter().any(|message| payload(message).is_none());
        // A verifier writes only to a stream with the settings of its keeper.
        config.insert("deny_delete".into(), json!(!deletes));
        let _: Value = api::ask(&self.client, &format!("STREAM.DELETE.{}", self.name), &Value::Null)
            .await
            .expect("deleted");
        api::create_stream(&self.client, &self.name, &Value::Object(config))
            .await
            .expect("created");
        for message in &self.messages {
            let kept = payload(message);
            let sent = self
                .client
                .request(message.subject.clone(), kept.clone().unwrap_or_default().into());
            let answer: Value = serde_json::from_slice(&sent.await.expect("an answer").payload).expect("JSON");
            assert_eq!(answer["seq"], message.sequence, "{answer}");
            if kept.is_none() {
                api::erase(&self.client, &self.name, message.sequence)
                    .await
                    .expect("deleted");
            }
        }
    }

    fn payload(&self, sequence: u64) -> Vec<u8> {
        let message = self.messages.iter().find(|message| message.sequence == sequence);
        message.expect("a message").payload.to_vec()
    }
}

/// Adds a record to a day, as a thief of a verifier's secrets can.
async fn add_record(city: &City, day: i64) {
    let config = ScansConfig {
        connection: citycode_jetstream::Connection::new(city.urls().to_vec(), "thief"),
        replicas: 1,
        expected_log_id: None,
    };
    let secret = files::read_secret(&city.secret("keys/scan-records.key")).expect("a key");
    let clock = Arc::new(ManualClock::at(UnixSeconds(day * DAY_SECONDS)));
    let component = HealthRegistry::new().component("records");
    let random: citycode_vault::FillRandom = Arc::new(|bytes: &mut [u8]| bytes.fill(7));
    let records = JetStreamScanRecords::open(&config, &secret, random, clock, component).await;
    let records = records.expect("the records");
    records.note(&ScanNote {
        at: day * DAY_SECONDS,
        place: "staffed",
        device: "gate-7",
        scan_id: "invented",
        code_id: None,
        reason: Reason::Ok,
        position: Position::new(0, 1),
        age_ms: 1,
        basis: None,
    });
    records.flush().await;
}

impl Audited {
    /// Records scans, one message each, while revocation services are stopped and started, until the log has the digests of
    /// all of them. Returns the day.
    async fn record_and_seal(&mut self) -> i64 {
        let second = self.city.start(&revocation(), "revocation-2", "").await;
        let began = SystemClock::new().now().0;
        for number in 0..4 {
            let scan_id = format!("scan-{number}");
            self.scan("staffed", "gate-7", &scan_id).await;
            self.explained("gate-7", &scan_id).await;
        }
        let day = SystemClock::new().now().0 / DAY_SECONDS;
        assert_eq!(day, began / DAY_SECONDS, "midnight passed during the test; repeat it");
        let messages = AdministeredStream::of_scans(&self.city, day).await.messages.len() as u64;
        self.wait_for_digests(RecordStream::Scans, messages).await;
        assert!(
            SystemClock::new().now().0 - began < 120,
            "digests enter the log within a minute"
        );
        // A service that starts later continues where the log ends.
        let first = std::mem::replace(&mut self.services.revocation, second);
        assert!(first.terminate(DEADLINE).await.success());
        let third = self.city.start(&revocation(), "revocation-3", "").await;
        let second = std::mem::replace(&mut self.services.revocation, third);
        assert!(second.terminate(DEADLINE).await.success());
        self.scan("staffed", "gate-7", "later").await;
        self.explained("gate-7", "later").await;
        self.wait_for_digests(RecordStream::Scans, messages + 1).await;
        day
    }

    /// The city without the services that write records and digests.
    async fn quiet(self, day: i64) -> Quiet {
        let Services {
            issuer,
            revocation,
            verifier,
            audit,
            portal,
        } = self.services;
        for service in [revocation, verifier] {
            assert!(service.terminate(DEADLINE).await.success());
        }
        Quiet {
            stream: AdministeredStream::of_scans(&self.city, day).await,
            city: self.city,
            portal,
            _others: [issuer, audit],
        }
    }
}

/// A city in which nobody writes records and digests.
struct Quiet {
    city: City,
    portal: Running,
    _others: [Running; 2],
    stream: AdministeredStream,
}

impl Quiet {
    async fn run(&self) -> Value {
        audit(&self.city, self.portal.url(), "audit/run", json!({})).await
    }

    async fn assert_a_removed_message_is_missing(&self) {
        let kept = |message: &StoredMessage| (message.sequence != 2).then(|| message.payload.to_vec());
        self.stream.replace(kept).await;
        let result = self.run().await;
        assert_eq!(counts(&result), (1, 0, 0), "{result}");
    }

    /// `unreadable`: whether the other payload does not open under the day's key.
    async fn assert_a_changed_message_is_altered(&self, payload: Vec<u8>, unreadable: bool) {
        let replaced = |message: &StoredMessage| match message.sequence {
            2 => payload.clone(),
            _ => message.payload.to_vec(),
        };
        self.stream.replace(|message| Some(replaced(message))).await;
        let result = self.run().await;
        assert_eq!(counts(&result), (0, 0, 1), "{result}");
        let number = |name: &str| result["altered"][0][name].as_u64().expect("a number");
        assert!(
            (number("first")..number("first") + number("count")).contains(&2),
            "{result}"
        );
        let found = result["not_recomputable"].get("unreadable_batch");
        assert_eq!(found.is_some(), unreadable, "{result}");
    }

    async fn assert_an_added_message_is_extra(&self, day: i64) {
        self.stream.replace(|message| Some(message.payload.to_vec())).await;
        assert_eq!(counts(&self.run().await), (0, 0, 0));
        add_record(&self.city, day).await;
        // Until a minute has passed, the batch could still get its digest.
        eventually("the added batch is found", 2 * PATIENCE, || async {
            counts(&self.run().await) == (0, 1, 0)
        })
        .await;
    }
}

/// Missing, extra and altered batches.
fn counts(result: &Value) -> (u64, u64, usize) {
    let number = |name: &str| result[name].as_u64().expect("a number");
    let altered = result["altered"].as_array().expect("a list").len();
    (number("missing"), number("extra"), altered)
}

#[tokio::test(flavor = "multi_thread")]
async fn r26_records_that_are_removed_changed_or_added_on_nats_are_found_by_their_digests() {
    let mut audited = Audited::open(City::on_one().await).await;
    let day = audited.record_and_seal().await;
    let quiet = audited.quiet(day).await;
    let result = quiet.run().await;
    assert_eq!(counts(&result), (0, 0, 0), "{result}");
    assert_eq!(result["scans"], result["agree"], "{result}");

    quiet.assert_a_removed_message_is_missing().await;
    let copied = quiet.stream.payload(3);
    quiet.assert_a_changed_message_is_altered(copied, false).await;
    let mut damaged = quiet.stream.payload(2);
    *damaged.last_mut().expect("bytes") ^= 1;
    quiet.assert_a_changed_message_is_altered(damaged, true).await;
    quiet.assert_an_added_message_is_extra(day).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_are_recorded_on_nats_before_they_are_answered_and_erasures_reach_them() {
    let audited = Audited::open(City::secured().await).await;
    let (city, portal) = (&audited.city, audited.portal());
    let id_number = IdNumbers::new(130).born(date(1950, 5, 5));
    audited.scan("staffed", "gate-7", "scan-1").await;
    audited.explained("gate-7", "scan-1").await;
    let person = json!({ "id_number": id_number, "purpose": "request for access 12" });
    let told = city.post(portal, "audit/queries/about", person.clone()).await;
    assert_eq!(
        (&told["queries"][0]["kind"], &told["queries"][0]["purpose"]),
        (&json!("explain"), &json!("complaint 17"))
    );
    let persons = async || {
        let listed = city.post(portal, "audit/queries", json!({})).await;
        let queries = listed["queries"].as_array().expect("a list").clone();
        queries.iter().filter(|query| query["person"].is_string()).count()
    };
    assert_eq!(
        persons().await,
        2,
        "the explained scan, and the question about the person"
    );

    city.post(portal, "erase", json!({ "id_number": id_number })).await;
    assert_eq!(persons().await, 0);
    let (status, problem) = city
        .call(portal, "audit/queries/about", &person)
        .await
        .expect("an answer");
    assert_eq!((status, &problem["code"]), (404, &json!("not_registered")));
    audited.explained("gate-7", "scan-1").await;
    assert_eq!(persons().await, 0, "the scan of an erased person is about nobody");
}

/// The credentials with which an audit service appends queries: the log takes nothing from them, and no query can be
/// removed with them. The table of `stolen_credentials` has everything else that is refused.
#[tokio::test(flavor = "multi_thread")]
async fn the_credentials_for_queries_append_to_that_stream_and_to_nothing_else() {
    let city = City::secured().await;
    city.provision().await;
    for user in ["queries-audit", "queries-issuer", "audit"] {
        let client = thief(&city, user).await;
        for subject in [
            "cc.ev.v1.00.0001",
            "cc.scan.v1.1.x",
            "$KV.CC_VAULT.i.0000",
            "$JS.API.STREAM.PURGE.CC_QUERIES",
        ] {
            assert!(ask(&client, subject, "{}").await.is_none(), "{user}: {subject}");
        }
        let appended = ask(&client, "cc.query.v1", "{}").await;
        assert_eq!(appended.is_some(), user != "audit", "{user}: {appended:?}");
        let deleting = ask(&client, "$JS.API.STREAM.MSG.DELETE.CC_QUERIES", r#"{"seq":1}"#).await;
        assert!(deleting.is_none(), "{user}: {deleting:?}");
    }
}

impl Audited {
    /// The result of the check of the log.
    async fn checked(&self) -> Value {
        let lines = self.city.lines(self.portal(), "audit/log-check", &json!({})).await;
        lines.last().expect("a line")["result"].clone()
    }

    /// What the check of the log says of queries; nothing if they agree with their digests.
    async fn faults_of_queries(&self) -> Vec<String> {
        let result = self.checked().await;
        let faults = result["faults"].as_array().expect("a list").iter();
        faults
            .map(|fault| {
                assert_eq!(fault["check"], "queries", "{result}");
                fault["detail"].as_str().expect("a text").to_owned()
            })
            .collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_that_are_removed_or_changed_on_nats_are_found_by_the_check_of_the_log() {
    let audited = Audited::open(City::on_one().await).await;
    for number in 0..3 {
        let scan_id = format!("scan-{number}");
        audited.scan("staffed", "gate-7", &scan_id).await;
        audited.explained("gate-7", &scan_id).await;
    }
    let stream = AdministeredStream::open(&audited.city, "CC_QUERIES").await;
    let recorded = stream.messages.len() as u64;
    assert!(recorded >= 3, "each explanation is a query");
    eventually("the digests of the queries are in the log", 2 * PATIENCE, || async {
        audited.checked().await["queries"].as_u64() >= Some(recorded)
    })
    .await;
    assert_eq!(audited.faults_of_queries().await, Vec::<String>::new());

    let kept = |message: &StoredMessage| (message.sequence != 2).then(|| message.payload.to_vec());
    stream.replace(kept).await;
    assert_eq!(audited.faults_of_queries().await, ["query 2 is missing"]);
    let copied = stream.payload(3);
    stream
        .replace(|message| {
            Some(if message.sequence == 2 {
                copied.clone()
            } else {
                message.payload.to_vec()
            })
        })
        .await;
    let faults = audited.faults_of_queries().await;
    assert!(
        faults[0].contains("are not those whose digest is in the log"),
        "{faults:?}"
    );
    stream.replace(|message| Some(message.payload.to_vec())).await;
    assert_eq!(audited.faults_of_queries().await, Vec::<String>::new());
}
