//! Real `nats-server` processes: one alone, or a cluster of three.
//!
//! The program is the one that `CITYCODE_NATS_SERVER` names, else the one that `cargo xtask tools` installs, else
//! that of the `PATH`. Each server has throw-away storage, ports of the loopback address, and ends by its process id
//! at the latest when it is dropped. Faults are made from outside, as they come in life: `kill -9`, `SIGSTOP`.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::{eventually, free_port};

/// How long a server, or a cluster's election, may take. A start is a tenth of a second on a quiet machine; on a
/// busy one three servers that elect leaders for seventeen groups take several.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// Servers of a cluster: the fewest that outlive the loss of one.
const CLUSTER_SIZE: usize = 3;

/// When a server flushes what it acknowledges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NatsSync {
    /// Before it acknowledges: `sync_interval: always`.
    #[default]
    Always,
    /// Every two minutes, the server's default.
    EveryTwoMinutes,
}

/// One `nats-server` with JetStream.
#[derive(Debug)]
pub struct NatsServer {
    name: String,
    port: u16,
    monitor_port: u16,
    folder: TempDir,
    child: Option<Child>,
}

impl NatsServer {
    /// Starts a server that stands alone and flushes before it acknowledges.
    ///
    /// # Panics
    /// Where there is no `nats-server`, or it does not come up.
    pub async fn start() -> Self {
        Self::start_with(NatsSync::Always).await
    }

    /// As [`NatsServer::start`], flushing as told.
    ///
    /// # Panics
    /// As [`NatsServer::start`].
    pub async fn start_with(sync: NatsSync) -> Self {
        let mut server = Self::prepare("alone", sync, "");
        server.spawn();
        server.wait_until_healthy().await;
        server
    }

    /// Starts a server that stands alone with more in its configuration, e.g. accounts and TLS.
    ///
    /// # Panics
    /// As [`NatsServer::start`].
    pub async fn start_configured(more: &str) -> Self {
        let mut server = Self::prepare("alone", NatsSync::Always, more);
        server.spawn();
        server.wait_until_healthy().await;
        server
    }

    fn prepare(name: &str, sync: NatsSync, cluster: &str) -> Self {
        let folder = TempDir::new().expect("a throw-away folder can be made");
        let (port, monitor_port) = (free_port(), free_port());
        let store = folder.path().join("store");
        // Quoted: without quotes the server reads `2m` as two million seconds.
        let sync = match sync {
            NatsSync::Always => "always",
            NatsSync::EveryTwoMinutes => "\"2m\"",
        };
        let settings = format!(
            "server_name: {name}\nlisten: \"127.0.0.1:{port}\"\nhttp: \"127.0.0.1:{monitor_port}\"\n\
             jetstream {{ store_dir: \"{}\", sync_interval: {sync} }}\n{cluster}",
            store.display()
        );
        std::fs::write(folder.path().join("nats.conf"), settings).expect("the throw-away folder takes a file");
        Self {
            name: name.to_owned(),
            port,
            monitor_port,
            folder,
            child: None,
        }
    }

