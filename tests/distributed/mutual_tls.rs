//! Mutual TLS between services: unknown clients are refused, the portal works, and health probes still work.

use citycode_test_support::program;
use std::path::Path;
use std::time::Duration;

use citycode_testkit::{IdNumbers, Process, eventually, free_port};
use jiff::civil::date;
use serde_json::Value;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::city::{City, audit, behind, issuer, portal, revocation, secrets, verifier};

const PATIENCE: Duration = Duration::from_secs(30);

/// The configuration of a service with this certificate.
fn certified(city: &City, certificate: &str, management: u16) -> String {
    let file = |name: &str| city.secret(&format!("tls/{name}"));
    format!(
        "management = \"127.0.0.1:{management}\"\n[tls]\nca_file = {:?}\ncertificate_file = {:?}\ncertificate_key_file = {:?}\n",
        file("services-ca.pem"),
        file(&format!("{certificate}.pem")),
        file(&format!("{certificate}.key")),
    )
}

/// The client certificate of a caller.
fn identity(tls: &Path, name: &str) -> Identity {
    let read = |end: &str| std::fs::read(tls.join(format!("{name}.{end}"))).expect("a file");
    Identity::from_pem(read("pem"), read("key"))
}

/// gRPC health of the server at this address, expected to be `service`; none if there is no answer.
async fn health(url: &str, service: &str, ca: Option<&Path>, own: Option<Identity>) -> Option<i32> {
    let mut endpoint = Endpoint::from_shared(url.to_owned()).expect("an address");
    if let Some(ca) = ca {
        let authority = Certificate::from_pem(std::fs::read(ca).expect("a file"));
        let tls = ClientTlsConfig::new().ca_certificate(authority).domain_name(service);
        let tls = own.into_iter().fold(tls, ClientTlsConfig::identity);
        endpoint = endpoint.tls_config(tls).expect("certificates");
    }
    let channel = endpoint.connect().await.ok()?;
    let answer = HealthClient::new(channel).check(HealthCheckRequest::default()).await;
    Some(answer.ok()?.into_inner().status)
}

const SERVING: Option<i32> = Some(1);

#[tokio::test(flavor = "multi_thread")]
async fn with_mutual_tls_unknown_clients_are_refused_and_the_portal_and_probes_work() {
    let city = City::on_one().await;
    city.provision().await;
    let programs = [issuer(), revocation(), verifier(), audit()];
    let names = ["issuer", "revocation", "verifier", "audit"];
    let management = names.map(|_| free_port());
    let mut services = Vec::new();
    for ((program, name), management) in programs.iter().zip(names).zip(management) {
        services.push(city.start(program, name, &certified(&city, name, management)).await);
    }
    let urls: Vec<&str> = services.iter().map(|service| service.url()).collect();
    assert!(urls.iter().all(|url| url.starts_with("https://")), "{urls:?}");
    let more = certified(&city, "portal", free_port()) + &behind(&[urls[0]], &[urls[1]], &[urls[2]], &[urls[3]]);
    let portal = city.start(&portal(), "portal", &more).await;
    let id_number = IdNumbers::new(3).born(date(1950, 5, 5));
    city.register(portal.url(), &id_number).await;
    let code = city.issue(portal.url(), &id_number, "offline").await;
    let token = code["token"].as_str().expect("a code");
    eventually("the verifier knows the code", PATIENCE, || async {
        city.decision(portal.url(), "sampling_desk", token)
            .await
            .starts_with("admit")
    })
    .await;

    let (ca, tls) = (city.secret("tls/services-ca.pem"), city.secret("tls"));
    let foreign = secrets().await;
    let foreign = foreign.path().join("secrets/tls");
    for (url, name) in urls.iter().zip(names) {
        let ask = |ca, own| health(url, name, ca, own);
        assert_eq!(
            ask(Some(&ca), Some(identity(&tls, "portal"))).await,
            SERVING,
            "{name}: a client of the city's"
        );
        assert_eq!(ask(Some(&ca), None).await, None, "{name}: no certificate");
        let strangers = [(&foreign, "portal"), (&tls, "issuer"), (&tls, "nats")];
        for (folder, stranger) in strangers {
            let answer = ask(Some(&ca), Some(identity(folder, stranger))).await;
            assert_eq!(answer, None, "{name}: {stranger} of {}", folder.display());
        }
        let plain = url.replace("https://", "http://");
        assert_eq!(health(&plain, name, None, None).await, None, "{name}: without TLS");
        let other = if name == "audit" { "issuer" } else { "audit" };
        let posing = health(url, other, Some(&ca), Some(identity(&tls, "portal"))).await;
        assert_eq!(posing, None, "{name} is not taken for {other}");
    }
    for (port, name) in management.into_iter().zip(names) {
        let base = format!("http://127.0.0.1:{port}");
        assert_eq!(health(&base, name, None, None).await, SERVING, "{name}: gRPC health");
        for path in ["health/started", "health/live", "health/ready", "metrics"] {
            let answer = reqwest::get(format!("{base}/{path}")).await.expect("an answer");
            assert_eq!(answer.status(), 200, "{name}: {path}");
        }
        let answer = reqwest::get(format!("{base}/api/v1/keys")).await.expect("an answer");
        assert_eq!(answer.status(), 404, "{name}: nothing else is served there");
    }
    // The portal's public port does not serve its health or metrics.
    let answer = reqwest::get(format!("{}/metrics", portal.url()))
        .await
        .expect("an answer");
    assert_eq!(answer.status(), 404, "metrics are served on the management port");
    let mut doctor = tokio::process::Command::new(program("citycode"));
    doctor.args(["doctor", "--output", "json", "--server", portal.url()]);
    let doctor = Process::output(&mut doctor).await;
    let found: Value = serde_json::from_slice(&doctor.expect("it runs").stdout).expect("JSON");
    assert_eq!(found["checks"][0]["check"], "server", "{found}");
    assert_eq!(found["checks"][0]["ok"], true, "{found}");
}
