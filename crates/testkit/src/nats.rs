//! Real `nats-server` processes: one alone, or a cluster of three.
//!
//! The program is the one that `CITYCODE_NATS_SERVER` names, else the one that `cargo xtask tools` installs, else
//! that of the `PATH`. Each server has throw-away storage, ports of the loopback address, and ends by its process id
//! at the latest when it is dropped. Faults are made from outside, as they come in life: `kill -9`, `SIGSTOP`.

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

/// How long a server, or a cluster's election, may take. A start is a tenth of a second on a quiet machine; on a
/// busy one three servers that elect leaders for seventeen groups take several.
const READY_WITHIN: Duration = Duration::from_secs(60);
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);
/// How often a server is started whose ports were taken meanwhile, and how long after the last time.
const STARTS: usize = 60;
const START_AGAIN: Duration = Duration::from_millis(500);
/// What is shown of what a server said.
const LAST_LINES: usize = 30;
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
    address: String,
    monitor_address: String,
    /// The network namespace that it runs in, if not this process's.
    namespace: Option<String>,
    store: PathBuf,
    /// Before the folder that it writes into: fields are dropped in this order.
    process: Option<Process>,
    folder: TempDir,
}

/// Where a server listens, runs and keeps its streams.
struct Place {
    address: String,
    monitor_address: String,
    namespace: Option<String>,
    /// Its own throw-away folder without it.
    store: Option<PathBuf>,
}

impl Place {
    fn on_loopback() -> Self {
        Self {
            address: format!("127.0.0.1:{}", free_port()),
            monitor_address: format!("127.0.0.1:{}", free_port()),
            namespace: None,
            store: None,
        }
    }

