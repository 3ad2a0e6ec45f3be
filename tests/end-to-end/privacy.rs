//! A canary test: the name and ID number of a person appear nowhere unencrypted (R28).

use std::path::Path;
use std::time::Duration;

use citycode_testkit::IdNumbers;
use serde_json::json;

use crate::server::Server;

const NAME: &str = "金丝雀雀雀";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r28_neither_name_nor_number_appears_in_any_file_log_line_metric_or_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let server = Server::start(&data).await;
    let number = IdNumbers::new(14).aged(70, jiff::civil::date(2026, 1, 1));
    server
        .post(
            "register",
            json!({ "id_number": number, "name": NAME, "channel": "kiosk" }),
        )
        .await;
    let issue = json!({ "kind": "offline", "id_number": number, "channel": "kiosk", "print": true });
    let code = server.post("issue", issue).await;
    assert_eq!(code["masked_name"], "金***雀");
    let reason = format!("{NAME} 本人要求");
    server
        .post(
            "suspend",
            json!({ "kind": "offline", "id_number": number, "reason": reason }),
        )
        .await;
    let verify =
        json!({ "place": "staffed", "code": code["token"], "id_number": number, "device": "d1", "scan_id": "s1" });
    server.post("verify", verify).await;
    let mut said = Vec::new();
    for (path, body) in [
        (
            "issue",
            json!({ "kind": "offline", "id_number": number, "channel": "kiosk" }),
        ),
        (
            "issue",
            json!({ "kind": "nope", "id_number": number, "channel": "kiosk", "extra": NAME }),
        ),
        ("register", json!({ "id_number": number, "name": format!("{NAME}1") })),
        ("history", json!({ "kind": "offline", "id_number": number })),
    ] {
        said.push(server.call(path, &body).await.expect("an answer").1.to_string());
    }
    said.push(server.get_text("/metrics").await);
    said.push(server.process.said());
    let token = code["token"].as_str().expect("a token").to_owned();
    assert!(server.process.terminate(Duration::from_secs(30)).await.success());
    for text in &said {
        assert!(!text.contains(&number) && !text.contains(NAME), "{text}");
    }
    for file in files_below(&data) {
        let bytes = std::fs::read(&file).expect("a file of the data folder");
        for (what, secret) in [("number", number.as_str()), ("name", NAME), ("token", token.as_str())] {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{} contains the {what}", file.display());
        }
    }
}

fn files_below(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path);
        }
    }
    files
}
