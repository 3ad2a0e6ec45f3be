//! Proxy variables of the environment: a server on this machine is called directly, and an error names the proxy of a
//! failed call.
#![expect(clippy::unwrap_used, reason = "a failed fixture fails the test")]

use std::process::Output;

use citycode_testkit::{Process, free_port};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::server::{Server, binary};

const WANG: &str = "11010519491231002X";

/// A proxy that answers 502 and records the requests.
struct Proxy {
    url: String,
    asked: mpsc::UnboundedReceiver<String>,
}

impl Proxy {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (tell, asked) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((mut connection, _)) = listener.accept().await {
                let mut request = vec![0; 65_536];
                let read = connection.read(&mut request).await.unwrap_or(0);
                let _ = tell.send(String::from_utf8_lossy(&request[..read]).into_owned());
                let answer = b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                let _ = connection.write_all(answer).await;
            }
        });
        Self { url, asked }
    }
}

async fn run(server: &str, token: &str, proxy: (&str, &str), args: &[&str]) -> Output {
    let mut command = tokio::process::Command::new(binary());
    for name in [
        "HTTP_PROXY",
        "http_proxy",
        "ALL_PROXY",
        "all_proxy",
        "NO_PROXY",
        "no_proxy",
    ] {
        command.env_remove(name);
    }
    command.args(args).args(["--server", server, "--output", "json"]);
    command.env("CITYCODE_TOKEN", token).env(proxy.0, proxy.1);
    Process::output(&mut command).await.unwrap()
}

#[tokio::test]
async fn a_server_on_this_machine_is_called_directly_despite_proxy_variables() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data")).await;
    server.register(WANG).await;
    let mut proxy = Proxy::start().await;
    let by_name = server.process.url().replace("127.0.0.1", "localhost");
    for url in [server.process.url(), &by_name] {
        for variable in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
            let asked = ["codes", "--id-number", WANG];
            let run = run(url, &server.token, (variable, &proxy.url), &asked).await;
            assert!(
                run.status.success(),
                "{variable}: {}",
                String::from_utf8_lossy(&run.stderr)
            );
        }
    }
    let run = run(
        server.process.url(),
        &server.token,
        ("http_proxy", &proxy.url),
        &["doctor"],
    )
    .await;
    let check = check_of(&run, "proxy");
    assert_eq!(check["ok"], true, "{check}");
    assert!(check["finding"].as_str().unwrap().contains("directly"), "{check}");
    assert_eq!(proxy.asked.try_recv().ok(), None, "the proxy was asked nothing");
}

#[tokio::test]
async fn the_error_of_a_call_through_a_proxy_names_it_and_doctor_reports_it() {
    let proxy = Proxy::start().await;
    let nobody = format!("http://user:secret@127.0.0.1:{}", free_port());
    for (url, shown) in [
        (proxy.url.as_str(), proxy.url.clone()),
        (&nobody, nobody.replace("user:secret@", "")),
    ] {
        let asked = ["codes", "--id-number", WANG];
        let failed = run("http://city.invalid:8080", "a.b.c", ("HTTP_PROXY", url), &asked).await;
        let said = String::from_utf8_lossy(&failed.stderr).into_owned();
        assert_eq!(failed.status.code(), Some(5), "{said}");
        assert!(
            said.contains(&shown) && said.contains("NO_PROXY=city.invalid"),
            "{said}"
        );
        assert!(!said.contains("secret"), "{said}");
        let looked = run("http://city.invalid:8080", "a.b.c", ("HTTP_PROXY", url), &["doctor"]).await;
        let check = check_of(&looked, "proxy");
        assert_eq!(check["ok"], false, "{check}");
        assert!(check["finding"].as_str().unwrap().contains(&shown), "{check}");
    }
}

fn check_of(run: &Output, name: &str) -> Value {
    let said: Value = serde_json::from_slice(&run.stdout).unwrap();
    let checks = said["checks"].as_array().unwrap();
    checks.iter().find(|check| check["check"] == name).unwrap().clone()
}
