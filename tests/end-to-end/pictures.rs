//! `--out`: everything that can fail on this machine is tried before a code is issued, and standard output stays one
//! JSON value.

use citycode_testkit::Process;
use serde_json::Value;

use crate::commands::{Client, WANG, talk};

const ISSUE: [&str; 7] = ["issue", "--kind", "offline", "--id-number", WANG, "--channel", "kiosk"];

async fn codes(client: &Client) -> Value {
    client.json(&["codes", "--id-number", WANG]).await["codes"].clone()
}

#[tokio::test]
async fn if_the_file_cannot_be_written_the_old_print_stays_valid() {
    let client = Client::new().await;
    let folder = client.folder.path();
    let good = folder.join("ok.pdf").display().to_string();
    let first = client.json(&[&ISSUE[..], &["--out", &good]].concat()).await;
    assert!(std::fs::read(&good).unwrap().starts_with(b"%PDF-"));
    let before = codes(&client).await;

    std::fs::create_dir(folder.join("folder.pdf")).unwrap();
    std::fs::write(folder.join("file"), "").unwrap();
    for bad in ["absent/x.pdf", "folder.pdf", "file/x.png", "absent/x.svg"] {
        let bad = folder.join(bad).display().to_string();
        for command in ["issue", "reprint"] {
            let mut args = ISSUE;
            args[0] = command;
            args[6] = "pc";
            let run = client
                .run("", &[&args[..], &["--out", &bad, "--output", "json"]].concat())
                .await;
            assert_eq!(run.status.code(), Some(1), "{command} {bad}: {}", talk(&run));
            let said: Value = serde_json::from_slice(&run.stdout).expect("one JSON value");
            assert_eq!(said["code"], "local", "{said}");
            assert!(talk(&run).contains(&bad), "{}", talk(&run));
        }
    }
    assert_eq!(codes(&client).await, before, "nothing was issued and nothing died");
    let token = first["token"].as_str().unwrap();
    assert_eq!(client.server.decision(token).await, "admit/ok", "the old print lives");
    let names = std::fs::read_dir(folder).unwrap().count();
    assert_eq!(names, 4, "no trial is left behind: data, ok.pdf, folder.pdf, file");
}

#[tokio::test]
async fn a_presentation_is_printed_only_after_its_picture_is_written() {
    let client = Client::new().await;
    let phone = client.folder.path().join("phone.json").display().to_string();
    let live = [
        "issue",
        "--kind",
        "live",
        "--id-number",
        WANG,
        "--channel",
        "app",
        "--phone",
        &phone,
    ];
    let code = client.json(&live).await;
    let token = code["token"].as_str().unwrap();
    let picture = client.folder.path().join("now.png").display().to_string();
    for (out, exit) in [(picture.as_str(), 0), ("/nonexistent/now.png", 1), ("now.pdf", 2)] {
        // No server is called: there is none at this address.
        let mut command = tokio::process::Command::new(crate::server::binary());
        command
            .args(["present", "--phone", &phone, "--out", out, "--output", "json"])
            .args(["--server", "http://127.0.0.1:1", "--token", token]);
        let run = Process::output(&mut command).await.unwrap();
        assert_eq!(run.status.code(), Some(exit), "{out}: {}", talk(&run));
        let said: Value = serde_json::from_slice(&run.stdout).expect("one JSON value");
        assert_eq!(said.get("presentation").is_some(), exit == 0, "{said}");
    }
}

#[tokio::test]
async fn an_import_whose_prints_cannot_be_written_issues_nothing() {
    let client = Client::new().await;
    let folder = client.folder.path();
    let file = folder.join("people.csv").display().to_string();
    std::fs::write(&file, format!("id_number,name\n{WANG},王小明\n")).unwrap();
    std::fs::write(folder.join("file"), "").unwrap();
    let out = folder.join("file").display().to_string();
    let import = ["import", &file, "--kind", "sampling", "--channel", "app", "--out", &out];
    let run = client.run("", &[&import[..], &["--output", "json"]].concat()).await;
    assert_eq!(run.status.code(), Some(1), "{}", talk(&run));
    serde_json::from_slice::<Value>(&run.stdout).expect("one JSON value");
    assert_eq!(codes(&client).await, serde_json::json!([]));
}
