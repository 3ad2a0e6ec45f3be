//! A part of the data folder is lost, empty, or of another folder: the start is refused and names it, and only
//! `--begin-anew` starts, once.

use std::path::{Path, PathBuf};
use std::time::Duration;

use citycode_testkit::{IdNumbers, Process, Running, StartError};
use serde_json::json;

use crate::folders::{self, copy_folder};
use crate::server::{Server, binary};

/// Time limit for a start on a loaded machine with two cores.
const DEADLINE: Duration = Duration::from_secs(60);

/// The folder of a stopped system with one resident, who has codes of two kinds.
struct City {
    _folder: tempfile::TempDir,
    data: PathBuf,
    person: String,
    codes: [String; 2],
}

impl City {
    async fn with_one_resident() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().join("data");
        let server = Server::start(&data).await;
        let person = IdNumbers::new(61).aged(70, jiff::civil::date(2026, 1, 1));
        server.register(&person).await;
        let codes = [
            issue(&server, &person, "sampling", "app").await,
            issue(&server, &person, "offline", "pc").await,
        ];
        server.stop().await;
        Self {
            _folder: folder,
            data,
            person,
            codes,
        }
    }

    fn log_id(&self) -> String {
        folders::log_id(&self.data)
    }

    /// The error of a start, which must fail.
    async fn refused(&self, flags: &[&str]) -> String {
        refused(&self.data, flags).await
    }

    async fn started(&self, flags: &[&str]) -> Server {
        Server::start_with_flags(&self.data, flags).await
    }
}

async fn issue(server: &Server, person: &str, kind: &str, channel: &str) -> String {
    let code = server
        .post(
            "issue",
            json!({ "kind": kind, "id_number": person, "channel": channel }),
        )
        .await;
    code["token"].as_str().expect("a token").to_owned()
}

async fn refused(data: &Path, flags: &[&str]) -> String {
    let data = data.display().to_string();
    let mut words = vec!["up", "--listen", "127.0.0.1:0", "--data", &data];
    words.extend(flags);
    match Running::start(&binary(), &words, DEADLINE).await {
        Err(StartError::Ended { status, said }) => {
            assert!(!status.success(), "{said}");
            said
        }
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it starts"),
    }
}