    /// As one host of a network.
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
        let mut server = Self::prepare("alone", Place::on_loopback(), sync, "");
        server.come_up().await;
        server
    }

    /// Starts a server that stands alone with more in its configuration, e.g. accounts and TLS.
    ///
    /// # Panics
    /// As [`NatsServer::start`].
    pub async fn start_configured(more: &str) -> Self {
        let mut server = Self::prepare("alone", Place::on_loopback(), NatsSync::Always, more);
        server.come_up().await;
        server
    }

    /// Starts a server that stands alone and keeps its streams in this folder, as large as the disk under it lets
    /// them grow.
    ///
    /// # Panics
    /// As [`NatsServer::start`].
    pub async fn start_on(store: PathBuf) -> Self {
        let place = Place {
            store: Some(store),
            ..Place::on_loopback()
        };
        let mut server = Self::prepare("alone", place, NatsSync::Always, "");
        server.come_up().await;
        server
    }

    fn prepare(name: &str, place: Place, sync: NatsSync, cluster: &str) -> Self {
        let folder = TempDir::new().expect("a throw-away folder can be made");
        let Place {
            address,
            monitor_address,
            namespace,
            store,
        } = place;
        // Without a limit the server takes three quarters of the room that it finds at its start.
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
        std::fs::write(folder.path().join("nats.conf"), settings).expect("the throw-away folder takes a file");
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
            .expect("the throw-away folder takes a file");
        let program = program();
        let mut command = match &self.namespace {
            // It becomes the program, under the same process id.
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

    /// Where clients connect, e.g. `nats://127.0.0.1:4222`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// Where it keeps its streams, for tests that look on the disk.
    #[must_use]
    pub fn store_folder(&self) -> std::path::PathBuf {
        self.store.clone()
    }

    /// Its process, for a fault made from outside.
    ///
    /// # Panics
    /// Where it does not run.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        self.running().id()
    }

    /// Where its monitoring stands, e.g. `http://127.0.0.1:8222`.
    #[must_use]
    pub fn monitor_url(&self) -> String {
        format!("http://{}", self.monitor_address)
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
        self.process.take().expect("it runs").kill_9();
    }

    /// Starts it again on the data that it left, killing it first if it runs; back once it serves.
    ///
    /// # Panics
    /// As [`NatsServer::start`].
    pub async fn restart(&mut self) {
        if self.process.is_some() {
            self.kill9().await;
        }
        self.come_up().await;
    }

    /// Starts it, and waits until it serves. Its ports are of those that the system gives to outgoing connections too,
    /// and while it was down one may have been given: then it ends at once, and is started again.
    async fn come_up(&mut self) {
        for _ in 0..STARTS {
            let mut process = self.spawn();
            tokio::select! {
                // Dropped here, it is killed.
                _ = process.wait() => {}
                () = self.wait_until_healthy() => {
                    self.process = Some(process);
                    return;
                }
            }
            let said = self.said_last();
            assert!(said.contains("address already in use"), "{} ended:\n{said}", self.name);
            tokio::time::sleep(START_AGAIN).await;
        }
        panic!("{} finds its ports taken:\n{}", self.name, self.said_last());
    }

    /// Stops it where it stands (`SIGSTOP`): connections stay open and nothing answers.
    ///
    /// # Panics
    /// Where it does not run.
    pub async fn sigstop(&self) {
        self.running().stop();
    }

    /// Lets it go on (`SIGCONT`).
    ///
    /// # Panics
    /// Where it does not run.
    pub async fn sigcont(&self) {
        self.running().signal(Signal::CONT);
    }

    fn running(&self) -> &Process {
        self.process.as_ref().expect("it runs")
    }

    /// Waits until it says of itself that it is healthy: in a cluster also that it has a leader and is current.
    ///
    /// # Panics
    /// With what it said, where it does not come to that.
    pub async fn wait_until_healthy(&self) {
        let what = fmt::from_fn(|f| write!(f, "{} is healthy; it said last:\n{}", self.name, self.said_last()));
        eventually(&what, READY_WITHIN, || is_healthy(&self.monitor_address)).await;
    }

    /// The end of what it has said: its folder goes with the test, and its log with the folder.
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

    /// As [`NatsCluster::start`], flushing as told.
    ///
    /// # Panics
    /// As [`NatsServer::start`].
    pub async fn start_with(sync: NatsSync) -> Self {
        let places = (0..CLUSTER_SIZE).map(|_| (Place::on_loopback(), format!("127.0.0.1:{}", free_port())));
        Self::start_at(places.collect(), sync).await
    }

    /// Starts three servers, each as a host of the network: clients reach them by one wire, they reach each other by
    /// the other.
    ///
    /// # Panics
    /// As [`NatsServer::start`].
    pub async fn start_in(network: &Network) -> Self {
        let places = (0..CLUSTER_SIZE).map(|host| {
            let route = format!("{}:6222", network.inner_address(host));
            (Place::on(network, host), route)
        });
        Self::start_at(places.collect(), NatsSync::Always).await
    }

    async fn start_at(places: Vec<(Place, String)>, sync: NatsSync) -> Self {
        let routes = places.iter().map(|(_, route)| format!("\"nats://{route}\""));
        let routes = routes.collect::<Vec<_>>().join(", ");
        let mut servers = Vec::with_capacity(CLUSTER_SIZE);
        for (number, (place, route)) in places.into_iter().enumerate() {
            let cluster = format!("cluster {{ name: city, listen: \"{route}\", routes: [{routes}] }}\n");
            servers.push(NatsServer::prepare(&format!("n{number}"), place, sync, &cluster));
        }
        join_all(servers.iter_mut().map(NatsServer::come_up)).await;
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

/// Asks `/healthz` of the monitoring; anything but a 200 is a no, and so is silence: where nobody listens a connection
/// may even be to itself.
async fn is_healthy(address: &str) -> bool {
    let asked = tokio::time::timeout(ANSWERS_WITHIN, says_that_it_is_healthy(address));
    asked.await.unwrap_or(false)
}

async fn says_that_it_is_healthy(address: &str) -> bool {
    let Ok(mut connection) = TcpStream::connect(address).await else {
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
