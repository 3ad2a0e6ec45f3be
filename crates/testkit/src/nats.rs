//! Real `nats-server` processes: a single server, or a cluster of three.
//!
//! The program is that of `CITYCODE_NATS_SERVER`, else the one that `cargo xtask tools` installs, else that of the
//! `PATH`. Each server has temporary storage and ports of the loopback address, and is killed when it is dropped.
//! Faults are injected from outside: `kill -9`, `SIGSTOP`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use futures::future::join_all;
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::network::Network;
use crate::{Process, eventually, free_port};

/// The time that a server's start, or a cluster's election, may take. A start takes a tenth of a second on an idle
/// machine; on a busy one the elections of seventeen groups take several seconds.
const READY_WITHIN: Duration = Duration::from_secs(60);
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);
/// Attempts to start a server whose ports are in use, and the pause between them.
const STARTS: usize = 60;
const START_PAUSE: Duration = Duration::from_millis(500);
/// Lines of a server's log that are shown on failure.
const LAST_LINES: usize = 30;
/// Servers of a cluster: the fewest that tolerate the loss of one.
const CLUSTER_SIZE: usize = 3;

/// When a server flushes acknowledged messages.
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
    address: String,
    monitor_address: String,
    /// The network namespace that it runs in, if not this process's.
    namespace: Option<String>,
    store: PathBuf,
    /// Precedes the folder, because fields are dropped in this order.
    process: Option<Process>,
    folder: TempDir,
}

/// A server's addresses, namespace and storage.
struct Location {
    address: String,
    monitor_address: String,
    namespace: Option<String>,
    /// The folder of its streams; by default part of its temporary folder.
    store: Option<PathBuf>,
}

impl Location {
    fn on_loopback() -> Self {
        Self {
            address: format!("127.0.0.1:{}", free_port()),
            monitor_address: format!("127.0.0.1:{}", free_port()),
            namespace: None,
            store: None,
        }
    }

    /// On one host of a network.
    fn on(network: &Network, host: usize) -> Self {
        let address = network.address(host);
        Self {
            address: format!("{address}:4222"),
            monitor_address: format!("{address}:8222"),
            namespace: Some(network.namespace(host).to_owned()),
            store: None,
        }
    }
}

impl NatsServer {
    /// Starts a single server that flushes before it acknowledges.
    ///
    /// # Panics
    /// If `nats-server` is missing or does not start.
    pub async fn start() -> Self {
        Self::start_with(NatsSync::Always).await
    }

    /// As [`NatsServer::start`], with this sync setting.
    ///
    /// # Panics
    /// As [`NatsServer::start`].
    pub async fn start_with(sync: NatsSync) -> Self {
        let mut server = Self::prepare("alone", Location::on_loopback(), sync, "");
        server.launch().await;
        server
    }

    /// Starts a single server with additional configuration, e.g. accounts and TLS.
    ///
    /// # Panics
    /// As [`NatsServer::start`].
    pub async fn start_configured(more: &str) -> Self {
        let mut server = Self::prepare("alone", Location::on_loopback(), NatsSync::Always, more);
        server.launch().await;
        server
    }

    /// Starts a single server that stores its streams in this folder, limited only by the disk.
    ///
    /// # Panics
    /// As [`NatsServer::start`].
    pub async fn start_on(store: PathBuf) -> Self {
        let location = Location {
            store: Some(store),
            ..Location::on_loopback()
        };
        let mut server = Self::prepare("alone", location, NatsSync::Always, "");
        server.launch().await;
        server
    }

    fn prepare(name: &str, location: Location, sync: NatsSync, cluster: &str) -> Self {
        let folder = TempDir::new().expect("a temporary folder can be created");
        let Location {
            address,
            monitor_address,
            namespace,
            store,
        } = location;
        // Without a limit the server uses three quarters of the disk space at its start.
        let limit = if store.is_some() { ", max_file_store: 10GB" } else { "" };
        let store = store.unwrap_or_else(|| folder.path().join("store"));
        // Quoted: without quotes the server reads `2m` as two million seconds.
        let sync = match sync {
            NatsSync::Always => "always",
            NatsSync::EveryTwoMinutes => "\"2m\"",
        };
        let settings = format!(
            "server_name: {name}\nlisten: \"{address}\"\nhttp: \"{monitor_address}\"\n\
             jetstream {{ store_dir: \"{}\", sync_interval: {sync}{limit} }}\n{cluster}",
            store.display()
        );
        std::fs::write(folder.path().join("nats.conf"), settings).expect("the temporary folder is writable");
        Self {
            name: name.to_owned(),
            address,
            monitor_address,
            namespace,
            store,
            process: None,
            folder,
        }
    }

