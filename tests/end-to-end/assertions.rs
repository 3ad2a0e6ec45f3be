//! Channels that may act for a person only with an identity provider's assertion (`needs_assertion` in the policy).

mod command_line;

use std::path::Path;

use citycode_policy_file::SHANGHAI;
use citycode_testkit::IdNumbers;
use jiff::civil::date;
use serde_json::{Value, json};

use crate::commands::out;
use crate::server::{Server, binary};
use citycode_test_support::{ISSUER, Provider};

/// A server whose app and terminals need assertions, and the provider of the assertions.
struct Asserting {
    server: Server,
    provider: Provider,
    folder: tempfile::TempDir,
    numbers: IdNumbers,
}

impl Asserting {
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let provider = Provider::default();
        let policy = SHANGHAI.replace("\n# needs_assertion = true\n", "\nneeds_assertion = true\n");
        let keys = folder.path().join("provider.json");
        let config = format!("[assertion_provider]\nissuer = {ISSUER:?}\njwks_file = {keys:?}\n");
        for (name, text) in [
            ("policy.toml", policy),
            ("provider.json", provider.jwks()),
            ("up.toml", config),
        ] {
            std::fs::write(folder.path().join(name), text).expect("a file");
        }
        Self {
            server: serve(folder.path()).await,
            provider,
            folder,
            numbers: IdNumbers::new(15),
        }
    }

    /// Kills the process, changes its data folder, and restarts it.
    async fn restarted(self, meanwhile: impl FnOnce(&Path)) -> Self {
        let Self {
            server,
            provider,
            folder,
            numbers,
        } = self;
        server.process.kill_9().await;
        meanwhile(&folder.path().join("data"));
        Self {
            server: serve(folder.path()).await,
            provider,
            folder,
            numbers,
        }
    }

    /// Registers a resident with this year of birth.
    async fn resident(&mut self, year: i16) -> String {
        let id_number = self.numbers.born(date(year, 5, 5));
        let person = json!({ "id_number": id_number, "name": "张小三", "channel": "counter" });
        self.server.post("register", person).await;
        id_number
    }

    async fn relate(&self, guardian: &str, dependent: &str) {
        let pair = json!({ "guardian": guardian, "dependent": dependent });
        self.server.post("relate", pair).await;
    }

    async fn issue_at_kiosk(&self, id_number: &str, assertion: &str) -> (u16, Value) {
        self.call("issue", &at_kiosk(id_number, assertion)).await
    }

    async fn call(&self, path: &str, body: &Value) -> (u16, Value) {
        self.server.call(path, body).await.expect("an answer")
    }

    /// A call with a token of this channel only.
    async fn call_as(&self, channel: &str, path: &str, body: &Value) -> (u16, Value) {
        let mut command = tokio::process::Command::new(binary());
        command
            .args([
                "tokens",
                "issue",
                "--for",
                "1h",
                "--role",
                &format!("channel:{channel}"),
            ])
            .args(["--server", self.server.process.url()])
            .env("CITYCODE_TOKEN", &*self.server.token)
            .stdout(std::process::Stdio::piped());
        let issued = citycode_testkit::Process::output(&mut command).await.expect("a token");
        self.server
            .call_by(out(&issued).trim(), path, body)
            .await
            .expect("an answer")
    }
}

async fn serve(folder: &Path) -> Server {
    let [config, policy] = ["up.toml", "policy.toml"].map(|name| folder.join(name).display().to_string());
    let flags = ["--config", &config, "--policy", &policy];
    Server::start_with_flags(&folder.join("data"), &flags).await
}

fn at_kiosk(id_number: &str, assertion: &str) -> Value {
    json!({
        "kind": "offline", "channel": "kiosk", "id_number": id_number,
        "authentication": { "method": "id_card_reader", "assertion": assertion },
    })
}

fn by_guardian(mut body: Value, guardian: &str) -> Value {
    body["guardian"] = json!(guardian);
    body
}