    fn spawn(&mut self) {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.log_file())
            .expect("the throw-away folder takes a file");
        let program = program();
        let child = Command::new(&program)
            .arg("-c")
            .arg(self.folder.path().join("nats.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn();
        self.child = Some(child.unwrap_or_else(|error| {
            panic!(
                "{} cannot be started ({error}): `cargo xtask tools` installs it",
                program.display()
            )
        }));
    }

    /// Where clients connect, e.g. `nats://127.0.0.1:4222`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Where it keeps its streams, for tests that look on the disk.
    #[must_use]
    pub fn store_folder(&self) -> std::path::PathBuf {
        self.folder.path().join("store")
    }

    /// Where its monitoring stands, e.g. `http://127.0.0.1:8222`.
    #[must_use]
    pub fn monitor_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.monitor_port)
    }

    /// The name that it gives itself.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The folder of its data and its log.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What it has said so far.
    #[must_use]
    pub fn said(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// Kills it at once (`kill -9`) and waits until it is gone. Its data stays.
    ///
    /// # Panics
    /// Where it does not run.
    pub async fn kill9(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().await.expect("a child can be killed");
    }

    /// Starts it again on the data that it left, killing it first if it runs; back once it serves.
    ///
    /// # Panics
    /// As [`NatsServer::start`].
    pub async fn restart(&mut self) {
        if self.child.is_some() {
            self.kill9().await;
        }
        self.spawn();
        self.wait_until_healthy().await;
    }

    /// Stops it where it stands (`SIGSTOP`): connections stay open and nothing answers.
    ///
    /// # Panics
    /// Where it does not run.
    pub async fn sigstop(&self) {
        self.signal("-STOP").await;
    }

    /// Lets it go on (`SIGCONT`).
    ///
    /// # Panics
    /// Where it does not run.
    pub async fn sigcont(&self) {
        self.signal("-CONT").await;
    }

    async fn signal(&self, signal: &str) {
        let id = self.child.as_ref().and_then(Child::id).expect("it runs");
        let sent = Command::new("kill").args([signal, &id.to_string()]).status().await;
        assert!(sent.is_ok_and(|status| status.success()), "the signal was sent");
    }

    /// Waits until it says of itself that it is healthy: in a cluster also that it has a leader and is current.
    ///
    /// # Panics
    /// With what it said, where it does not come to that.
    pub async fn wait_until_healthy(&self) {
        let what = format!("{} is healthy; its log is {}", self.name, self.log_file().display());
        let port = self.monitor_port;
        eventually(&what, READY_WITHIN, || async move { is_healthy(port).await }).await;
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("log")
    }
}

/// Three servers of one cluster.
#[derive(Debug)]
pub struct NatsCluster {
    servers: Vec<NatsServer>,
}

impl NatsCluster {
    /// Starts three servers that flush before they acknowledge, and waits until they have a leader.
    ///
    /// # Panics
    /// As [`NatsServer::start`].
    pub async fn start() -> Self {
        Self::start_with(NatsSync::Always).await
    }

    /// As [`NatsCluster::start`], flushing as told.
    ///
    /// # Panics
    /// As [`NatsServer::start`].
    pub async fn start_with(sync: NatsSync) -> Self {
        let ports: Vec<u16> = std::iter::repeat_with(free_port).take(CLUSTER_SIZE).collect();
        let routes: Vec<String> = ports
            .iter()
            .map(|port| format!("\"nats://127.0.0.1:{port}\""))
            .collect();
        let routes = routes.join(", ");
        let mut servers = Vec::with_capacity(CLUSTER_SIZE);
        for (number, port) in ports.iter().enumerate() {
            let cluster = format!("cluster {{ name: city, listen: \"127.0.0.1:{port}\", routes: [{routes}] }}\n");
            servers.push(NatsServer::prepare(&format!("n{number}"), sync, &cluster));
        }
        for server in &mut servers {
            server.spawn();
        }
        for server in &servers {
            server.wait_until_healthy().await;
        }
        Self { servers }
    }

    /// Where clients connect: every server.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        self.servers.iter().map(NatsServer::url).collect()
    }

    /// The monitoring of every server.
    #[must_use]
    pub fn monitor_urls(&self) -> Vec<String> {
        self.servers.iter().map(NatsServer::monitor_url).collect()
    }

    /// The servers, to look at.
    #[must_use]
    pub fn servers(&self) -> &[NatsServer] {
        &self.servers
    }

    /// The servers, to make faults.
    #[must_use]
    pub fn servers_mut(&mut self) -> &mut [NatsServer] {
        &mut self.servers
    }
}

fn program() -> PathBuf {
    if let Some(named) = std::env::var_os("CITYCODE_NATS_SERVER") {
        return named.into();
    }
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/venv/bin/nats-server");
    if installed.is_file() {
        installed
    } else {
        "nats-server".into()
    }
}

/// Asks `/healthz` of the monitoring; anything but a 200 is a no.
async fn is_healthy(port: u16) -> bool {
    let Ok(mut connection) = TcpStream::connect(("127.0.0.1", port)).await else {
        return false;
    };
    let asked = connection
        .write_all(b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n")
        .await;
    let mut answer = Vec::new();
    asked.is_ok()
        && connection.read_to_end(&mut answer).await.is_ok()
        && answer.split(|byte| *byte == b' ').nth(1) == Some(b"200".as_slice())
}
