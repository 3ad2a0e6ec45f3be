//! Every look at a person, a code or a scan is recorded before it is answered; people learn when and why, and an erasure
//! destroys what leads to them.

use std::time::Duration;

use citycode_testkit::{IdNumbers, StoredBytes, eventually_some};
use serde_json::{Value, json};

use crate::folders::log_id;
use crate::server::Server;

const NAME: &str = "查询测试人";
const PURPOSE: &str = "complaint 17";

struct Town {
    server: Server,
    number: String,
    data: std::path::PathBuf,
    _folder: tempfile::TempDir,
}

impl Town {
    /// A registered person whose code was scanned once.
    async fn with_one_scan() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().join("data");
        let server = Server::start(&data).await;
        let number = IdNumbers::new(21).aged(70, jiff::civil::date(2026, 1, 1));
        let register = json!({ "id_number": number, "name": NAME, "channel": "kiosk" });
        server.post("register", register).await;
        let issue = json!({ "kind": "offline", "id_number": number, "channel": "kiosk" });
        let code = server.post("issue", issue).await;
        let verify = json!({ "place": "staffed", "code": code["token"], "device": "gate-7", "scan_id": "1" });
        server.post("verify", verify).await;
        Self {
            server,
            number,
            data,
            _folder: folder,
        }
    }

    async fn token(&self, role: &str) -> String {
        let request = json!({ "roles": [role], "lifetime_seconds": 3_600, "subject": format!("{role}-1") });
        let token = self.server.post("tokens", request).await;
        token["token"].as_str().expect("a token").to_owned()
    }

    /// Explains the scan, once its record is on the disk.
    async fn explained(&self, token: &str) -> Value {
        let question = json!({ "purpose": PURPOSE, "device": "gate-7", "scan_id": "1" });
        eventually_some("the record is written", Duration::from_secs(30), || async {
            let (status, answer) = self.server.call_by(token, "audit/explain", &question).await?;
            (status == 200).then_some(answer)
        })
        .await
    }

    async fn queries(&self, token: &str) -> Vec<Value> {
        let (status, answer) = self
            .server
            .call_by(token, "audit/queries", &json!({}))
            .await
            .expect("an answer");
        assert_eq!(status, 200, "{answer}");
        answer["queries"].as_array().expect("a list").clone()
    }

    /// Stops the server, and searches its output and its folder for the person.
    async fn has_nothing_of_the_person_on_disk(self) {
        let Town {
            server, number, data, ..
        } = self;
        let said = server.process.said();
        server.stop().await;
        assert!(!said.contains(&number) && !said.contains(NAME));
        let stored = StoredBytes::below(&data);
        for secret in [number.as_bytes(), NAME.as_bytes(), PURPOSE.as_bytes()] {
            assert!(!stored.contain_run_of(secret, secret.len()));
        }
        let keys = std::fs::read_dir(data.join("queries/keys")).expect("keys").flatten();
        let persons = keys.filter(|key| key.file_name().to_string_lossy().starts_with("person-"));
        assert_eq!(persons.count(), 0, "nothing leads from a holder to a query");
    }

    /// A question without a purpose, or with a number in it, is not answered.
    async fn refuses_unsuitable_purposes(&self) {
        for purpose in [
            "",
            "why",
            "complaint of １１０１０５ １９４９１２３１ ００２Ｘ",
            "call 139-1234-5678",
            &self.number,
        ] {
            for (path, rest) in [
                ("audit/explain", json!({ "device": "gate-7", "scan_id": "1" })),
                ("audit/queries/about", json!({ "id_number": self.number })),
                (
                    "audit/run",
                    json!({ "from": "2026-05-01T00:00:00Z", "to": "2026-05-02T00:00:00Z" }),
                ),
            ] {
                let mut body = rest;
                body["purpose"] = json!(purpose);
                let (status, answer) = self.server.call(path, &body).await.expect("an answer");
                assert_eq!(
                    (status, &answer["code"]),
                    (400, &json!("invalid_request")),
                    "{path} {purpose}"
                );
                assert!(!answer.to_string().contains(&self.number));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_is_recorded_with_who_when_and_why_and_only_privacy_officers_read_it() {
    let town = Town::with_one_scan().await;
    let (auditor, officer, privacy) = (
        town.token("auditor").await,
        town.token("officer").await,
        town.token("privacy").await,
    );
    town.explained(&auditor).await;
    for token in [&auditor, &officer] {
        for (path, body) in [
            ("audit/queries", json!({ "purpose": PURPOSE })),
            (
                "audit/queries/about",
                json!({ "purpose": PURPOSE, "id_number": town.number }),
            ),
        ] {
            let (status, answer) = town.server.call_by(token, path, &body).await.expect("an answer");
            assert!(
                status == 403 || answer["code"] == "invalid_request",
                "{path}: {status} {answer}"
            );
            assert!(answer["queries"].is_null(), "{answer}");
        }
    }
    let question = json!({ "purpose": PURPOSE, "device": "gate-7", "scan_id": "1" });
    let (status, _) = town
        .server
        .call_by(&privacy, "audit/explain", &question)
        .await
        .expect("an answer");
    assert_eq!(status, 403, "a privacy officer audits no verdicts");

    let first = town.queries(&privacy).await;
    let explained: Vec<_> = first.iter().filter(|query| query["rows"] == 1).collect();
    let [explained] = explained[..] else {
        panic!("one explained scan: {first:?}");
    };
    assert_eq!(
        (&explained["kind"], &explained["purpose"]),
        (&json!("explain"), &json!(PURPOSE))
    );
    assert_eq!(explained["roles"], json!(["auditor"]));
    assert!(
        explained["asker"].as_str().expect("who").ends_with(" auditor-1"),
        "{explained}"
    );
    assert!(explained["person"].is_string(), "{explained}");
    let second = town.queries(&privacy).await;
    let look = second.last().expect("the first look");
    assert_eq!(
        (&look["kind"], &look["roles"]),
        (&json!("queries"), &json!(["privacy"]))
    );
    assert_eq!(look["rows"], first.len(), "the look at the stream is recorded");

    town.refuses_unsuitable_purposes().await;
    assert_eq!(town.queries(&privacy).await.len(), second.len() + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_learns_when_and_why_and_an_erasure_leaves_nothing_that_leads_to_the_person() {
    let town = Town::with_one_scan().await;
    let (auditor, privacy) = (town.token("auditor").await, town.token("privacy").await);
    let kiosk = town.token("channel:kiosk").await;
    town.explained(&auditor).await;
    let own = json!({ "id_number": town.number, "channel": "kiosk" });
    let (status, told) = town
        .server
        .call_by(&kiosk, "audit/queries/about", &own)
        .await
        .expect("an answer");
    assert_eq!(status, 200, "{told}");
    let query = &told["queries"][0];
    assert_eq!(
        (&query["kind"], &query["purpose"]),
        (&json!("explain"), &json!(PURPOSE))
    );
    assert_eq!(query["date"].as_str().map(str::len), Some(10), "{query}");
    assert!(!told.to_string().contains("auditor"), "nobody is named: {told}");
    let access = json!({ "id_number": town.number, "purpose": "request for access 12" });
    let (_, told) = town
        .server
        .call_by(&privacy, "audit/queries/about", &access)
        .await
        .expect("an answer");
    let kinds: Vec<_> = told["queries"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|query| &query["kind"])
        .collect();
    assert_eq!(kinds, ["explain", "own_queries"]);

    let (status, _) = town
        .server
        .call_by(&auditor, "erase", &json!({ "id_number": town.number }))
        .await
        .expect("an answer");
    assert_eq!(status, 403);
    let (status, answer) = town
        .server
        .call_by(&privacy, "erase", &json!({ "id_number": town.number }))
        .await
        .expect("an answer");
    assert_eq!(status, 200, "a privacy officer erases: {answer}");
    let (status, answer) = town
        .server
        .call_by(&privacy, "audit/queries/about", &access)
        .await
        .expect("an answer");
    assert_eq!((status, &answer["code"]), (404, &json!("not_registered")));
    let listed = town.queries(&privacy).await;
    assert!(listed.iter().all(|query| query["person"].is_null()), "{listed:?}");
    assert!(
        listed.iter().any(|query| query["purpose"] == PURPOSE),
        "the queries themselves stay"
    );
    // The scan is still explained, and names nobody.
    let explained = town.explained(&auditor).await;
    assert_eq!(explained["agrees"], true, "{explained}");
    assert!(
        town.queries(&privacy)
            .await
            .iter()
            .all(|query| query["person"].is_null())
    );

    town.has_nothing_of_the_person_on_disk().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_stream_of_queries_is_detected_and_a_folder_of_an_earlier_release_gets_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    Server::start(&data).await.stop().await;
    std::fs::remove_dir_all(data.join("queries")).expect("removed");
    let anew = format!("queries={}", log_id(&data));
    let refused = citycode_testkit::Process::output(
        tokio::process::Command::new(crate::server::binary())
            .args(["up", "--listen", "127.0.0.1:0", "--data"])
            .arg(&data),
    )
    .await
    .expect("it ran");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && said.contains("the part `queries`") && said.contains(&anew),
        "{said}"
    );
    Server::start_with_flags(&data, &["--begin-anew", &anew])
        .await
        .stop()
        .await;

    std::fs::remove_dir_all(data.join("queries")).expect("removed");
    let manifest = std::fs::read_to_string(data.join("manifest.toml")).expect("a manifest");
    let earlier = manifest.replace(", \"queries\"", "");
    assert_ne!(manifest, earlier);
    std::fs::write(data.join("manifest.toml"), earlier).expect("written");
    Server::start(&data).await.stop().await;
    let manifest = std::fs::read_to_string(data.join("manifest.toml")).expect("a manifest");
    assert!(manifest.contains("\"queries\""), "required from now on: {manifest}");
}

#[tokio::test]
async fn two_policies_are_compared_in_plain_words() {
    let folder = tempfile::tempdir().expect("a folder");
    let [present, other] = ["present.toml", "other.toml"].map(|name| folder.path().join(name));
    let text = citycode_policy_file::SHANGHAI;
    std::fs::write(&present, text).expect("written");
    std::fs::write(&other, text.replace("validity = \"180d\"", "validity = \"90d\"")).expect("written");
    let compare = async |more: &[&str]| {
        let mut command = tokio::process::Command::new(crate::server::binary());
        command.args(["policy", "diff"]).args([&present, &other]).args(more);
        let run = citycode_testkit::Process::output(&mut command).await.expect("it ran");
        assert!(run.status.success());
        String::from_utf8(run.stdout).expect("a text")
    };
    let said = compare(&[]).await;
    assert!(said.contains("“离线随申码”的有效期由“180天”改为“90天”。"), "{said}");
    assert!(said.contains("The validity of the kind \"offline code\" changes from \"180 days\" to \"90 days\"."));
    let answer: Value = serde_json::from_str(&compare(&["--output", "json"]).await).expect("JSON");
    assert_eq!(answer["differences"][0]["path"], "kinds.offline.validity");
}
