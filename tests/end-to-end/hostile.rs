//! Faults and attacks on a running system: a full disk, a second process, a folder of another release, endless bodies,
//! a clock that jumps back. The answer is clear, nothing is lost, and the process survives.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use citycode_testkit::{IdNumbers, Process};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};

use crate::model::system::Running;
use crate::server::{Server, binary};

const TODAY: jiff::civil::Date = jiff::civil::date(2026, 1, 1);

#[tokio::test]
async fn a_second_process_on_the_folder_is_refused_and_the_first_continues() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let first = Server::start(&data).await;
    let second = up(&data).await;
    assert!(!second.status.success());
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains("in use") && said.contains("citycode: "), "{said}");
    first.register(&IdNumbers::new(1).aged(40, TODAY)).await;
}

#[tokio::test]
async fn a_folder_of_another_release_is_refused_and_unchanged() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    Server::start(&data).await.stop().await;
    let manifest = data.join("log/manifest");
    let before = std::fs::read_to_string(&manifest).expect("a text");
    let after = before.replacen(
        &format!("minimum_reader {}\n", citycode_event_store::ReaderVersion::CURRENT),
        "minimum_reader 99\n",
        1,
    );
    assert_ne!(before, after);
    std::fs::write(&manifest, &after).expect("written");
    let refused = up(&data).await;
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("99"), "it says which it found: {said}");
    assert_eq!(std::fs::read_to_string(&manifest).expect("a text"), after);
}

#[tokio::test]
async fn the_minimum_reader_version_of_an_older_log_is_raised_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    Server::start(&data).await.stop().await;
    let manifest = data.join("log/manifest");
    let current = std::fs::read_to_string(&manifest).expect("a text");
    let (body, _) = current.split_once("checksum").expect("it ends with one");
    let body = body.replacen(
        &format!("minimum_reader {}\n", citycode_event_store::ReaderVersion::CURRENT),
        "minimum_reader 1\n",
        1,
    );
    let checksum = blake3::hash(body.as_bytes());
    std::fs::write(&manifest, format!("{body}checksum {checksum}\n")).expect("written");

    let second = Server::start(&data).await;
    assert!(
        second.process.said().contains("raised the minimum reader version"),
        "{}",
        second.process.said()
    );
    second.stop().await;
    assert_eq!(std::fs::read_to_string(&manifest).expect("a text"), current);
    let third = Server::start(&data).await;
    assert!(
        !third.process.said().contains("raised the minimum reader version"),
        "{}",
        third.process.said()
    );
    third.stop().await;
}

/// Runs `up`, which is expected to fail.
async fn up(data: &Path) -> std::process::Output {
    let mut command = tokio::process::Command::new(binary());
    command.args(["up", "--listen", "127.0.0.1:0", "--data"]).arg(data);
    let run = Process::output(&mut command);
    let ended = tokio::time::timeout(Duration::from_secs(60), run).await;
    ended.expect("it ends").expect("it runs")
}

#[tokio::test]
async fn bodies_of_fifty_megabytes_are_refused_before_they_are_read_and_the_server_survives() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&folder.path().join("data")).await;
    for (path, content_type) in [
        ("/api/v1/register", "application/json"),
        ("/api/v1/verify", "application/json"),
        ("/api/v1/verify/image?place=sentinel", "image/png"),
    ] {
        for framing in ["content-length: 52428800", "transfer-encoding: chunked"] {
            let head = format!(
                "POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\ncontent-type: {content_type}\r\n{framing}\r\n\r\n",
                server.token.trim()
            );
            let answer = send_without_end(&server, &head, framing.starts_with("transfer")).await;
            assert!(answer.starts_with("HTTP/1.1 413 "), "{path} {framing}: {answer}");
            assert!(answer.contains("\"code\":\"too_large\""), "{path} {framing}: {answer}");
        }
    }
    server.register(&IdNumbers::new(2).aged(40, TODAY)).await;
}

