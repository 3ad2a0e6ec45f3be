//! The lifecycle of codes in a city of separate processes.

use std::time::Duration;

use citycode_testkit::{IdNumbers, eventually};
use jiff::civil::date;
use serde_json::json;

use crate::city::{City, audit, behind, issuer, portal, revocation, verifier};

const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn codes_are_issued_checked_reissued_reported_lost_and_audited_across_processes() {
    let city = City::on_one().await;
    city.provision().await;
    let issuers = [
        city.start(&issuer(), "issuer-1", "").await,
        city.start(&issuer(), "issuer-2", "").await,
    ];
    let revocation = city.start(&revocation(), "revocation-1", "").await;
    let verifiers = [
        city.start(&verifier(), "verifier-1", "").await,
        city.start(&verifier(), "verifier-2", "").await,
    ];
    let audit = city.start(&audit(), "audit-1", "").await;
    let services = behind(
        &[issuers[0].url(), issuers[1].url()],
        &[revocation.url()],
        &[verifiers[0].url(), verifiers[1].url()],
        &[audit.url()],
    );
    let portals = [
        city.start(&portal(), "portal-1", &services).await,
        city.start(&portal(), "portal-2", &services).await,
    ];
    let (first, second) = (portals[0].url(), portals[1].url());
    let mut numbers = IdNumbers::new(1);
    let id_number = numbers.born(date(1950, 5, 5));
    city.register(first, &id_number).await;
    city.register(second, &id_number).await;
    let code = city.issue(first, &id_number, "offline").await;
    let old = code["token"].as_str().expect("a code").to_owned();
    for portal in [first, second] {
        for _ in 0..2 {
            let what = "both verifiers know the code";
            eventually(what, PATIENCE, || async {
                city.decision(portal, "sampling_desk", &old).await.starts_with("admit")
            })
            .await;
        }
    }
    let code = city.issue(second, &id_number, "offline").await;
    let new = code["token"].as_str().expect("a code").to_owned();
    let refused = async |code: &str| {
        let mut decisions = Vec::new();
        for portal in [first, second, first, second] {
            decisions.push(city.decision(portal, "sampling_desk", code).await);
        }
        decisions.iter().all(|decision| decision.starts_with("refuse"))
    };
    eventually("the superseded code is dead everywhere", PATIENCE, || refused(&old)).await;
    let lost = json!({ "id_number": id_number, "kind": "offline", "channel": "kiosk" });
    city.post(first, "report-loss", lost).await;
    eventually("the lost code is dead everywhere", PATIENCE, || refused(&new)).await;
    let history = json!({ "id_number": id_number, "kind": "offline" });
    let history = city.post(second, "history", history).await;
    assert!(history.to_string().contains("CodeReportedLost"), "{history}");
}
