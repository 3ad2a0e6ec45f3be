//! R20 in a distributed city: the same scan through portals that balance calls over verifiers is stored once.

use std::time::Duration;

use citycode_scan_records::jetstream::archive::ScanArchive;
use citycode_scan_records::jetstream::{KeeperSecrets, ScansConfig};
use citycode_scan_records::{DAY_SECONDS, ScanRecord};
use citycode_service_kit::clock::{Clock as _, SystemClock};
use citycode_service_kit::files;
use citycode_testkit::{IdNumbers, Running, eventually};
use futures::future::join_all;
use jiff::civil::date;
use serde_json::{Value, json};

use crate::city::{City, audit, behind, issuer, portal, registers, revocation, verifier};

const PATIENCE: Duration = Duration::from_secs(60);

/// The registrations of yesterday, today and tomorrow, because midnight may pass during the test.
async fn registrations(city: &City) -> Vec<ScanRecord> {
    let config = ScansConfig {
        connection: citycode_jetstream::Connection::new(city.urls().to_vec(), "test"),
        replicas: u8::try_from(city.urls().len()).expect("a few"),
        expected_log_id: None,
    };
    let secret = |name: &str| files::read_secret(&city.secret(&format!("keys/{name}"))).expect("a key");
    let secrets = KeeperSecrets {
        records: secret("scan-records.key"),
        archive: secret("scan-archive.key"),
    };
    let archive = ScanArchive::open(&config, &secrets).await.expect("it opens");
    let today = u32::try_from(SystemClock::new().now().0 / DAY_SECONDS).expect("after 1970");
    let mut all = Vec::new();
    for day in today - 1..=today + 1 {
        all.extend(archive.registrations(day).await.unwrap_or_default());
    }
    all
}

/// A scan at a sampling desk.
fn scan(code: &str, scan_id: &str) -> Value {
    json!({ "place": "sampling_desk", "device": "desk-1", "code": code, "scan_id": scan_id })
}

/// A city on three servers with two verifiers, two portals, and the codes of two people, which both verifiers have
/// folded.
struct Places {
    city: City,
    issuer: Running,
    revocation: Running,
    verifiers: [Running; 2],
    audit: Running,
    portals: [Running; 2],
    first_person: String,
    codes: [String; 2],
}

impl Places {
    async fn open() -> Self {
        let city = City::on_three().await;
        city.provision().await;
        let issuer = city.start(&issuer(), "issuer", "").await;
        let revocation = city.start(&revocation(), "revocation", "").await;
        let verifiers = [
            city.start(&verifier(), "verifier-1", "").await,
            city.start(&verifier(), "verifier-2", "").await,
        ];
        let audit = city.start(&audit(), "audit", "").await;
        for verifier in &verifiers {
            registers(verifier).await;
        }
        let two = [verifiers[0].url(), verifiers[1].url()];
        let services = behind(&[issuer.url()], &[revocation.url()], &two, &[audit.url()]);
        let portals = [
            city.start(&portal(), "portal-1", &services).await,
            city.start(&portal(), "portal-2", &services).await,
        ];
        let mut numbers = IdNumbers::new(20);
        let people = [numbers.born(date(1950, 5, 5)), numbers.born(date(1951, 5, 5))];
        let portal = portals[0].url();
        let mut codes = [String::new(), String::new()];
        for (id_number, code) in people.iter().zip(&mut codes) {
            city.register(portal, id_number).await;
            let issued = city.issue(portal, id_number, "offline").await;
            issued["token"].as_str().expect("a code").clone_into(code);
            for _ in 0..4 {
                eventually("both verifiers know the code", PATIENCE, || async {
                    let decided = city.decision(portal, "sentinel", code).await;
                    decided.ends_with("kind_not_accepted_here")
                })
                .await;
            }
        }
        let [first_person, _] = people;
        Self {
            city,
            issuer,
            revocation,
            verifiers,
            audit,
            portals,
            first_person,
            codes,
        }
    }

    /// Reports the first person's code lost, and waits until both verifiers refuse it.
    async fn report_loss(&self) {
        let portal = self.portals[0].url();
        let lost = json!({ "id_number": self.first_person, "kind": "offline", "channel": "kiosk" });
        self.city.post(portal, "report-loss", lost).await;
        eventually("the code is dead at both", PATIENCE, || async {
            let mut dead = true;
            for _ in 0..4 {
                let decided = self.city.decision(portal, "sampling_desk", &self.codes[0]).await;
                dead &= decided.starts_with("refuse");
            }
            dead
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r20_a_scan_sent_to_two_verifiers_and_after_a_crash_of_one_is_stored_once_with_one_answer() {
    let places = Places::open().await;
    let (city, codes) = (&places.city, &places.codes);
    let [first, second] = [places.portals[0].url(), places.portals[1].url()];
    // The same scan eight times at once, through both portals.
    let calls = (0..8).map(|call| if call % 2 == 0 { first } else { second });
    let at_once = scan(&codes[0], "at-once");
    let answers = join_all(calls.map(|portal| city.post(portal, "verify", at_once.clone()))).await;
    for answer in &answers {
        assert_eq!(answer["decision"], "admit", "{answer}");
        assert_eq!(
            answer["as_of"]["position"], answers[0]["as_of"]["position"],
            "one answer"
        );
    }
    places.report_loss().await;
    // Sequential repetitions at both verifiers get the recorded answer, although the code is dead now.
    for portal in [first, second, first, second] {
        let again = city.post(portal, "verify", scan(&codes[0], "at-once")).await;
        assert_eq!(again["decision"], "admit", "{again}");
        let (status, reused) = city
            .call(portal, "verify", &scan(&codes[1], "at-once"))
            .await
            .expect("an answer");
        assert_eq!(
            (status, &reused["code"]),
            (422, &json!("idempotency_key_reused")),
            "{reused}"
        );
    }
    // One verifier crashes; the other one has its records.
    let [died, lives] = places.verifiers;
    drop(died);
    for call in 0..20 {
        let answered = city
            .post(first, "verify", scan(&codes[1], &format!("after-{}", call / 2)))
            .await;
        assert_eq!(answered["decision"], "admit", "{answered}");
    }
    let again = city.post(second, "verify", scan(&codes[0], "at-once")).await;
    assert_eq!(again["decision"], "admit", "{again}");
    let mut ids: Vec<String> = registrations(city)
        .await
        .into_iter()
        .map(|record| record.scan.scan_id.to_string())
        .collect();
    ids.retain(|id| !id.is_empty());
    ids.sort();
    let mut expected: Vec<String> = (0..10).map(|scan| format!("after-{scan}")).collect();
    expected.push("at-once".into());
    assert_eq!(ids, expected, "each scan stands once");
    for service in [&places.issuer, &places.revocation, &lives, &places.audit] {
        let said = service.said();
        assert!(
            !said.contains("REGISTRATIONS ARE REFUSED") && !said.contains("DOES NOT RUN"),
            "{said}"
        );
    }
}
