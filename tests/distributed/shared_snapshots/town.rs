//! A distributed city without verifiers, which each test starts itself.

use std::collections::BTreeMap;

use citycode_testkit::{IdNumbers, Running, eventually};
use jiff::civil::date;
use serde_json::json;

use super::PATIENCE;
use crate::city::{City, audit, behind, issuer, portal, revocation};

/// A city with one instance of each service except verifiers.
pub(super) struct Town {
    pub(super) city: City,
    pub(super) issuer: Running,
    pub(super) revocation: Running,
    pub(super) audit: Running,
    pub(super) codes: Vec<String>,
}

impl Town {
    pub(super) async fn on(city: City, publishing: &str) -> Self {
        city.provision().await;
        let issuer = city.start(&issuer(), "issuer", "").await;
        let revocation = city.start(&revocation(), "revocation", publishing).await;
        let audit = city.start(&audit(), "audit", "").await;
        Self {
            city,
            issuer,
            revocation,
            audit,
            codes: Vec::new(),
        }
    }

    pub(super) async fn portal(&self, name: &str, verifier: &Running) -> Running {
        let services = behind(
            &[self.issuer.url()],
            &[self.revocation.url()],
            &[verifier.url()],
            &[self.audit.url()],
        );
        self.city.start(&portal(), name, &services).await
    }

    /// Creates people with codes: valid, superseded, lost, and one of an erased person.
    pub(super) async fn live(&mut self, portal: &Running) {
        for person in 0..4 {
            let id_number = IdNumbers::new(200 + person).born(date(1950, 5, 5));
            self.city.register(portal.url(), &id_number).await;
            for _ in 0..=person % 3 {
                let code = self.city.issue(portal.url(), &id_number, "offline").await;
                self.codes.push(code["token"].as_str().expect("a code").to_owned());
            }
            if person == 2 {
                let lost = json!({ "id_number": id_number, "kind": "offline", "channel": "kiosk" });
                self.city.post(portal.url(), "report-loss", lost).await;
            }
            if person == 3 {
                self.city
                    .post(portal.url(), "erase", json!({ "id_number": id_number }))
                    .await;
            }
        }
    }

    async fn verdicts(&self, portal: &Running) -> BTreeMap<String, String> {
        let mut verdicts = BTreeMap::new();
        for code in &self.codes {
            let decision = self.city.decision(portal.url(), "staffed", code).await;
            verdicts.insert(code.clone(), decision);
        }
        verdicts
    }

    /// Waits until the verdicts of both agree; an overloaded machine may answer for a while that it cannot check.
    pub(super) async fn agree(&self, one: &Running, other: &Running) {
        eventually("their verdicts are the same", PATIENCE, || async {
            let (one, other) = (self.verdicts(one).await, self.verdicts(other).await);
            let decided = one.values().all(|verdict| !verdict.starts_with("cannot_check"));
            decided && one == other
        })
        .await;
        let verdicts = self.verdicts(one).await;
        for wanted in ["admit", "refuse"] {
            assert!(
                verdicts.values().any(|verdict| verdict.starts_with(wanted)),
                "{verdicts:?}"
            );
        }
    }
}
