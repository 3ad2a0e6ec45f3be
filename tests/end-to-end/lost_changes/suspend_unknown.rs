//! `citycode vault suspend-unknown` on the data folder of a `citycode up`: the last step after an older vault was
//! restored.

use std::path::Path;

use citycode_testkit::{IdNumbers, Process};
use serde_json::{Value, json};

use super::{City, issue, token};
use crate::folders::copy_folder;
use crate::server::binary;

impl City {
    /// Runs the command; returns whether it succeeded, and its output.
    async fn suspend_unknown(&self, backup: &Path, more: &[&str]) -> (bool, String) {
        let mut command = tokio::process::Command::new(binary());
        command
            .args(["vault", "suspend-unknown", "--output", "json", "--config", &self.config])
            .args([Path::new("--data"), &self.data, Path::new("--backup"), backup])
            .args(more)
            .env("HOME", self.folder.path());
        let ran = Process::output(&mut command).await.expect("it runs");
        let said = [ran.stdout, ran.stderr].concat();
        (ran.status.success(), String::from_utf8_lossy(&said).into_owned())
    }

    async fn is_not_suspended(&self, backup: &Path, more: &[&str], reason: &str) {
        let (done, said) = self.suspend_unknown(backup, more).await;
        assert!(!done && said.contains(reason), "{more:?}: {said}");
    }

    async fn is_suspended(&self, backup: &Path, more: &[&str]) -> Value {
        let (done, said) = self.suspend_unknown(backup, more).await;
        assert!(done, "{more:?}: {said}");
        serde_json::from_str(&said).expect("JSON")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r03_the_last_step_of_a_restore_suspends_codes_of_people_who_are_not_in_the_vault() {
    let city = City::new();
    let person = IdNumbers::new(74).aged(40, jiff::civil::date(2026, 1, 1));
    let (backup, newer) = (city.aside("backup"), city.aside("newer"));
    city.start().await.stop().await;
    copy_folder(&city.data, &backup);
    let server = city.start().await;
    server.register(&person).await;
    let code = issue(&server, &person).await;
    server.stop().await;
    copy_folder(&city.data, &newer);
    std::fs::remove_dir_all(city.data.join("vault")).expect("lost");
    copy_folder(&backup.join("vault"), &city.data.join("vault"));

    assert!(city.refused(&[]).await.contains("the part `vault` is older"));
    city.is_not_suspended(&newer, &["--count", "1"], "is older than it")
        .await;
    city.is_not_suspended(&city.aside("nothing"), &[], "is missing or empty")
        .await;
    city.is_not_suspended(&backup, &[], "give --count 1").await;
    let listed = city.is_suspended(&backup.join("vault"), &["--dry-run"]).await;
    let codes = json!([code["code_id"]]);
    assert_eq!((&listed["codes"], &listed["ended"]), (&codes, &json!(0)));
    assert!(
        city.refused(&[]).await.contains("the part `vault` is older"),
        "nothing was changed"
    );
    let done = city.is_suspended(&backup, &["--count", "1"]).await;
    assert_eq!((&done["codes"], &done["ended"]), (&codes, &json!(1)));

    let server = city.start().await;
    server.register(&person).await;
    let new = issue(&server, &person).await;
    assert_eq!(server.decision(token(&code)).await, "refuse/suspended");
    assert_eq!(server.decision(token(&new)).await, "admit/ok");
    server.stop().await;
    city.start().await.stop().await;
}
