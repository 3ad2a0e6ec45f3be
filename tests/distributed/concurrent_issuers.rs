//! Two concurrent issuers of one city: key rotations, and erasures of people whom the other issuer has just related.

use std::time::Duration;

use citycode_domain::event::Event;
use citycode_event_store_jetstream::JetStreamEventStore;
use citycode_log_folds::events_of;
use citycode_testkit::Traffic;
use citycode_testkit::checker::WholeLog;
use citycode_testkit::{IdNumbers, NatsProxy, Running, eventually, free_port};
use citycode_token::DeviceSigner;
use futures::future::join_all;
use jiff::civil::date;
use serde_json::{Value, json};

use crate::city::{City, audit, behind, issuer, portal, revocation, verifier};

const PATIENCE: Duration = Duration::from_secs(60);

/// A city with two issuers, each with its own portal; a proxy can hold back the first one's commits.
struct TwoIssuers {
    city: City,
    portals: [Running; 2],
    proxy: NatsProxy,
    _services: Vec<Running>,
}

impl TwoIssuers {
    async fn start() -> Self {
        let city = City::on_one().await;
        city.provision().await;
        let proxy = NatsProxy::to(&city.server().url(), "cc.ev.").await;
        let via_proxy = [proxy.address().to_owned()];
        let first = city.launch(&issuer(), "issuer-0", free_port(), &via_proxy, "").await;
        let second = city.start(&issuer(), "issuer-1", "").await;
        let revocation = city.start(&revocation(), "revocation", "").await;
        let verifier = city.start(&verifier(), "verifier", "").await;
        let audit = city.start(&audit(), "audit", "").await;
        let portal_of = async |name: &str, issuer: &Running| {
            let services = behind(&[issuer.url()], &[revocation.url()], &[verifier.url()], &[audit.url()]);
            city.start(&portal(), name, &services).await
        };
        let portals = [
            portal_of("portal-0", &first).await,
            portal_of("portal-1", &second).await,
        ];
        Self {
            city,
            portals,
            proxy,
            _services: vec![first, second, revocation, verifier, audit],
        }
    }

    fn url(&self, issuer: usize) -> &str {
        self.portals[issuer].url()
    }

    /// The keys without an end of signing, as an issuer reports them.
    async fn signing_keys(&self, issuer: usize) -> Vec<String> {
        let url = format!("{}/api/v1/keys", self.url(issuer));
        let answer = reqwest::get(url)
            .await
            .expect("an answer")
            .json::<Value>()
            .await
            .expect("JSON");
        let keys = answer["keys"].as_array().expect("keys");
        let lasting = keys.iter().filter(|key| key["signs_until"].is_null());
        let mut lasting: Vec<String> = lasting
            .map(|key| key["kid"].as_str().expect("a kid").to_owned())
            .collect();
        lasting.sort();
        lasting
    }

    /// The keys whose private part an issuer has.
    fn held(&self, issuer: usize) -> Vec<String> {
        let keys = self.city.state(&format!("issuer-{issuer}")).join("keys");
        let entries = std::fs::read_dir(keys).expect("a folder");
        let names = entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"));
        names
            .filter_map(|name| Some(name.strip_prefix("signing-")?.strip_suffix(".key")?.to_owned()))
            .collect()
    }

    async fn family_code(&self, child: &str) -> Option<String> {
        let asked = json!({ "id_number": child });
        let (_, answer) = self.city.call(self.url(0), "codes", &asked).await?;
        let codes = answer["codes"].as_array()?;
        let family = codes.iter().find(|code| code["kind"] == "family")?;
        Some(family["state"].as_str()?.to_owned())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_concurrent_rotations_each_issuer_has_one_signing_key() {
    let two = TwoIssuers::start().await;
    for _ in 0..3 {
        let rotations = (0..8).map(|number| two.city.post(two.url(number % 2), "keys/rotate", json!({})));
        join_all(rotations).await;
        eventually(
            "each issuer has one lasting key, and all know both",
            PATIENCE,
            async || {
                let lasting = two.signing_keys(0).await;
                let of = |issuer: usize| {
                    let held = two.held(issuer);
                    lasting.iter().filter(|key| held.contains(key)).count()
                };
                lasting == two.signing_keys(1).await && lasting.len() == 2 && (of(0), of(1)) == (1, 1)
            },
        )
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r17_r28_no_relationship_outlives_the_erasure_of_its_guardian_at_another_issuer() {
    let two = TwoIssuers::start().await;
    let (city, mut numbers) = (&two.city, IdNumbers::new(91));
    let mut people = Vec::new();
    for year in 0..6 {
        let (guardian, child) = (numbers.born(date(1980 + year, 5, 5)), numbers.born(date(2016, 5, 5)));
        city.register(two.url(0), &guardian).await;
        city.register(two.url(0), &child).await;
        people.push((guardian, child));
    }
    let (last_guardian, last_child) = people.pop().expect("six pairs");
    // The guardian is erased by one issuer immediately after the other acknowledged the family code.
    for (number, (guardian, child)) in (0u8..).zip(&people) {
        let both = json!({ "guardian": guardian, "dependent": child });
        city.post(two.url(0), "relate", both).await;
        let family = json!({
            "id_number": child, "guardian": guardian, "kind": "family", "channel": "app",
            "device_key": phone(number),
        });
        city.post(two.url(0), "issue", family).await;
        city.post(two.url(1), "erase", json!({ "id_number": guardian })).await;
        let told = two.family_code(child).await;
        assert_eq!(
            told.as_deref(),
            Some("revoked"),
            "it was acknowledged before the erasure"
        );
    }
    // The relationship's commit is in flight while the guardian is erased.
    two.proxy.set(Traffic::Hold);
    let both = json!({ "guardian": last_guardian, "dependent": last_child });
    let relating = city.call(two.url(0), "relate", &both);
    let erasing = async {
        eventually("the relationship is under way", PATIENCE, async || {
            two.proxy.held().await > 0
        })
        .await;
        city.post(two.url(1), "erase", json!({ "id_number": last_guardian }))
            .await;
        two.proxy.set(Traffic::Forward);
        two.proxy.release().await;
    };
    let (related, ()) = tokio::join!(relating, erasing);
    assert!(related.is_some());
    let reader = JetStreamEventStore::open(&city.log()).await.expect("the log opens");
    eventually("every relationship that was recorded has ended", PATIENCE, async || {
        let log = WholeLog::read(&reader).await.expect("the log can be read");
        let events: Vec<Event> = log
            .commits
            .iter()
            .flat_map(|commit| events_of(commit).expect("events"))
            .collect();
        let recorded = events
            .iter()
            .filter(|event| matches!(event, Event::RelationshipRecorded(_)));
        let ended = events
            .iter()
            .filter(|event| matches!(event, Event::RelationshipEnded(_)));
        let (recorded, ended) = (recorded.count(), ended.count());
        recorded == 6 && ended == 6
    })
    .await;
}

fn phone(seed: u8) -> Value {
    let key = match DeviceSigner::from_seed([seed; 32]).device_key() {
        citycode_domain::claims::DeviceKey::Ed25519(key) => key,
        citycode_domain::claims::DeviceKey::P256(_) => panic!("it makes Ed25519 keys"),
    };
    let x = data_encoding::BASE64URL_NOPAD.encode(&key);
    json!({ "kty": "OKP", "crv": "Ed25519", "x": x })
}
