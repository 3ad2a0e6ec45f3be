//! An older copy of the data folder replaces the newest one: the start detects it, reports what is missing, and makes
//! it safe once the operator accepts the loss. A crash is never mistaken for a loss.

mod kills;
mod older_parts;
mod suspend_unknown;

use std::path::{Path, PathBuf};
use std::time::Duration;

use citycode_testkit::{IdNumbers, Process, Running, StartError};
use serde_json::{Value, json};

use crate::folders::{self, copy_folder};
use crate::server::{Server, binary};

/// Time limit for a start on a loaded machine with two cores.
const DEADLINE: Duration = Duration::from_secs(60);

/// A data folder with its marks next to it, as an operator configures it.
struct City {
    folder: tempfile::TempDir,
    data: PathBuf,
    config: String,
}

impl City {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (data, config) = (folder.path().join("data"), folder.path().join("up.toml"));
        let marks = folder.path().join("marks");
        std::fs::write(&config, format!("marks = \"{}\"\n", marks.display())).expect("written");
        Self {
            data,
            config: config.display().to_string(),
            folder,
        }
    }

    fn aside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn log_id(&self) -> String {
        folders::log_id(&self.data)
    }

    async fn start(&self) -> Server {
        self.start_with(&[]).await
    }

    async fn start_with(&self, flags: &[&str]) -> Server {
        let all: Vec<&str> = ["--config", &self.config]
            .into_iter()
            .chain(flags.iter().copied())
            .collect();
        Server::start_with_flags(&self.data, &all).await
    }

    async fn refused(&self, flags: &[&str]) -> String {
        let data = self.data.display().to_string();
        let mut words = vec![
            "up",
            "--listen",
            "127.0.0.1:0",
            "--data",
            &data,
            "--config",
            &self.config,
        ];
        words.extend(flags);
        match Running::start(&binary(), &words, DEADLINE).await {
            Err(StartError::Ended { status, said }) => {
                assert!(!status.success(), "{said}");
                said
            }
            Err(error) => panic!("{error}"),
            Ok(running) => panic!("it starts, and said {}", running.said()),
        }
    }

    /// A backup as documented: the folder without derived state.
    fn back_up(&self, to: &Path) {
        copy_folder(&self.data, to);
        for derived in ["projections", "audit"] {
            std::fs::remove_dir_all(to.join(derived)).expect("removed");
        }
    }

    fn restore(&self, from: &Path) {
        std::fs::remove_dir_all(&self.data).expect("lost");
        copy_folder(from, &self.data);
    }
}

async fn issue(server: &Server, person: &str) -> Value {
    let request = json!({ "kind": "sampling", "id_number": person, "channel": "app" });
    server.post("issue", request).await
}

fn token(code: &Value) -> &str {
    code["token"].as_str().expect("a token")
}

