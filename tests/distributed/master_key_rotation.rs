//! The vault's master key is rotated online, by the steps of docs/operations/city.md.

use std::time::Duration;

use citycode_testkit::{IdNumbers, eventually};
use jiff::civil::date;
use serde_json::{Value, json};

use crate::city::{City, Services, citycode};

const PATIENCE: Duration = Duration::from_secs(30);

struct Life {
    services: Services,
}

impl Life {
    async fn start(city: &City) -> Self {
        Self {
            services: city.start_all("").await,
        }
    }

    async fn end(self) {
        self.services.stop().await;
    }

    /// Uses everything that reads the vault: the issuer's pages, revocation's reasons, the verifier's index.
    async fn knows(&self, city: &City, id_number: &str) {
        let door = self.services.portal.url();
        city.issue(door, id_number, "offline").await;
        let standing = json!({ "id_number": id_number, "standing": "yellow", "reason": "a test" });
        city.post(door, "standing", standing).await;
        let card = json!({ "place": "staffed", "id_card": id_number });
        let refused = async || {
            let verdict = city.call(door, "verify", &card).await;
            verdict.is_some_and(|(_, verdict)| verdict["reason"] == "standing_yellow")
        };
        eventually("the card's holder is known", PATIENCE, refused).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_master_key_is_rotated_online() {
    let city = City::secured().await;
    city.provision().await;
    let mut numbers = IdNumbers::new(4);
    let mut people: Vec<String> = (0..4).map(|year| numbers.born(date(1950 + year, 5, 5))).collect();
    let life = Life::start(&city).await;
    for number in &people {
        city.register(life.services.portal.url(), number).await;
    }
    life.end().await;
    let secrets = city.secret("");
    let words = ["secrets", "--next-master", "--dir"].map(AsRef::as_ref);
    citycode(&[&words[..], &[secrets.as_os_str()]].concat()).await;

    let life = Life::start(&city).await;
    let config = city.folder.path().join("issuer.toml");
    let words = ["vault", "rotate-master", "--output", "json", "--config"].map(AsRef::as_ref);
    let rotate = [&words[..], &[config.as_os_str()]].concat();
    let working = async {
        for year in 0..4 {
            let number = numbers.born(date(1960 + year, 5, 5));
            city.register(life.services.portal.url(), &number).await;
            people.push(number);
        }
        life.knows(&city, &people[0]).await;
    };
    let (rotated, ()) = tokio::join!(citycode(&rotate), working);
    let rotated: Value = serde_json::from_slice(&rotated).expect("JSON");
    assert!(rotated["written_anew"].as_u64() > Some(0), "{rotated}");
    let again: Value = serde_json::from_slice(&citycode(&rotate).await).expect("JSON");
    assert_eq!(again["written_anew"], 0, "{again}");
    life.knows(&city, &people[1]).await;
    life.end().await;

    for name in ["master", "revocation", "index"] {
        let next = city.secret(&format!("keys/vault-{name}.next.key"));
        std::fs::rename(next, city.secret(&format!("keys/vault-{name}.key"))).expect("it is moved");
    }
    let life = Life::start(&city).await;
    for number in &people[2..5] {
        life.knows(&city, number).await;
    }
    life.end().await;
}
