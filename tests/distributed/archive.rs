//! An archive that follows a city in use, and a city that is restored from it on other servers.

use citycode_test_support::program;
use std::time::Duration;

use citycode_testkit::{IdNumbers, NatsServer, Process, Running, StartError, eventually};
use jiff::civil::date;
use serde_json::Value;

use crate::city::{City, DEADLINE, audit, behind, citycode, issuer, portal, revocation, verifier};
use crate::disaster_recovery::{succeeded, vault};

const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_follows_the_city_and_restores_its_log_on_other_servers() {
    let mut city = City::on_one().await;
    city.provision().await;
    let archive = city.folder.path().join("archive");
    let (from, to) = (city.urls()[0].clone(), archive.display().to_string());
    let monitor = city.server().monitor_url();
    let places = ["--from", &from, "--to", &to, "--replicas", "1", "--monitor", &monitor];
    let words: Vec<&str> = ["archive", "--every", "1"].into_iter().chain(places).collect();
    let following = async || Running::start(&program("citycode"), &words, DEADLINE).await;
    let archiving = following().await.expect("it starts");
    let (code, old) = issue_twice(&city, "before").await;
    eventually("something is archived", PATIENCE, || async {
        archiving.said().contains("archived")
    })
    .await;
    assert!(archiving.terminate(DEADLINE).await.success());
    let older = city.folder.path().join("older").display().to_string();
    let words = ["migrate", "--from", &to, "--to", &older];
    citycode_json(&words).await.expect("it is copied");
    // The next run continues where this one ended, after it compared the existing archive.
    let archiving = following().await.expect("it starts again");
    assert!(archiving.url().starts_with("archive of "), "{}", archiving.url());
    let (last, _) = issue_twice(&city, "after").await;
    let caught_up = async || {
        let words = [
            "migrate",
            "--from",
            &from,
            "--to",
            &to,
            "--replicas",
            "1",
            "--monitor",
            &monitor,
        ];
        let copied = citycode_json(&words);
        copied.await.is_some_and(|answer| answer["copied"] == 0)
    };
    eventually("everything is archived", PATIENCE, || async {
        archiving.said().contains("archived")
    })
    .await;
    assert!(archiving.terminate(DEADLINE).await.success());
    eventually("the rest is taken and compared", PATIENCE, caught_up).await;
    went_back(&older, &to).await;

    // The archive contains only the log; the vault has a separate backup.
    let backup = city.folder.path().join("vault").display().to_string();
    succeeded(&vault(&city, &["back-up", "--to", &backup]).await);
    let server = NatsServer::start().await;
    let (to, monitor) = (server.url(), server.monitor_url());
    let from = archive.display().to_string();
    let words = [
        "restore",
        "--from",
        &from,
        "--to",
        &to,
        "--replicas",
        "1",
        "--monitor",
        &monitor,
    ];
    let restored = citycode_json(&words).await.expect("it is restored");
    assert!(restored["commits"].as_u64() > Some(6), "{restored}");
    city.move_to(server);
    succeeded(&vault(&city, &["bring-back", "--from", &backup]).await);
    codes_are_what_they_were(&city, [(&code, "admit"), (&last, "admit"), (&old, "refuse")]).await;
}

async fn codes_are_what_they_were(city: &City, codes: [(&String, &str); 3]) {
    city.provision().await;
    let portal = Portal::start(city, "moved").await;
    for (token, wanted) in codes {
        eventually("its codes are what they were", PATIENCE, || async {
            city.decision(portal.portal.url(), "staffed", token)
                .await
                .starts_with(wanted)
        })
        .await;
    }
}

/// The archive command fails if it starts on a log that is shorter than the archive.
async fn went_back(source: &str, archive: &str) {
    let words = ["archive", "--from", source, "--to", archive];
    let started = Running::start(&program("citycode"), &words, DEADLINE).await;
    let Err(StartError::Ended { status, said }) = started else {
        panic!("it does not end");
    };
    assert!(
        !status.success() && said.contains("extends past the end of the source"),
        "{said}"
    );
}

#[tokio::test]
async fn an_archive_that_waits_for_a_silent_server_stops_on_sigterm() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let source = format!("nats://{}", silent.local_addr().expect("an address"));
    let folder = tempfile::tempdir().expect("a folder");
    let archive = folder.path().join("archive").display().to_string();
    let mut command = tokio::process::Command::new(program("citycode"));
    command.args(["archive", "--from", &source, "--to", &archive, "--unproven"]);
    let mut archiving = Process::start(&mut command).expect("it starts");
    // The signal handler is installed before the first connection.
    let called = tokio::time::timeout(DEADLINE, silent.accept()).await;
    let _says_nothing = called.expect("it calls").expect("a connection");
    archiving.sigterm();
    let ended = tokio::time::timeout(DEADLINE, archiving.wait()).await;
    let status = ended.expect("it goes");
    assert!(status.success(), "{status}");
}

/// One of each service.
struct Portal {
    portal: Running,
    _behind: [Running; 4],
}

impl Portal {
    async fn start(city: &City, name: &str) -> Self {
        let issuer = city.start(&issuer(), &format!("issuer-{name}"), "").await;
        let revocation = city.start(&revocation(), &format!("revocation-{name}"), "").await;
        let verifier = city.start(&verifier(), &format!("verifier-{name}"), "").await;
        let audit = city.start(&audit(), &format!("audit-{name}"), "").await;
        let services = behind(&[issuer.url()], &[revocation.url()], &[verifier.url()], &[audit.url()]);
        Self {
            portal: city.start(&portal(), &format!("portal-{name}"), &services).await,
            _behind: [issuer, revocation, verifier, audit],
        }
    }
}

/// Issues two codes with newly started services: returns the valid code and the superseded one.
async fn issue_twice(city: &City, name: &str) -> (String, String) {
    let portal = Portal::start(city, name).await;
    let id_number = IdNumbers::new(name.len() as u64).born(date(1950, 5, 5));
    city.register(portal.portal.url(), &id_number).await;
    let old = city.issue(portal.portal.url(), &id_number, "offline").await;
    let new = city.issue(portal.portal.url(), &id_number, "offline").await;
    let token = |code: &Value| code["token"].as_str().expect("a code").to_owned();
    (token(&new), token(&old))
}

async fn citycode_json(words: &[&str]) -> Option<Value> {
    let words: Vec<&str> = words.iter().copied().chain(["--output", "json"]).collect();
    let words: Vec<_> = words.iter().map(AsRef::as_ref).collect();
    serde_json::from_slice(&citycode(&words).await).ok()
}