/// A journal that is missing, empty or truncated may lack erased people: the loss is refused, and nothing changes.
async fn no_loss_is_accepted_without_the_journal(city: &City) {
    let journal = city.aside("marks").join(format!("{}.journal", city.log_id()));
    let whole = std::fs::read_to_string(&journal).expect("a journal");
    let last = whole.trim_end().rfind('\n').expect("several lines");
    for wrong in [
        None,
        Some(""),
        Some(&whole[..last + 1]),
        Some(&whole[..whole.len() - 7]),
    ] {
        match wrong {
            None => std::fs::remove_file(&journal).expect("removed"),
            Some(text) => std::fs::write(&journal, text).expect("written"),
        }
        let said = city.refused(&["--accept-loss", &city.log_id()]).await;
        assert!(said.contains("does not match its mark"), "{wrong:?}: {said}");
    }
    std::fs::write(&journal, &whole).expect("brought back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_backup_is_refused_and_once_accepted_no_lost_code_is_valid_and_no_erased_person_reappears() {
    let city = City::new();
    let mut numbers = IdNumbers::new(71);
    let day = jiff::civil::date(2026, 1, 1);
    let (kept, erased, late) = (numbers.aged(40, day), numbers.aged(41, day), numbers.aged(42, day));
    let server = city.start().await;
    server.register(&kept).await;
    server.register(&erased).await;
    let before = issue(&server, &kept).await;
    let of_erased = issue(&server, &erased).await;
    server.stop().await;
    let backup = city.aside("backup");
    city.back_up(&backup);

    let server = city.start().await;
    server.post("erase", json!({ "id_number": erased })).await;
    server.register(&late).await;
    let in_lost_period = issue(&server, &late).await;
    assert_eq!(server.decision(token(&in_lost_period)).await, "admit/ok");
    server.stop().await;
    city.restore(&backup);

    let said = city.refused(&[]).await;
    let accept = format!("--accept-loss {}", city.log_id());
    assert!(
        said.contains("the part `log` is older") && said.contains(&accept),
        "{said}"
    );
    assert!(
        said.contains("changes made between 20") && said.contains(" and 20"),
        "from when to when: {said}"
    );
    city.refused(&["--accept-loss", &"0b".repeat(16)]).await;
    no_loss_is_accepted_without_the_journal(&city).await;
    let flags = ["--accept-loss", &city.log_id()];
    let server = city.start_with(&flags).await;
    assert_eq!(server.decision(token(&in_lost_period)).await, "refuse/revoked");
    assert_eq!(
        server.decision(token(&before)).await,
        "admit/ok",
        "issued before the loss"
    );
    assert_eq!(server.decision(token(&of_erased)).await, "refuse/revoked");
    let (status, problem) = server
        .call(
            "issue",
            &json!({ "kind": "sampling", "id_number": erased, "channel": "app" }),
        )
        .await
        .expect("an answer");
    assert_eq!((status, &problem["code"]), (404, &json!("not_registered")), "{problem}");
    server.register(&late).await;
    let again = issue(&server, &late).await;
    assert_eq!(server.decision(token(&again)).await, "admit/ok");
    assert_ne!(again["status"], in_lost_period["status"], "no index is used twice");
    server.stop().await;

    assert!(city.refused(&flags).await.contains("nothing is lost"));
    let server = city.start().await;
    assert_eq!(server.decision(token(&in_lost_period)).await, "refuse/revoked");
    assert_eq!(server.decision(token(&again)).await, "admit/ok");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_vault_is_refused_and_once_accepted_no_person_has_two_valid_codes() {
    let city = City::new();
    let person = IdNumbers::new(72).aged(40, jiff::civil::date(2026, 1, 1));
    city.start().await.stop().await;
    let older = city.aside("vault");
    copy_folder(&city.data.join("vault"), &older);
    let server = city.start().await;
    server.register(&person).await;
    let code = issue(&server, &person).await;
    server.stop().await;
    std::fs::remove_dir_all(city.data.join("vault")).expect("lost");
    copy_folder(&older, &city.data.join("vault"));

    let said = city.refused(&[]).await;
    assert!(
        said.contains("the part `vault` is older") && said.contains("1 people registered"),
        "{said}"
    );
    let server = city.start_with(&["--accept-loss", &city.log_id()]).await;
    assert_eq!(server.decision(token(&code)).await, "refuse/suspended");
    let id = code["code_id"].as_str().expect("an id");
    let words = [
        "--server",
        server.process.url(),
        "revoke",
        "--code-id",
        id,
        "--reason",
        "核实身份",
    ];
    let mut command = server.process.command(&binary());
    command.args(words);
    let revoked = Process::output(&mut command).await.expect("it runs");
    assert!(revoked.status.success(), "{}", String::from_utf8_lossy(&revoked.stderr));
    assert_eq!(server.decision(token(&code)).await, "refuse/revoked");
    server.register(&person).await;
    let new = issue(&server, &person).await;
    assert_eq!(server.decision(token(&new)).await, "admit/ok");
    server.stop().await;
    city.start().await.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_diverged_log_is_refused_and_a_missing_mark_is_reported() {
    let city = City::new();
    let person = IdNumbers::new(73).aged(40, jiff::civil::date(2026, 1, 1));
    let server = city.start().await;
    assert!(
        !server.process.said().contains("there is no mark"),
        "a new log has nothing to lose"
    );
    server.register(&person).await;
    server.stop().await;
    let copy = city.aside("copy");
    city.back_up(&copy);
    let server = city.start().await;
    issue(&server, &person).await;
    server.stop().await;
    let (marks, aside) = (city.aside("marks"), city.aside("marks-aside"));
    std::fs::rename(&marks, &aside).expect("lost");
    city.restore(&copy);
    // Without a mark the older copy is not detected and accepts commits.
    let server = city.start().await;
    assert!(server.process.said().contains("there is no mark"));
    issue(&server, &person).await;
    issue(&server, &person).await;
    server.stop().await;
    std::fs::remove_dir_all(&marks).expect("removed");
    std::fs::rename(&aside, &marks).expect("found again");
    let said = city.refused(&[]).await;
    assert!(
        said.contains("it diverged"),
        "the same positions, other changes: {said}"
    );
}
