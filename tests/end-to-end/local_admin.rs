//! The local admin's token: it is sent only to the server that this user runs, and becomes invalid with that server.
#![expect(clippy::unwrap_used, reason = "a failed fixture fails the test")]

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use citycode_testkit::Process;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::server::{Server, binary};

const WANG: &str = "11010519491231002X";

/// A user with a separate state folder, who runs `up` and clients.
struct User {
    folder: tempfile::TempDir,
}

impl User {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn state(&self) -> String {
        format!("XDG_STATE_HOME={}", self.folder.path().join("state").display())
    }

    fn notes(&self) -> usize {
        let folder = self.folder.path().join("state/citycode/servers");
        std::fs::read_dir(folder).map_or(0, Iterator::count)
    }

    async fn up(&self, data: &Path) -> Server {
        let words = ["env".to_owned(), self.state()];
        Server::start_by(&words, data, &data.join("admin.token")).await
    }

    /// A command without a token.
    async fn run(&self, server: &str, args: &[&str]) -> Output {
        let mut command = tokio::process::Command::new("env");
        command.args(["-u", "CITYCODE_TOKEN", "-u", "CITYCODE_TOKEN_FILE", &self.state()]);
        command.arg(binary()).args(args).args(["--server", server]);
        Process::output(&mut command).await.unwrap()
    }
}

/// Listens at the server's address, and returns the received requests.
async fn impostor(address: &str) -> mpsc::UnboundedReceiver<String> {
    let listener = TcpListener::bind(address).await.unwrap();
    let (tell, told) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let mut request = vec![0; 65_536];
            let read = connection.read(&mut request).await.unwrap_or(0);
            let _ = tell.send(String::from_utf8_lossy(&request[..read]).into_owned());
            let answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
            let _ = connection.write_all(answer).await;
        }
    });
    told
}

fn said(run: &Output) -> String {
    String::from_utf8_lossy(&run.stderr).into_owned()
}

#[tokio::test]
async fn a_client_of_the_same_user_is_the_admin_until_the_server_ends() {
    let user = User::new();
    let server = user.up(&user.data()).await;
    let url = server.process.url().to_owned();
    let register = ["register", "--id-number", WANG, "--name", "王小明"];
    let run = user.run(&url, &register).await;
    assert!(run.status.success(), "{}", said(&run));
    let run = user
        .run(&url.replace("127.0.0.1", "localhost"), &["codes", "--id-number", WANG])
        .await;
    assert!(run.status.success(), "{}", said(&run));
    // Another user's client finds no token.
    let stranger = User::new();
    let run = stranger.run(&url, &["codes", "--id-number", WANG]).await;
    assert_eq!(run.status.code(), Some(6), "{}", said(&run));

    server.stop().await;
    for name in ["admin.token", "admin.sock"] {
        assert!(!user.data().join(name).exists(), "{name} is gone");
    }
    assert_eq!(user.notes(), 0);
    let mut told = impostor(url.trim_start_matches("http://")).await;
    let run = user.run(&url, &["codes", "--id-number", WANG]).await;
    assert_eq!(run.status.code(), Some(6), "{}", said(&run));
    while let Ok(request) = told.try_recv() {
        assert!(request.starts_with("GET /api/v1/policy "), "{request}");
        assert!(
            !request.to_lowercase().contains("authorization") && !request.contains(WANG),
            "{request}"
        );
    }
}

#[tokio::test]
async fn after_a_crash_nothing_is_sent_to_another_listener_and_the_token_is_invalid() {
    let user = User::new();
    let server = user.up(&user.data()).await;
    let (url, token) = (server.process.url().to_owned(), server.token.clone());
    drop(server.process.kill_9().await);
    assert!(
        user.data().join("admin.token").exists() && user.notes() == 1,
        "the files remain after the crash"
    );

    let mut told = impostor(url.trim_start_matches("http://")).await;
    let codes = ["codes", "--id-number", WANG];
    let run = user.run(&url, &codes).await;
    assert_eq!(run.status.code(), Some(5), "{}", said(&run));
    assert!(said(&run).contains("citycode up"), "{}", said(&run));
    assert_eq!(told.try_recv().ok(), None, "nothing was sent");

    let again = user.up(&user.data()).await;
    assert_ne!(again.token, token);
    let by_old = reqwest::Client::new()
        .post(format!("{}/api/v1/history", again.process.url()))
        .bearer_auth(token.trim())
        .json(&serde_json::json!({}))
        .send()
        .await
        .unwrap();
    assert_eq!(by_old.status().as_u16(), 401);
    let run = user.run(again.process.url(), &codes).await;
    assert_eq!(
        run.status.code(),
        Some(4),
        "known, and nobody is registered: {}",
        said(&run)
    );
}

#[tokio::test]
async fn a_long_folder_path_works_and_a_folder_open_to_others_is_refused() {
    let user = User::new();
    let data = user.folder.path().join("d".repeat(120));
    let server = user.up(&data).await;
    let url = server.process.url();
    let run = user.run(url, &["codes", "--id-number", WANG]).await;
    assert_eq!(run.status.code(), Some(4), "{}", said(&run));
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o777)).unwrap();
    let run = user.run(url, &["codes", "--id-number", WANG]).await;
    assert_eq!(run.status.code(), Some(1), "{}", said(&run));
    assert!(said(&run).contains("chmod go="), "{}", said(&run));
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o700)).unwrap();
}

#[tokio::test]
async fn an_open_stream_over_the_socket_does_not_delay_the_stop() {
    let user = User::new();
    let server = user.up(&user.data()).await;
    let mut command = tokio::process::Command::new("env");
    command.args(["-u", "CITYCODE_TOKEN", "-u", "CITYCODE_TOKEN_FILE", &user.state()]);
    command.arg(binary()).args(["verify", "--place", "sampling_desk", "-"]);
    command.args(["--server", server.process.url(), "--output", "ndjson"]);
    command
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped());
    let mut gate = Process::start(&mut command).unwrap();
    let (mut stdin, mut stdout) = (gate.stdin(), gate.stdout());
    stdin.write_all(b"x\n").await.unwrap();
    let mut answer = vec![0; 16];
    stdout.read_exact(&mut answer).await.unwrap();
    // The limit is far below the time for calls in flight; the command ends although its input stays open.
    tokio::time::timeout(Duration::from_secs(15), server.stop())
        .await
        .expect("it ends");
    drop(stdout);
    assert!(!gate.wait().await.success());
}
