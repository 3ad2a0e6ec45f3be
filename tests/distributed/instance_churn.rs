//! Services are started in any order, killed, frozen, stopped and cut off from their servers. Callers of a portal are
//! not affected while one instance of each service is left, and no verdict claims to be fresher than it is.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use citycode_testkit::{IdNumbers, NatsProxy, Running, eventually, eventually_some};
use futures::future::join_all;
use jiff::civil::date;
use parking_lot::Mutex;
use serde_json::json;

use crate::city::{City, DEADLINE, Nats, audit, behind, issuer, portal, revocation, verifier};

const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn services_started_before_their_servers_and_their_log_wait_for_both() {
    let city = City::on_one().await;
    let server = city.server();
    server.sigstop().await;
    let (city_ref, ports) = (&city, [(); 4].map(|()| citycode_testkit::free_port()));
    let programs = [audit(), verifier(), revocation(), issuer()];
    let starting = programs
        .iter()
        .zip(ports)
        .enumerate()
        .map(|(at, (program, port))| async move {
            city_ref
                .launch(program, &format!("service-{at}"), port, city_ref.urls(), "")
                .await
        });
    // All of them answer health checks and report what they wait for.
    let until_all_wait_for = async |what: &str| {
        for port in ports {
            let url = format!("http://127.0.0.1:{port}/health/ready");
            eventually(what, PATIENCE, || async {
                let Ok(answer) = reqwest::get(&url).await else {
                    return false;
                };
                answer.status() == 503 && answer.text().await.is_ok_and(|text| text.contains(what))
            })
            .await;
        }
    };
    let (services, ()) = tokio::join!(join_all(starting), async {
        until_all_wait_for("waiting: no NATS server accepts the connection").await;
        server.sigcont().await;
        until_all_wait_for("waiting: the servers have no event log").await;
        city_ref.provision().await;
    });
    let urls: Vec<&str> = services.iter().map(Running::url).collect();
    let services_of_portal = behind(&[urls[3]], &[urls[2]], &[urls[1]], &[urls[0]]);
    let portal = city.start(&portal(), "portal", &services_of_portal).await;
    let id_number = IdNumbers::new(2).born(date(1950, 5, 5));
    city.register(portal.url(), &id_number).await;
    let code = city.issue(portal.url(), &id_number, "offline").await;
    let code = code["token"].as_str().expect("a code");
    eventually("it admits", PATIENCE, || async {
        city.decision(portal.url(), "sampling_desk", code)
            .await
            .starts_with("admit")
    })
    .await;
    for service in services {
        assert!(service.terminate(DEADLINE).await.success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_portal_that_starts_without_audit_accepts_scans_and_reports_the_missing_service() {
    let city = City::on_one().await;
    city.provision().await;
    let issuer = city.start(&issuer(), "issuer", "").await;
    let revocation = city.start(&revocation(), "revocation", "").await;
    let verifier = city.start(&verifier(), "verifier", "").await;
    let port = citycode_testkit::free_port();
    let away = format!("http://127.0.0.1:{port}");
    let services = behind(&[issuer.url()], &[revocation.url()], &[verifier.url()], &[&away]);
    let portal = city.start(&portal(), "portal", &services).await;
    let said = async || {
        let answer = reqwest::get(format!("{}/health/ready", portal.url())).await.ok()?;
        let is_ready = answer.status() == 200;
        Some((is_ready, answer.text().await.ok()?))
    };
    let (is_ready, health) = said().await.expect("an answer");
    assert!(is_ready && health.contains("no instance answers of: audit"), "{health}");
    let id_number = IdNumbers::new(3).born(date(1950, 5, 5));
    city.register(portal.url(), &id_number).await;
    let code = city.issue(portal.url(), &id_number, "offline").await;
    let code = code["token"].as_str().expect("a code");
    eventually("it admits", PATIENCE, || async {
        city.decision(portal.url(), "staffed", code).await.starts_with("admit")
    })
    .await;
    let _audit = city.launch(&audit(), "audit", port, city.urls(), "").await;
    eventually("nobody is missing", PATIENCE, || async {
        said()
            .await
            .is_some_and(|(is_ready, health)| is_ready && !health.contains("no instance"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_are_not_affected_when_instances_are_killed_frozen_and_stopped() {
    let city = Arc::new(City::on_one().await);
    city.provision().await;
    let mut issuers = Vec::new();
    let mut verifiers = Vec::new();
    for at in 1..=2 {
        issuers.push(city.start(&issuer(), &format!("issuer-{at}"), "").await);
    }
    for at in 1..=3 {
        verifiers.push(city.start(&verifier(), &format!("verifier-{at}"), "").await);
    }
    let revocation = city.start(&revocation(), "revocation", "").await;
    let audit = city.start(&audit(), "audit", "").await;
    let services = behind(
        &[issuers[0].url(), issuers[1].url()],
        &[revocation.url()],
        &[verifiers[0].url(), verifiers[1].url(), verifiers[2].url()],
        &[audit.url()],
    );
    let portal = city.start(&portal(), "portal", &services).await;
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let people = (0..6).map(|person| {
        let (city, stop, done) = (Arc::clone(&city), Arc::clone(&stop), Arc::clone(&done));
        let url = portal.url().to_owned();
        tokio::spawn(async move { live(&city, &url, person, &stop, &done).await })
    });
    let people: Vec<_> = people.collect();
    let settle = async || {
        let before = done.load(Ordering::SeqCst);
        let what = "people go on";
        eventually(what, PATIENCE, || async { done.load(Ordering::SeqCst) > before + 60 }).await;
    };
    settle().await;
    drop(issuers.remove(0).kill_9().await);
    settle().await;
    issuers.push(city.start(&issuer(), "issuer-1", "").await);
    verifiers[0].sigstop();
    settle().await;
    assert!(verifiers.remove(1).terminate(DEADLINE).await.success());
    settle().await;
    verifiers[0].sigcont();
    stop.store(true, Ordering::SeqCst);
    for person in people {
        let life = person.await.expect("no panic");
        assert_eq!(life.failures, Vec::<String>::new());
        assert!(life.codes.len() > 3, "few codes were issued: {}", life.codes.len());
        check(&city, portal.url(), &life).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_city_on_three_servers_survives_the_crash_of_each_in_turn() {
    let mut city = City::on_three().await;
    city.provision().await;
    let issuers = [
        city.start(&issuer(), "issuer-1", "").await,
        city.start(&issuer(), "issuer-2", "").await,
    ];
    let revocation = city.start(&revocation(), "revocation", "").await;
    let verifier = city.start(&verifier(), "verifier", "").await;
    let audit = city.start(&audit(), "audit", "").await;
    let services = behind(
        &[issuers[0].url(), issuers[1].url()],
        &[revocation.url()],
        &[verifier.url()],
        &[audit.url()],
    );
    let portal = city.start(&portal(), "portal", &services).await;
    let Nats::Three(mut servers) = city.take_nats() else {
        unreachable!("it was made on three")
    };
    let city = Arc::new(city);
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let people = (0..4).map(|person| {
        let (city, stop, done) = (Arc::clone(&city), Arc::clone(&stop), Arc::clone(&done));
        let url = portal.url().to_owned();
        tokio::spawn(async move { live(&city, &url, person, &stop, &done).await })
    });
    let people: Vec<_> = people.collect();
    let settle = async || {
        let before = done.load(Ordering::SeqCst);
        eventually("people go on", PATIENCE, || async {
            done.load(Ordering::SeqCst) > before + 30
        })
        .await;
    };
    settle().await;
    for server in 0..3 {
        servers.servers_mut()[server].kill9().await;
        settle().await;
        servers.servers_mut()[server].restart().await;
        settle().await;
    }
    stop.store(true, Ordering::SeqCst);
    for person in people {
        let life = person.await.expect("no panic");
        // An election may cause a 503; the retry of the same command succeeds.
        assert!(
            life.failures.iter().all(|failure| failure.contains("503")),
            "{:?}",
            life.failures
        );
        check(&city, portal.url(), &life).await;
    }
}

/// The codes and failures of one person.
struct Life {
    id_number: String,
    /// Every acknowledged code, in order.
    codes: Vec<String>,
    /// Failed calls; each was retried with its command id until it succeeded.
    failures: Vec<String>,
}

/// Reissues and presents codes until `stop` is set.
async fn live(city: &City, portal: &str, person: u64, stop: &AtomicBool, done: &AtomicU64) -> Life {
    let id_number = IdNumbers::new(100 + person).born(date(1950, 5, 5));
    city.register(portal, &id_number).await;
    let (mut codes, mut failures) = (Vec::<String>::new(), Vec::new());
    for command in 0u64.. {
        if stop.load(Ordering::SeqCst) && !codes.is_empty() {
            break;
        }
        let command_id = uuid::Uuid::from_u64_pair(person, command).to_string();
        let order = json!({ "id_number": id_number, "kind": "offline", "channel": "kiosk", "command_id": command_id });
        loop {
            match city.call(portal, "issue", &order).await {
                Some((200, code)) => {
                    codes.push(code["token"].as_str().expect("a code").to_owned());
                    break;
                }
                other => failures.push(format!("issue: {other:?}")),
            }
        }
        let asked = json!({ "place": "staffed", "code": codes[codes.len() - 1] });
        match city.call(portal, "verify", &asked).await {
            Some((200, _)) => {}
            other => failures.push(format!("verify: {other:?}")),
        }
        done.fetch_add(1, Ordering::SeqCst);
    }
    Life {
        id_number,
        codes,
        failures,
    }
}

/// Of all codes of a person only the last one is valid, and the log contains each exactly once.
async fn check(city: &City, portal: &str, life: &Life) {
    let (newest, older) = life.codes.split_last().expect("some codes");
    eventually("the newest lives", PATIENCE, || async {
        city.decision(portal, "staffed", newest).await.starts_with("admit")
    })
    .await;
    for code in older.iter().rev().take(3) {
        // An overloaded verifier may answer that it cannot check, but it never admits this code.
        eventually("the others are dead", PATIENCE, || async {
            let decision = city.decision(portal, "staffed", code).await;
            assert!(!decision.starts_with("admit"), "{decision}");
            decision.starts_with("refuse")
        })
        .await;
    }
    let asked = json!({ "id_number": life.id_number, "kind": "offline" });
    // The history contains all acknowledged changes, or is `unavailable` while the audit's projection is behind.
    let history = eventually_some("the history is whole", PATIENCE, || async {
        let (status, answer) = city.call(portal, "history", &asked).await?;
        assert!(status == 200 || status == 503, "{status} {answer}");
        (status == 200).then_some(answer)
    })
    .await;
    let entries = history["entries"].as_array().expect("entries");
    let issued = entries.iter().filter(|entry| entry["event"] == "CodeIssued");
    let issued: BTreeSet<&str> = issued.filter_map(|entry| entry["code_id"].as_str()).collect();
    assert_eq!(
        issued.len(),
        life.codes.len(),
        "what was handed over stands in the log, once"
    );
    let handed: BTreeSet<&String> = life.codes.iter().collect();
    assert_eq!(handed.len(), life.codes.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn r24_a_verifier_cut_off_from_the_log_cannot_check_and_recovers_automatically() {
    let city = City::on_one().await;
    city.provision().await;
    let server = city.server();
    let proxy = NatsProxy::to(&server.url(), "cc.ev.").await;
    let issuer = city.start(&issuer(), "issuer", "").await;
    let revocation = city.start(&revocation(), "revocation", "").await;
    let audit = city.start(&audit(), "audit", "").await;
    let cut = city.start_via_proxy(&verifier(), "verifier-1", proxy.address()).await;
    let whole = city.start(&verifier(), "verifier-2", "").await;
    let portals = [&[cut.url()][..], &[cut.url(), whole.url()][..]]
        .map(|verifiers| behind(&[issuer.url()], &[revocation.url()], verifiers, &[audit.url()]));
    let of_cut = city.start(&portal(), "portal-1", &portals[0]).await;
    let of_both = city.start(&portal(), "portal-2", &portals[1]).await;
    let id_number = IdNumbers::new(3).born(date(1950, 5, 5));
    city.register(of_both.url(), &id_number).await;
    let code = city.issue(of_both.url(), &id_number, "offline").await;
    let code = code["token"].as_str().expect("a code").to_owned();
    let decides =
        async |portal: &Running, wanted: &str| city.decision(portal.url(), "staffed", &code).await.starts_with(wanted);
    for portal in [&of_cut, &of_both] {
        eventually("both admit", PATIENCE, || decides(portal, "admit")).await;
    }
    proxy.close();
    // The code dies while the verifier cannot receive the commit.
    let lost = json!({ "id_number": id_number, "kind": "offline", "channel": "kiosk" });
    city.post(of_both.url(), "report-loss", lost).await;
    let said = Mutex::new(Vec::new());
    let limit = Duration::from_secs(10);
    eventually(
        "past the place's limit it cannot check",
        limit + Duration::from_secs(8),
        || async {
            let decision = city.decision(of_cut.url(), "staffed", &code).await;
            let cannot = decision.starts_with("cannot_check");
            said.lock().push(decision);
            cannot
        },
    )
    .await;
    let said = said.into_inner();
    let (last, before) = said.split_last().expect("it was asked");
    assert!(
        before.iter().all(|decision| decision.starts_with("admit")),
        "{before:?}, then {last}"
    );
    // A portal with both verifiers routes calls to the fresh one.
    eventually("the other one answers all", PATIENCE, || async {
        let mut all = true;
        for _ in 0..4 {
            all &= decides(&of_both, "refuse").await;
        }
        all
    })
    .await;
    proxy.open();
    eventually("it knows, by itself", PATIENCE, || decides(&of_cut, "refuse")).await;
}