    fn spawn(&self) -> Process {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.log_file())
            .expect("the temporary folder is writable");
        let program = program();
        let mut command = match &self.namespace {
            // `ip` executes the program under the same process id.
            Some(namespace) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", namespace]).arg(&program);
                command
            }
            None => Command::new(&program),
        };
        command
            .arg("-c")
            .arg(self.folder.path().join("nats.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        Process::start(&mut command).unwrap_or_else(|error| {
            panic!(
                "{} cannot be started ({error}): `cargo xtask tools` installs it",
                program.display()
            )
        })
    }

    /// The address for clients, e.g. `nats://127.0.0.1:4222`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// The folder of its streams.
    #[must_use]
    pub fn store_folder(&self) -> std::path::PathBuf {
        self.store.clone()
    }

    /// Its process id, for injecting faults.
    ///
    /// # Panics
    /// If it is not running.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        self.running().id()
    }

    /// Its monitoring endpoint, e.g. `http://127.0.0.1:8222`.
    #[must_use]
    pub fn monitor_url(&self) -> String {
        format!("http://{}", self.monitor_address)
    }

    /// Its server name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The folder of its data and its log.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its log so far.
    #[must_use]
    pub fn said(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// Kills it (`kill -9`) and waits until it has ended. Its data is kept.
    ///
    /// # Panics
    /// If it is not running.
    pub async fn kill9(&mut self) {
        self.process.take().expect("it is running").kill_9();
    }

    /// Kills it if it is running, starts it with its previous data, and waits until it is healthy.
    ///
    /// # Panics
    /// As [`NatsServer::start`].
    pub async fn restart(&mut self) {
        if self.process.is_some() {
            self.kill9().await;
        }
        self.launch().await;
    }

    /// Starts it, and waits until it is healthy. While it was not running, the system may have given one of its ports
    /// to an outgoing connection: then it ends immediately, and is started again.
    async fn launch(&mut self) {
        for _ in 0..STARTS {
            let mut process = self.spawn();
            tokio::select! {
                // If this branch ends first, dropping the process reaps it.
                _ = process.wait() => {}
                () = self.wait_until_healthy() => {
                    self.process = Some(process);
                    return;
                }
            }
            let said = self.said_last();
            assert!(said.contains("address already in use"), "{} ended:\n{said}", self.name);
            tokio::time::sleep(START_PAUSE).await;
        }
        panic!("the ports of {} are in use:\n{}", self.name, self.said_last());
    }

    /// Suspends it (`SIGSTOP`): connections stay open, but it does not answer.
    ///
    /// # Panics
    /// If it is not running.
    pub async fn sigstop(&self) {
        self.running().stop();
    }

    /// Resumes it (`SIGCONT`).
    ///
    /// # Panics
    /// If it is not running.
    pub async fn sigcont(&self) {
        self.running().signal(Signal::CONT);
    }

    fn running(&self) -> &Process {
        self.process.as_ref().expect("it is running")
    }

    /// Waits until it reports that it is healthy, which in a cluster requires a leader and current data.
    ///
    /// # Panics
    /// With its log, if it does not become healthy.
    pub async fn wait_until_healthy(&self) {
        let what = fmt::from_fn(|f| write!(f, "{} is healthy; the end of its log:\n{}", self.name, self.said_last()));
        eventually(&what, READY_WITHIN, || is_healthy(&self.monitor_address)).await;
    }

    /// The end of its log, for error messages: the log is deleted with the test's temporary folder.
    fn said_last(&self) -> String {
        let said = self.said();
        let skip = said.lines().count().saturating_sub(LAST_LINES);
        said.lines().skip(skip).collect::<Vec<_>>().join("\n")
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

    /// As [`NatsCluster::start`], with this sync setting.
    ///
    /// # Panics
    /// As [`NatsServer::start`].
    pub async fn start_with(sync: NatsSync) -> Self {
        let locations = (0..CLUSTER_SIZE).map(|_| (Location::on_loopback(), format!("127.0.0.1:{}", free_port())));
        Self::start_at(locations.collect(), sync).await
    }

    /// Starts three servers, each on a host of the network: clients use the outer links, the servers the inner links.
    ///
    /// # Panics
    /// As [`NatsServer::start`].
    pub async fn start_in(network: &Network) -> Self {
        let locations = (0..CLUSTER_SIZE).map(|host| {
            let route = format!("{}:6222", network.inner_address(host));
            (Location::on(network, host), route)
        });
        Self::start_at(locations.collect(), NatsSync::Always).await
    }

    async fn start_at(locations: Vec<(Location, String)>, sync: NatsSync) -> Self {
        let routes = locations.iter().map(|(_, route)| format!("\"nats://{route}\""));
        let routes = routes.collect::<Vec<_>>().join(", ");
        let mut servers = Vec::with_capacity(CLUSTER_SIZE);
        for (number, (location, route)) in locations.into_iter().enumerate() {
            let cluster = format!("cluster {{ name: city, listen: \"{route}\", routes: [{routes}] }}\n");
            servers.push(NatsServer::prepare(&format!("n{number}"), location, sync, &cluster));
        }
        join_all(servers.iter_mut().map(NatsServer::launch)).await;
        Self { servers }
    }

    /// The addresses of all servers for clients.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        self.servers.iter().map(NatsServer::url).collect()
    }

    /// The monitoring endpoints of all servers.
    #[must_use]
    pub fn monitor_urls(&self) -> Vec<String> {
        self.servers.iter().map(NatsServer::monitor_url).collect()
    }

    /// The servers.
    #[must_use]
    pub fn servers(&self) -> &[NatsServer] {
        &self.servers
    }

    /// The servers, for injecting faults.
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

/// Whether `/healthz` of the monitoring endpoint answers with 200. Without a listener a connection may even be to
/// itself and never answer.
async fn is_healthy(address: &str) -> bool {
    let answer = tokio::time::timeout(ANSWERS_WITHIN, healthz(address));
    answer.await.unwrap_or(false)
}

async fn healthz(address: &str) -> bool {
    let Ok(mut connection) = TcpStream::connect(address).await else {
        return false;
    };
    let sent = connection
        .write_all(b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n")
        .await;
    let mut answer = Vec::new();
    sent.is_ok()
        && connection.read_to_end(&mut answer).await.is_ok()
        && answer.split(|byte| *byte == b' ').nth(1) == Some(b"200".as_slice())
}