fn remove(path: &Path) {
    if path.is_dir() {
        std::fs::remove_dir_all(path).expect("removed");
    } else {
        std::fs::remove_file(path).expect("removed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_vault_is_not_silently_recreated_and_no_person_gets_a_second_valid_code() {
    let city = City::with_one_resident().await;
    let vault = city.data.join("vault");
    for lost in ["vault/vault.redb", "vault/vault.keys", "vault"] {
        remove(&city.data.join(lost));
        let said = city.refused(&[]).await;
        assert!(
            said.contains("the part `vault`") && said.contains("restore it"),
            "{said}"
        );
        let asks = format!("--begin-anew vault={}", city.log_id());
        assert!(said.contains(&asks), "{said}");
        assert!(
            !vault.join("vault.redb").exists() || lost == "vault/vault.keys",
            "a vault was made"
        );
    }
    std::fs::create_dir(&vault).expect("an empty folder");
    std::fs::write(vault.join("vault.redb"), b"").expect("an empty file");
    let said = city.refused(&[]).await;
    assert!(said.contains("the part `vault`"), "{said}");
    let other = format!("vault={}", "0a".repeat(16));
    let said = city.refused(&["--begin-anew", &other]).await;
    assert!(said.contains(&city.log_id()), "another log is not confirmed: {said}");

    let anew = format!("vault={}", city.log_id());
    let server = city.started(&["--begin-anew", &anew]).await;
    for code in &city.codes {
        assert_eq!(server.decision(code).await, "refuse/suspended");
    }
    server.register(&city.person).await;
    let new = issue(&server, &city.person, "sampling", "app").await;
    assert_eq!(server.decision(&new).await, "admit/ok");
    server.stop().await;
    let said = city.refused(&["--begin-anew", &anew]).await;
    assert!(said.contains("is intact"), "the flag works once: {said}");
    let server = city.started(&[]).await;
    assert_eq!(server.decision(&new).await, "admit/ok");
    assert_eq!(server.decision(&city.codes[0]).await, "refuse/suspended");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_log_is_not_silently_recreated_and_its_signing_keys_are_retired() {
    let city = City::with_one_resident().await;
    let lost = city.log_id();
    let signing = |folder: &str| -> Vec<String> {
        let entries = std::fs::read_dir(city.data.join(folder)).expect("a folder").flatten();
        let names = entries.map(|entry| entry.file_name().display().to_string());
        names.filter(|name| name.starts_with("signing-")).collect()
    };
    let old_keys = signing("keys");
    remove(&city.data.join("log/log.redb"));
    assert!(city.refused(&[]).await.contains("the part `log`"));
    remove(&city.data.join("log"));
    let said = city.refused(&[]).await;
    assert!(said.contains("the part `log`") && said.contains(&lost), "{said}");
    assert!(!city.data.join("log/log.redb").exists(), "a log was made");

    let anew = format!("log={lost}");
    let server = city.started(&["--begin-anew", &anew]).await;
    assert_ne!(city.log_id(), lost);
    assert_eq!(signing("keys/retired"), old_keys);
    for retired in ["keys/retired/list-names.key", "keys/retired/log-signing.key"] {
        assert!(city.data.join(retired).exists(), "{retired}");
    }
    // Its checkpoints are signed from the start, and not compared with those of the lost log.
    assert!(city.data.join("log-trees.set-aside-1").is_dir());
    let health = server.get_text("/health/ready").await;
    assert!(!health.contains("no checkpoint is signed"), "{health}");
    assert!(signing("keys").iter().all(|name| !old_keys.contains(name)));
    for code in &city.codes {
        let decision = server.decision(code).await;
        assert!(decision.starts_with("refuse/"), "{decision}");
    }
    server.register(&city.person).await;
    let new = issue(&server, &city.person, "sampling", "app").await;
    assert_eq!(server.decision(&new).await, "admit/ok");
    server.stop().await;
    city.refused(&["--begin-anew", &anew]).await;
    let server = city.started(&[]).await;
    let mut command = tokio::process::Command::new(binary());
    command.args(["log", "check", "--server", server.process.url(), "--token-file"]);
    command.arg(city.data.join("admin.token"));
    let checked = Process::output(&mut command).await.expect("it runs");
    assert_eq!(
        checked.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&checked.stdout)
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_scan_records_are_detected_and_parts_of_another_folder_are_refused() {
    let city = City::with_one_resident().await;
    remove(&city.data.join("scans"));
    std::fs::create_dir(city.data.join("scans")).expect("emptied");
    let said = city.refused(&[]).await;
    assert!(said.contains("the part `scans`"), "{said}");
    let anew = format!("scans={}", city.log_id());
    city.started(&["--begin-anew", &anew]).await.stop().await;
    assert!(city.refused(&["--begin-anew", &anew]).await.contains("is intact"));

    let other = City::with_one_resident().await;
    for part in ["log", "vault", "scans", "keys", "queries"] {
        let (own, aside) = (city.data.join(part), city.data.join("aside"));
        std::fs::rename(&own, &aside).expect("aside");
        copy_folder(&other.data.join(part), &own);
        let said = city.refused(&[]).await;
        let named = said.contains(&format!("the part `{part}`")) && said.contains("another log");
        assert!(named || part == "keys" && said.contains("`keys`"), "{part}: {said}");
        remove(&own);
        std::fs::rename(&aside, &own).expect("back");
    }
    for key in ["id-check.key", "status-signing.key"] {
        let own = city.data.join("keys").join(key);
        let kept = std::fs::read(&own).expect("a key");
        std::fs::copy(other.data.join("keys").join(key), &own).expect("another's");
        let said = city.refused(&[]).await;
        assert!(said.contains("the part `keys`") && said.contains(key), "{said}");
        std::fs::write(&own, kept).expect("back");
    }
    // Records without the key of their day are lost.
    let server = city.started(&[]).await;
    assert_eq!(server.decision(&city.codes[0]).await, "admit/ok");
    server.stop().await;
    let (keys, aside) = (city.data.join("scans/keys"), city.data.join("aside"));
    std::fs::rename(&keys, &aside).expect("aside");
    let said = city.refused(&[]).await;
    assert!(said.contains("the part `scans`"), "{said}");
    std::fs::rename(&aside, &keys).expect("back");
    city.started(&[]).await.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_of_an_earlier_release_is_adopted_once_and_not_without_its_vault() {
    let city = City::with_one_resident().await;
    // A folder of an earlier release has no manifest and no identity of the log in `keys`.
    let log_id = city.log_id();
    remove(&city.data.join("manifest.toml"));
    remove(&city.data.join("keys/log-id"));
    let aside = city.data.join("aside");
    std::fs::rename(city.data.join("vault"), &aside).expect("aside");
    let said = city.refused(&[]).await;
    assert!(said.contains("the part `vault`") && said.contains(&log_id), "{said}");
    assert!(!city.data.join("manifest.toml").exists(), "nothing was adopted");
    std::fs::rename(&aside, city.data.join("vault")).expect("back");
    std::fs::rename(city.data.join("log"), &aside).expect("aside");
    let said = city.refused(&[]).await;
    assert!(said.contains("the part `log`") && said.contains(&log_id), "{said}");
    std::fs::rename(&aside, city.data.join("log")).expect("back");

    let server = city.started(&[]).await;
    assert_eq!(server.decision(&city.codes[0]).await, "admit/ok");
    assert!(
        server
            .process
            .said()
            .contains("this data folder is of an earlier release")
    );
    server.stop().await;
    assert_eq!(city.log_id(), log_id);
    let server = city.started(&[]).await;
    assert!(
        !server
            .process
            .said()
            .contains("this data folder is of an earlier release")
    );
    server.stop().await;
}