/// Sends headers and then up to 50 MB; returns the answer.
async fn send_without_end(server: &Server, head: &str, chunked: bool) -> String {
    let address = server.process.url().trim_start_matches("http://").to_owned();
    let stream = tokio::net::TcpStream::connect(address).await.expect("a connection");
    let (mut answers, mut requests) = stream.into_split();
    requests.write_all(head.as_bytes()).await.expect("the head is taken");
    let writing = tokio::spawn(async move {
        let body = vec![b' '; 1 << 16];
        for _ in 0..800 {
            let sent = async {
                if chunked {
                    requests.write_all(b"10000\r\n").await?;
                }
                requests.write_all(&body).await?;
                if chunked {
                    requests.write_all(b"\r\n").await?;
                }
                std::io::Result::Ok(())
            };
            if sent.await.is_err() {
                break;
            }
        }
        requests
    });
    let mut answer = Vec::new();
    let mut part = [0; 4_096];
    while !String::from_utf8_lossy(&answer).contains("too_large") {
        match answers.read(&mut part).await {
            Ok(count) if count > 0 => answer.extend_from_slice(&part[..count]),
            _ => break,
        }
    }
    writing.abort();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_back_stops_changes_and_verdicts_until_it_is_right_again() {
    let running = Running::start(21).await;
    let register = json!({ "id_number": running.number(0), "name": "王小明" });
    let issue = json!({ "kind": "sampling", "id_number": running.number(0), "channel": "app" });
    // The clock advances first, so that the admin's token stays valid after the jump back below.
    running.wait(86_400).await;
    running.post("register", &register, None).await;
    let (status, code) = running.post("issue", &issue, None).await;
    assert_eq!(status, 200, "{code}");
    let verify = json!({ "place": "sampling_desk", "code": code["token"] });
    running.set_clock_by(-3_600);
    let (status, said) = running.post("issue", &issue, None).await;
    assert_eq!((status, &said["code"]), (503, &json!("unavailable")), "{said}");
    let (_, said) = running.post("verify", &verify, None).await;
    assert_eq!(
        (&said["decision"], &said["reason"]),
        (&json!("cannot_check"), &json!("clock_untrusted")),
        "{said}"
    );
    running.set_clock_by(3_600);
    let (_, said) = running.post("verify", &verify, None).await;
    assert_eq!(said["decision"], "admit", "{said}");
    let (status, said) = running.post("issue", &issue, None).await;
    assert_eq!(status, 200, "{said}");
    running.stop().await;
}

/// A small file system in a mount namespace, which is removed on drop.
struct SmallDisk {
    holder: Process,
    folder: PathBuf,
}

impl SmallDisk {
    async fn mount(folder: &Path, megabytes: u32) -> Self {
        let script = format!(
            "mount -t tmpfs -o size={megabytes}m,mode=700 none '{}' && echo mounted && exec cat",
            folder.display()
        );
        let mut command = tokio::process::Command::new("unshare");
        command
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut holder = Process::start(&mut command).expect("util-linux is part of the base system");
        let mut said = String::new();
        let mut out = BufReader::new(holder.stdout());
        out.read_line(&mut said).await.expect("a line");
        assert_eq!(
            said.trim(),
            "mounted",
            "this test needs user namespaces (sysctl user.max_user_namespaces)"
        );
        Self {
            holder,
            folder: folder.to_owned(),
        }
    }

    fn pid(&self) -> String {
        self.holder.id().to_string()
    }

    /// The command prefix that runs a program on this disk.
    fn inside(&self) -> Vec<String> {
        let words = [
            "nsenter",
            "--target",
            &self.pid(),
            "--user",
            "--mount",
            "--preserve-credentials",
            "--",
        ];
        words.map(str::to_owned).to_vec()
    }

    /// The folder's path from this process.
    fn seen(&self) -> PathBuf {
        let inside = self.folder.strip_prefix("/").expect("an absolute path");
        Path::new("/proc").join(self.pid()).join("root").join(inside)
    }

    /// Fills the free space to the last page.
    fn fill(&self) {
        let mut ballast = std::fs::File::create(self.seen().join("ballast")).expect("a file");
        let page = [0u8; 4_096];
        while ballast.write_all(&page).is_ok() {}
    }

    fn free(&self) {
        std::fs::remove_file(self.seen().join("ballast")).expect("removed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_full_disk_changes_are_refused_scans_continue_and_nothing_is_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = SmallDisk::mount(folder.path(), 48).await;
    let data = disk.folder.join("data");
    let token = disk.seen().join("data/admin.token");
    let server = Server::start_by(&disk.inside(), &data, &token).await;
    let person = IdNumbers::new(3).aged(70, TODAY);
    server.register(&person).await;
    let issue = json!({ "kind": "offline", "id_number": person, "channel": "kiosk" });
    let mut last = server.post("issue", issue.clone()).await;
    disk.fill();
    let refused = loop {
        let (status, said) = server.call("issue", &issue).await.expect("an answer");
        match status {
            200 => last = said,
            _ => break said,
        }
    };
    assert_eq!(refused["code"], "unavailable", "{refused}");
    let shown = json!({ "place": "staffed", "code": last["token"] });
    let verdict = server.post("verify", shown.clone()).await;
    assert_eq!(
        verdict["reason"], "id_check_required",
        "scans are still judged: {verdict}"
    );
    let registration = json!({ "place": "sampling_desk", "code": last["token"] });
    let (status, said) = server.call("verify", &registration).await.expect("an answer");
    assert_eq!(
        (status, &said["code"]),
        (503, &json!("unavailable")),
        "R20: nobody is registered without a record"
    );
    assert!(
        server.get_text("/metrics").await.contains("citycode_"),
        "the process is alive and serves metrics"
    );
    let (status, said) = server.call("issue", &issue).await.expect("an answer");
    assert_eq!((status, &said["code"]), (503, &json!("unavailable")), "{said}");
    server.stop().await;

    disk.free();
    let server = Server::start_by(&disk.inside(), &data, &token).await;
    let verdict = server.post("verify", shown).await;
    assert_eq!(verdict["reason"], "id_check_required", "{verdict}");
    let verdict = server.post("verify", registration).await;
    assert_eq!(verdict["decision"], "admit", "{verdict}");
    let codes = server.post("codes", json!({ "id_number": person })).await;
    assert_eq!(
        codes["codes"][0]["code_id"], last["code_id"],
        "the last that was acknowledged: {codes}"
    );
    let next = server.post("issue", issue).await;
    assert_eq!(next["supersedes"], last["code_id"]);
}
