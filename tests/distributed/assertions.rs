//! An assertion that a person was authenticated is accepted once in the whole city, by whichever instance, despite
//! crashes of instances and of the servers with the register.

use std::time::Duration;

use citycode_assertion_uses::UsesKey;
use citycode_assertion_uses::jetstream::{NewRegister, UsesConfig, provision};
use citycode_event_store::EventStore as _;
use citycode_event_store_jetstream::JetStreamEventStore;
use citycode_policy_file::SHANGHAI;
use citycode_testkit::{IdNumbers, Running, eventually};
use jiff::civil::date;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::city::{City, behind, issuer, portal, revocation};
use crate::nats_permissions::{ask_as_allowed, thief};
use citycode_test_support::{ISSUER, Provider};

const PATIENCE: Duration = Duration::from_secs(60);
/// An address without a listener, for services that the test does not call.
const UNUSED: &str = "http://127.0.0.1:1";

/// Two issuers, each with its own portal, and a revocation service that both portals use.
struct Town {
    city: City,
    provider: Provider,
    issuers: Vec<Running>,
    portals: Vec<Running>,
    _revocation: Running,
    resident: String,
}

impl Town {
    async fn of(city: City) -> Self {
        city.provision().await;
        let provider = Provider::default();
        let (policy, keys) = (
            city.folder.path().join("policy.toml"),
            city.folder.path().join("idp.json"),
        );
        let asking = SHANGHAI.replace("\n# needs_assertion = true\n", "\nneeds_assertion = true\n");
        std::fs::write(&policy, asking).expect("a file");
        std::fs::write(&keys, provider.jwks()).expect("a file");
        let asks = format!("policy = {policy:?}\n[assertion_provider]\nissuer = {ISSUER:?}\njwks_file = {keys:?}\n");
        // The first issuer writes the vault's keys; other services wait for them.
        let mut issuers = Vec::new();
        for name in ["issuer-1", "issuer-2"] {
            issuers.push(city.start(&issuer(), name, &asks).await);
        }
        let revocation = city.start(&revocation(), "revocation", &asks).await;
        let mut portals = Vec::new();
        for (name, issuing) in ["portal-1", "portal-2"].into_iter().zip(&issuers) {
            let services = behind(&[issuing.url()], &[revocation.url()], &[UNUSED], &[UNUSED]);
            let services = format!("policy = {policy:?}\n{services}");
            portals.push(city.start(&portal(), name, &services).await);
        }
        let resident = IdNumbers::new(21).born(date(1950, 5, 5));
        let person = json!({ "id_number": resident, "name": "张小三", "channel": "counter" });
        city.post(portals[0].url(), "register", person).await;
        Self {
            city,
            provider,
            issuers,
            portals,
            _revocation: revocation,
            resident,
        }
    }

    fn assertion(&self, jti: &str) -> String {
        self.provider.assertion(jti, &self.resident)
    }

    /// An act at a kiosk, through one of the portals.
    async fn act(&self, portal: usize, path: &str, assertion: &str, command: &str) -> (u16, Value) {
        let body = json!({
            "kind": "offline", "channel": "kiosk", "id_number": self.resident, "command_id": command,
            "authentication": { "assertion": assertion },
        });
        let answered = self.city.call(self.portals[portal].url(), path, &body).await;
        answered.expect("an answer")
    }
}

fn command(serial: u32) -> String {
    format!("6ba7b810-9dad-11d1-80b4-{serial:012}")
}

fn replayed(answer: &(u16, Value)) {
    assert_eq!(answer.0, 403, "{}", answer.1);
    assert!(
        answer.1["detail"].as_str().expect("a detail").contains("used before"),
        "{}",
        answer.1
    );
    assert_eq!(answer.1["outcome"], "not_done");
}

fn unavailable(answer: &(u16, Value)) {
    assert_eq!(answer.0, 503, "{}", answer.1);
    assert_eq!(answer.1["code"], "unavailable", "{}", answer.1);
    assert_eq!(answer.1["outcome"], "not_done", "{}", answer.1);
}

