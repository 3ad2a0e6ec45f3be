//! A server whose folder is replaced by an older copy: services with a newer state refuse it and report the reason.

use std::path::Path;

use citycode_testkit::{IdNumbers, Process, Running, eventually};
use jiff::civil::date;
use serde_json::json;

use crate::city::{City, DEADLINE, audit, behind, issuer, portal, revocation, verifier};
use crate::observations::PATIENCE;

/// The readiness of a service: status and report.
async fn health(url: &str) -> String {
    let Ok(answer) = reqwest::get(format!("{url}/health/ready")).await else {
        return String::new();
    };
    format!(
        "{} {}",
        answer.status().as_u16(),
        answer.text().await.unwrap_or_default()
    )
}

/// Whether it reports that the log went back.
fn refuses(health: &str) -> bool {
    let reasons = ["seen before", "WENT BACK", "went back"];
    health.starts_with("503") && reasons.iter().any(|reason| health.contains(reason))
}

async fn copy(from: &Path, to: &Path) {
    let mut command = tokio::process::Command::new("cp");
    command.arg("-a").arg(from).arg(to);
    let copied = Process::output(&mut command).await;
    assert!(
        copied.is_ok_and(|copied| copied.status.success()),
        "{} is copied",
        from.display()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_copy_of_the_log_is_refused_by_services_with_a_newer_state() {
    let mut city = City::on_one().await;
    city.provision().await;
    let (store, aside) = (city.server().store_folder(), city.folder.path().join("older"));
    let issuer_running = city.start(&issuer(), "issuer", "").await;
    let revocation_running = city.start(&revocation(), "revocation", "").await;
    let verifier_running = city.start(&verifier(), "verifier", "").await;
    let audit_running = city.start(&audit(), "audit", "").await;
    let services = behind(
        &[issuer_running.url()],
        &[revocation_running.url()],
        &[verifier_running.url()],
        &[audit_running.url()],
    );
    let portal = city.start(&portal(), "portal", &services).await;
    let id_number = IdNumbers::new(71).born(date(1950, 5, 5));
    city.register(portal.url(), &id_number).await;
    city.issue(portal.url(), &id_number, "offline").await;
    city.server_mut().kill9().await;
    copy(&store, &aside).await;
    city.server_mut().restart().await;
    // These commits are missing in the older copy that is restored below.
    let mut token = String::new();
    for _ in 0..3 {
        eventually("people are served again", PATIENCE, || async {
            let order = json!({ "id_number": id_number, "kind": "offline", "channel": "kiosk" });
            city.call(portal.url(), "issue", &order)
                .await
                .is_some_and(|(status, _)| status == 200)
        })
        .await;
        let code = city.issue(portal.url(), &id_number, "offline").await;
        code["token"].as_str().expect("a code").clone_into(&mut token);
    }
    eventually("the code admits", PATIENCE, || async {
        city.decision(portal.url(), "staffed", &token)
            .await
            .starts_with("admit")
    })
    .await;
    put_back(&mut city, &store, &aside).await;
    for running in [&issuer_running, &revocation_running, &verifier_running, &audit_running] {
        eventually("it says that the log went back", PATIENCE, || async {
            refuses(&health(running.url()).await)
        })
        .await;
    }
    is_reported_once(&city, portal.url(), [&issuer_running, &revocation_running]).await;
    let order = json!({ "id_number": id_number, "kind": "offline", "channel": "kiosk" });
    for path in ["issue", "report-loss"] {
        let refused = city.call(portal.url(), path, &order).await;
        assert_eq!(
            refused.as_ref().map(|(status, _)| *status),
            Some(503),
            "{path}: {refused:?}"
        );
    }
    eventually("nobody is let in on what cannot be proved", PATIENCE, || async {
        let decision = city.decision(portal.url(), "staffed", &token).await;
        decision.starts_with("cannot_check") || decision.contains("503")
    })
    .await;
    // A service that restarts from its snapshot refuses the log, too.
    for (program, name, running) in [
        (verifier(), "verifier", verifier_running),
        (issuer(), "issuer", issuer_running),
        (revocation(), "revocation", revocation_running),
    ] {
        drop(running.kill_9().await);
        restarts_and_refuses(&city, &program, name).await;
    }
    assert!(portal.terminate(DEADLINE).await.success());
}

/// A service that stopped using a log reports it once, regardless of the number of calls and retries.
async fn is_reported_once(city: &City, portal: &str, writers: [&Running; 2]) {
    let order = json!({ "id_number": "11010519491231002X", "kind": "offline", "channel": "kiosk" });
    for _ in 0..100 {
        for path in ["issue", "report-loss"] {
            let _ = city.call(portal, path, &order).await;
        }
    }
    for writer in writers {
        let said = writer.said();
        let reports = said.matches("is not the one that was known").count();
        assert_eq!(reports, 1, "{said}");
        let heartbeats = said.matches("no heartbeat was written").count();
        assert!(heartbeats <= 10, "{heartbeats} reports: {said}");
    }
}

/// Replaces the server's folder by the older copy.
async fn put_back(city: &mut City, store: &Path, aside: &Path) {
    city.server_mut().kill9().await;
    std::fs::remove_dir_all(store).expect("the folder goes");
    copy(aside, store).await;
    city.server_mut().restart().await;
}

/// Checks that a restarted service ends with the reason, or reports it in its health.
async fn restarts_and_refuses(city: &City, program: &Path, name: &str) {
    let port = citycode_testkit::free_port();
    let url = format!("http://127.0.0.1:{port}");
    let starting = city.try_launch(program, name, port, city.urls(), "");
    let says = eventually("it says that the log went back", PATIENCE, || async {
        refuses(&health(&url).await)
    });
    tokio::select! {
        started = starting => {
            let error = match started {
                Ok(running) => panic!("{name} comes up; it said:\n{}", running.said()),
                Err(error) => error.to_string(),
            };
            assert!(refuses(&format!("503 {error}")), "{name}: {error}");
        }
        () = says => {}
    }
}