fn refused(answer: &(u16, Value), why: &str) {
    assert_eq!(answer.0, 403, "{}", answer.1);
    assert_eq!(answer.1["code"], "not_allowed", "{}", answer.1);
    assert_eq!(answer.1["outcome"], "not_done", "{}", answer.1);
    let detail = answer.1["detail"].as_str().expect("a detail");
    assert!(detail.contains(why), "{detail}");
}

#[tokio::test]
async fn a_channel_that_needs_assertions_acts_only_for_the_authenticated_person_and_once() {
    let mut city = Asserting::start().await;
    let (holder, other) = (city.resident(1950).await, city.resident(1951).await);
    refused(&city.issue_at_kiosk(&holder, "").await, "not valid");
    refused(&city.issue_at_kiosk(&holder, "a.b.c").await, "not valid");
    let others = city.provider.assertion("j1", &other);
    refused(&city.issue_at_kiosk(&holder, &others).await, "not for this person");
    let late = city.provider.assertion_made("j2", &holder, 131);
    refused(&city.issue_at_kiosk(&holder, &late).await, "expired");
    let early = city.provider.assertion_made("j3", &holder, -30);
    refused(&city.issue_at_kiosk(&holder, &early).await, "outside the time");
    // A refused assertion is not used up.
    let own = city.provider.assertion("j1", &holder);
    let (status, code) = city.issue_at_kiosk(&holder, &own).await;
    assert_eq!(status, 200, "{code}");
    refused(&city.issue_at_kiosk(&holder, &own).await, "used before");
    let lost = at_kiosk(&holder, &own);
    refused(&city.call("report-loss", &lost).await, "used before");
    assert!(
        city.server
            .decision(code["token"].as_str().expect("a token"))
            .await
            .starts_with("admit")
    );
    // A channel that needs no assertion is not affected.
    let at_pc = json!({ "kind": "offline", "channel": "pc", "id_number": other });
    assert_eq!(city.call("issue", &at_pc).await.0, 200);
}

#[tokio::test]
async fn uses_of_assertions_survive_a_restart_and_a_repetition_gets_the_same_answer() {
    let mut city = Asserting::start().await;
    let holder = city.resident(1950).await;
    let assertion = city.provider.assertion("j1", &holder);
    let with_command = |serial: u32| {
        let mut body = at_kiosk(&holder, &assertion);
        body["command_id"] = json!(format!("6ba7b810-9dad-11d1-80b4-{serial:012}"));
        body
    };
    let (status, code) = city.call("issue", &with_command(1)).await;
    assert_eq!(status, 200, "{code}");
    assert_eq!(city.call("issue", &with_command(1)).await, (200, code.clone()));
    let city = city.restarted(|_| ()).await;
    assert_eq!(city.call("issue", &with_command(1)).await, (200, code));
    refused(&city.call("issue", &with_command(2)).await, "used before");
    refused(&city.call("report-loss", &with_command(1)).await, "used before");
    // After a loss of the register, no assertion from before is accepted.
    for lost in ["assertion-uses.redb", "keys/assertion-uses.key"] {
        let city = Asserting::start().await;
        let city = city
            .restarted(|data| std::fs::remove_file(data.join(lost)).expect("it is there"))
            .await;
        let assertion = city.provider.assertion("j2", "11010519491231002X");
        let person = json!({
            "id_number": "11010519491231002X", "name": "王小明", "channel": "kiosk",
            "authentication": { "assertion": assertion },
        });
        refused(&city.call("register", &person).await, "outside the time");
    }
}

#[tokio::test]
async fn an_assertion_does_not_let_a_caller_act_as_another_channel() {
    let mut city = Asserting::start().await;
    let holder = city.resident(1950).await;
    let assertion = city.provider.assertion("j1", &holder);
    let body = at_kiosk(&holder, &assertion);
    refused(
        &city.call_as("bank_kiosk", "issue", &body).await,
        "may not act as this channel",
    );
    let (status, code) = city.call_as("kiosk", "issue", &body).await;
    assert_eq!(status, 200, "{code}");
}