fn code_id(answer: &(u16, Value)) -> &str {
    assert_eq!(answer.0, 200, "{}", answer.1);
    answer.1["code_id"].as_str().expect("a code id")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assertion_is_accepted_once_in_the_city_by_any_instance_despite_crashes() {
    let mut town = Town::of(City::secured().await).await;
    let assertion = town.assertion("j1");
    let first = town.act(0, "issue", &assertion, &command(1)).await;
    let born = code_id(&first).to_owned();
    // A repetition of the same request is not a second use: it gets the same answer, from another issuer too.
    for portal in [0, 1] {
        let again = town.act(portal, "issue", &assertion, &command(1)).await;
        assert_eq!(code_id(&again), born);
        replayed(&town.act(portal, "issue", &assertion, &command(2)).await);
        // Another request under the same command id, at another kind of service.
        replayed(&town.act(portal, "report-loss", &assertion, &command(1)).await);
    }
    // Of two concurrent requests, exactly one succeeds.
    for round in 10..16 {
        let assertion = town.assertion(&format!("j{round}"));
        let (one, other) = (command(round), command(round + 100));
        let both = futures::future::join(
            town.act(0, "issue", &assertion, &one),
            town.act(1, "issue", &assertion, &other),
        );
        let (one, other) = both.await;
        let (done, refused) = if one.0 == 200 { (one, other) } else { (other, one) };
        code_id(&done);
        replayed(&refused);
    }
    // The issuer that accepted the assertion is killed immediately afterwards.
    let assertion = town.assertion("j2");
    let born = code_id(&town.act(0, "issue", &assertion, &command(3)).await).to_owned();
    town.issuers.remove(0).kill_9().await;
    replayed(&town.act(1, "issue", &assertion, &command(4)).await);
    assert_eq!(code_id(&town.act(1, "issue", &assertion, &command(3)).await), born);
    // The register contains no data of the assertion or the person.
    let client = thief(&town.city, "issuer").await;
    let get = "$JS.API.STREAM.MSG.GET.CC_ASSERTION_USES";
    let told = ask_as_allowed(&client, get, r#"{"seq":1}"#).await;
    let subject = told["message"]["subject"].as_str().expect("a subject");
    let (register, name) = subject
        .strip_prefix("cc.assertion.v1.")
        .and_then(|rest| rest.split_once('.'))
        .expect("its subject");
    let is_digest = |word: &str| word.len() == 32 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    assert!(is_digest(register) && is_digest(name), "{told}");
    assert_eq!(
        told["message"]["data"].as_str().map(str::len),
        Some(44),
        "32 bytes: {told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn no_assertion_is_accepted_while_the_register_does_not_answer_and_a_retry_succeeds_later() {
    let mut town = Town::of(City::on_one().await).await;
    let assertion = town.assertion("j1");
    let born = code_id(&town.act(0, "issue", &assertion, &command(1)).await).to_owned();
    let waiting = town.assertion("j2");
    // All servers are down.
    town.city.server_mut().kill9().await;
    unavailable(&town.act(0, "issue", &waiting, &command(2)).await);
    town.city.server_mut().restart().await;
    let done = async || town.act(0, "issue", &waiting, &command(2)).await.0 == 200;
    eventually("it is done once the servers are back", PATIENCE, done).await;
    let again = town.act(1, "issue", &waiting, &command(2)).await;
    assert_ne!(code_id(&again), born);
    replayed(&town.act(1, "issue", &assertion, &command(3)).await);
    // Only the register is missing.
    delete_register(&town.city).await;
    for path in ["issue", "report-loss"] {
        unavailable(&town.act(0, path, &town.assertion("j3"), &command(4)).await);
    }
    let at_pc = json!({ "kind": "offline", "channel": "pc", "id_number": town.resident });
    town.city.post(town.portals[0].url(), "issue", at_pc).await;
    // A recreated register lacks earlier uses, and accepts no assertions from before its creation.
    town.city.provision().await;
    let late = town.act(0, "issue", &assertion, &command(5)).await;
    assert_eq!(late.0, 403, "{}", late.1);
    assert!(
        late.1["detail"]
            .as_str()
            .expect("a detail")
            .contains("outside the time"),
        "{}",
        late.1
    );
    // Running issuers accept assertions again with a new register whose start time is in the past.
    delete_register(&town.city).await;
    make_register(&town.city, 0).await;
    for (portal, jti, serial) in [(0, "j4", 6), (1, "j5", 8)] {
        let assertion = town.assertion(jti);
        code_id(&town.act(portal, "issue", &assertion, &command(serial)).await);
        replayed(&town.act(portal, "issue", &assertion, &command(serial + 1)).await);
    }
}

async fn delete_register(city: &City) {
    let client = async_nats::connect(city.urls()).await.expect("a server");
    let deleted = ask_as_allowed(&client, "$JS.API.STREAM.DELETE.CC_ASSERTION_USES", "").await;
    assert_eq!(deleted["success"], true, "{deleted}");
}

async fn make_register(city: &City, takes_from: i64) {
    let log = city.log();
    let store = JetStreamEventStore::open(&log).await.expect("the log");
    let config = UsesConfig {
        connection: log.connection,
        replicas: log.replicas,
        log_id: store.log_id().0,
    };
    let key = std::fs::read(city.secret("keys/assertion-uses.key")).expect("a key");
    let key = UsesKey::new(Zeroizing::new(key.try_into().expect("32 bytes")));
    let new = NewRegister {
        id: [9; 16],
        takes_from,
    };
    provision(&config, &key, &new).await.expect("made");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_registers_key_and_a_provider_no_register_is_provisioned() {
    let city = City::on_one().await;
    std::fs::remove_file(city.secret("keys/assertion-uses.key")).expect("it is there");
    city.provision().await;
    let client = async_nats::connect(city.urls()).await.expect("a server");
    let told = ask_as_allowed(&client, "$JS.API.STREAM.INFO.CC_ASSERTION_USES", "").await;
    assert_eq!(told["error"]["err_code"], 10_059, "no such stream: {told}");
}