#[tokio::test]
async fn a_guardian_needs_the_guardians_assertion_and_learns_nothing_about_strangers() {
    let mut city = Asserting::start().await;
    let (guardian, child, stranger) = (
        city.resident(1980).await,
        city.resident(2016).await,
        city.resident(2017).await,
    );
    let unknown = city.numbers.born(date(2018, 5, 5));
    city.relate(&guardian, &child).await;
    let childs = city.provider.assertion("child", &child);
    let body = by_guardian(at_kiosk(&child, &childs), &guardian);
    refused(&city.call("issue", &body).await, "not for this person");
    let guardians = city.provider.assertion("guardian", &guardian);
    // The guardian's assertion does not authenticate the holder.
    refused(&city.issue_at_kiosk(&child, &guardians).await, "not for this person");
    let body = by_guardian(at_kiosk(&child, &guardians), &guardian);
    let (status, code) = city.call("issue", &body).await;
    assert_eq!(status, 200, "{code}");
    // A registered stranger and an unregistered number get the same answer (R31).
    for (serial, (path, kind, channel)) in [
        ("issue", "offline", "kiosk"),
        ("report-loss", "offline", "kiosk"),
        ("reprint", "sampling", "app"),
        ("issue", "sampling", "app"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut answers = Vec::new();
        for (name, id_number) in [("stranger", &stranger), ("unknown", &unknown)] {
            let assertion = city.provider.assertion(&format!("{name}-{serial}"), &guardian);
            let body = json!({
                "channel": channel, "kind": kind, "id_number": id_number, "guardian": guardian,
                "authentication": { "assertion": assertion },
            });
            answers.push(city.call(path, &body).await);
        }
        assert_eq!(answers[0], answers[1], "{path} {kind}");
        assert_ne!(answers[0].1["code"], "not_registered", "{path} {kind}");
    }
}

#[tokio::test]
async fn the_log_names_the_channels_that_act_without_an_assertion() {
    let city = Asserting::start().await;
    let said = city.server.process.said();
    let line = said.lines().find(|line| line.contains("act without an assertion"));
    let line = line.unwrap_or_else(|| panic!("{said}"));
    assert!(line.contains("pc, counter"), "{line}");
    assert!(!line.contains("kiosk"), "{line}");
    assert!(!said.contains("they cannot act for any person"), "{said}");
    drop(city.folder);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_corrects_a_name_only_with_the_persons_own_assertion_regardless_of_the_policy() {
    let mut asserting = Asserting::start().await;
    let (person, other) = (asserting.resident(1950).await, asserting.resident(1951).await);
    let issue = json!({ "id_number": person, "kind": "offline", "channel": "pc", "print": true });
    let code = asserting.server.post("issue", issue).await;
    // The policy requires no assertion of this channel for other commands.
    let rename = |assertion: &str| {
        json!({
            "id_number": person, "name": "张晓三四", "reason": "登记笔误", "channel": "pc",
            "authentication": { "method": "face", "assertion": assertion },
        })
    };
    let of_other = asserting.provider.assertion("rename-1", &other);
    for refused in ["", &of_other] {
        let (status, problem) = asserting.call("rename", &rename(refused)).await;
        assert_eq!((status, &problem["code"]), (403, &json!("not_allowed")), "{problem}");
        assert_eq!(problem["outcome"], "not_done", "{problem}");
    }
    let own = asserting.provider.assertion("rename-2", &person);
    let (status, answer) = asserting.call("rename", &rename(&own)).await;
    assert_eq!(status, 200, "{answer}");
    let reprint = json!({ "id_number": person, "kind": "offline", "channel": "pc", "print": true });
    let print = asserting.server.post("reprint", reprint).await;
    assert_eq!(
        (&print["token"], &print["masked_name"]),
        (&code["token"], &json!("张**四"))
    );
}
