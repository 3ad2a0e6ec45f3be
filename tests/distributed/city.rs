//! A city of processes: its secrets, its servers, its services, and calls to its portals.

use citycode_test_support::program;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use citycode_event_store_jetstream::{Config, Durability};
use citycode_testkit::{NatsCluster, NatsServer, Process, Running, StartError, eventually, eventually_some, free_port};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Time limit for a start on a loaded machine with two cores.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// NATS, one server or three.
pub(crate) enum Nats {
    One(Box<NatsServer>),
    Three(NatsCluster),
}

impl Nats {
    fn urls(&self) -> Vec<String> {
        match self {
            Self::One(server) => vec![server.url()],
            Self::Three(servers) => servers.urls(),
        }
    }

    fn monitors(&self) -> Vec<String> {
        match self {
            Self::One(server) => vec![server.monitor_url()],
            Self::Three(servers) => servers.monitor_urls(),
        }
    }
}

/// The files of a city, and functions that start its processes.
pub(crate) struct City {
    pub(crate) folder: TempDir,
    nats: Option<Nats>,
    urls: Vec<String>,
    monitors: Vec<String>,
    secured: bool,
    /// The OTLP endpoint for spans, if a test inspects them.
    pub(crate) collector: Option<String>,
    /// Additional environment variables by the service's name, for a test that changes its clock.
    pub(crate) environment: BTreeMap<String, Vec<(String, String)>>,
    token: String,
    http: reqwest::Client,
}

/// One instance of each service, and a portal that uses them.
pub(crate) struct Services {
    pub(crate) issuer: Running,
    pub(crate) revocation: Running,
    pub(crate) verifier: Running,
    pub(crate) audit: Running,
    pub(crate) portal: Running,
}

impl Services {
    /// The services that use the NATS servers.
    pub(crate) fn on_servers(&self) -> [&Running; 4] {
        [&self.issuer, &self.revocation, &self.verifier, &self.audit]
    }

    /// The issuer, and the others with the portal last.
    pub(crate) fn issuer_and_others(self) -> (Running, [Running; 4]) {
        let Self {
            issuer,
            revocation,
            verifier,
            audit,
            portal,
        } = self;
        (issuer, [revocation, verifier, audit, portal])
    }

    /// Stops each service; the issuer first, because its snapshot advances the vault's mark.
    pub(crate) async fn stop(self) {
        let (issuer, others) = self.issuer_and_others();
        for service in [issuer].into_iter().chain(others) {
            assert!(service.terminate(DEADLINE).await.success());
        }
    }
}

impl City {
    /// A city on one server without accounts.
    pub(crate) async fn on_one() -> Self {
        let folder = secrets().await;
        Self::on(folder, Nats::One(Box::new(NatsServer::start().await)), false)
    }

    /// The same, with secrets created under the clock of this environment.
    pub(crate) async fn on_one_with_older_secrets(clock: &[(String, String)]) -> Self {
        let folder = secrets_by(&[], clock).await;
        Self::on(folder, Nats::One(Box::new(NatsServer::start().await)), false)
    }

    /// A city on three servers without accounts.
    pub(crate) async fn on_three() -> Self {
        let folder = secrets().await;
        Self::on(folder, Nats::Three(NatsCluster::start().await), false)
    }

    /// A city on a server that accepts only TLS and the users of the accounts that `secrets` created.
    pub(crate) async fn secured() -> Self {
        Self::secured_with(&[]).await
    }

    /// The same, with more flags of `secrets`.
    pub(crate) async fn secured_with(more: &[&str]) -> Self {
        let folder = secrets_by(more, &[]).await;
        let configured = configured(&folder.path().join("secrets"));
        let server = NatsServer::start_configured(&configured).await;
        Self::on(folder, Nats::One(Box::new(server)), true)
    }

    fn on(folder: TempDir, nats: Nats, secured: bool) -> Self {
        let token = std::fs::read_to_string(folder.path().join("secrets/access/admin.token")).expect("a token");
        Self {
            folder,
            urls: nats.urls(),
            monitors: nats.monitors(),
            nats: Some(nats),
            secured,
            collector: None,
            environment: BTreeMap::new(),
            token,
            http: reqwest::Client::new(),
        }
    }

    /// Whether its servers accept only the users of its accounts.
    pub(crate) fn is_secured(&self) -> bool {
        self.secured
    }

    pub(crate) fn secret(&self, name: &str) -> PathBuf {
        self.folder.path().join("secrets").join(name)
    }

    /// The configuration of a service, as a user of the servers, which are reached at `urls`.
    fn config(&self, user: &str, urls: &[String]) -> String {
        let replicas = if self.urls.len() == 1 { 1 } else { 3 };
        let credential = |user: &str| {
            if !self.secured {
                return String::new();
            }
            let (seed, ca) = (self.secret(&format!("nats/{user}.nk")), self.secret("tls/ca.pem"));
            format!("nkey_file = {seed:?}\nca_file = {ca:?}\n")
        };
        let issuer = std::fs::read_to_string(self.secret("access/issuer")).expect("a file");
        format!(
            "keys = {:?}\nsnapshot_seconds = 1\ndrain_seconds = 1\n\
             [identity_provider]\nissuer = {issuer:?}\njwks_file = {:?}\n\
             [log]\nservers = {urls:?}\nmonitors = {:?}\nreplicas = {replicas}\n{}[vault]\n{}[scans]\n{}[queries]\n{}[page_records]\n{}\
             [page_tokens]\njwks_file = {:?}\n",
            self.secret("keys"),
            self.secret("access/jwks.json"),
            self.monitors,
            credential(user),
            credential(&format!("vault-{user}")),
            credential(
                if user == "audit" {
                    "scans-keeper".into()
                } else {
                    format!("scans-{user}")
                }
                .as_str()
            ),
            match user {
                "audit" | "issuer" | "provision" => credential(&format!("queries-{user}")),
                _ => String::new(),
            },
            match user {
                "portal" | "provision" => credential(&format!("pages-{user}")),
                _ => String::new(),
            },
            self.secret("access/page-tokens.jwks.json"),
        )
    }

    /// The only server, to be killed and restarted.
    pub(crate) fn server_mut(&mut self) -> &mut NatsServer {
        match &mut self.nats {
            Some(Nats::One(server)) => server,
            _ => panic!("it was made on three, or they were taken"),
        }
    }

    /// The only server.
    pub(crate) fn server(&self) -> &NatsServer {
        match &self.nats {
            Some(Nats::One(server)) => server,
            _ => panic!("it was made on three, or they were taken"),
        }
    }

    /// An empty server that accepts the same users.
    pub(crate) async fn empty_server(&self) -> NatsServer {
        NatsServer::start_configured(&configured(&self.secret(""))).await
    }

    /// Uses another server from now on; the old one is stopped.
    pub(crate) fn move_to(&mut self, server: NatsServer) {
        (self.urls, self.monitors) = (vec![server.url()], vec![server.monitor_url()]);
        self.nats = Some(Nats::One(Box::new(server)));
    }

    /// Passes the servers to the caller, to be killed and restarted.
    pub(crate) fn take_nats(&mut self) -> Nats {
        self.nats.take().expect("they are taken once")
    }

    /// The configuration of a command, as a user of the servers.
    pub(crate) fn config_of(&self, user: &str) -> PathBuf {
        let config = self.folder.path().join(format!("{user}.toml"));
        std::fs::write(&config, self.config(user, &self.urls)).expect("a file");
        config
    }

    /// Runs `citycode provision`.
    pub(crate) async fn provision(&self) {
        let config = self.config_of("provision");
        let words = ["provision", "--partitions", "4", "--vault-pages", "64", "--config"].map(AsRef::as_ref);
        // Three servers elect a leader for each stream: those that only portals with pages need are left out.
        let more = (self.urls.len() > 1).then_some("--no-pages".as_ref());
        let words: Vec<&OsStr> = words.into_iter().chain([config.as_os_str()]).chain(more).collect();
        citycode(&words).await;
    }

    /// Starts a service with the state folder of this name.
    pub(crate) async fn start(&self, program: &Path, name: &str, more: &str) -> Running {
        self.launch(program, name, free_port(), &self.urls, more).await
    }

    /// Starts one instance of each service and a portal that uses them, with this suffix of their names. The issuer is
    /// first: it writes the keys into a new vault, and applies later erasures to an older one.
    pub(crate) async fn start_all(&self, name_ends: &str) -> Services {
        let name = |service: &str| format!("{service}{name_ends}");
        let issuer = self.start(&issuer(), &name("issuer"), "").await;
        let revocation = self.start(&revocation(), &name("revocation"), "").await;
        let verifier = self.start(&verifier(), &name("verifier"), "").await;
        let audit = self.start(&audit(), &name("audit"), "").await;
        let services = behind(&[issuer.url()], &[revocation.url()], &[verifier.url()], &[audit.url()]);
        Services {
            portal: self.start(&portal(), &name("portal"), &services).await,
            issuer,
            revocation,
            verifier,
            audit,
        }
    }

    /// The same on a given port, with servers at `urls`.
    pub(crate) async fn launch(&self, program: &Path, name: &str, port: u16, urls: &[String], more: &str) -> Running {
        eventually_some("the service starts", 2 * DEADLINE, || async {
            match self.try_launch(program, name, port, urls, more).await {
                // An outgoing connection of another process took the port meanwhile.
                Err(StartError::Ended { said, .. }) if said.contains("Address already in use") => None,
                started => Some(started.expect("the service starts")),
            }
        })
        .await
    }

    /// Writes the configuration of a service.
    pub(crate) fn write_config(&self, program: &Path, name: &str, urls: &[String], more: &str) -> PathBuf {
        let user = program.file_name().and_then(OsStr::to_str).expect("a name");
        let common = self.config(user.trim_start_matches("citycode-"), urls);
        let state = self.folder.path().join("state").join(name);
        std::fs::create_dir_all(self.folder.path().join("state")).expect("a folder");
        let config = self.folder.path().join(format!("{name}.toml"));
        // Top-level keys must precede the first table.
        let table = if more.starts_with('[') {
            Some(0)
        } else {
            more.find("\n[").map(|at| at + 1)
        };
        let (keys, tables) = more.split_at(table.unwrap_or(more.len()));
        std::fs::write(&config, format!("state = {state:?}\n{keys}{common}\n{tables}")).expect("a file");
        config
    }

    /// The same for a service that may not start.
    pub(crate) async fn try_launch(
        &self,
        program: &Path,
        name: &str,
        port: u16,
        urls: &[String],
        more: &str,
    ) -> Result<Running, StartError> {
        let config = self.write_config(program, name, urls, more);
        let listen = format!("127.0.0.1:{port}");
        let args = [
            "--config".as_ref(),
            config.as_os_str(),
            "--listen".as_ref(),
            listen.as_ref(),
        ];
        let collector = self
            .collector
            .as_deref()
            .map(|address| ("OTEL_EXPORTER_OTLP_ENDPOINT", address));
        let own = self.environment.get(name).into_iter().flatten();
        let own = own.map(|(name, value)| (name.as_str(), value.as_str()));
        let variables: Vec<(&str, &str)> = collector.into_iter().chain(own).collect();
        Running::start_with(program, &args, &variables, DEADLINE).await
    }

    /// The servers' addresses.
    pub(crate) fn urls(&self) -> &[String] {
        &self.urls
    }

    /// The configuration for a reader of the log in the test.
    pub(crate) fn log(&self) -> Config {
        let monitors = self.monitors.clone();
        Config {
            replicas: if self.urls.len() == 1 { 1 } else { 3 },
            ..Config::new(self.urls.clone(), "test", Durability::SyncAlways { monitors })
        }
    }

    /// The state folder of a service.
    pub(crate) fn state(&self, name: &str) -> PathBuf {
        self.folder.path().join("state").join(name)
    }

    /// Starts a service that reaches its servers at another address.
    pub(crate) async fn start_via_proxy(&self, program: &Path, name: &str, address: &str) -> Running {
        self.launch(program, name, free_port(), &[address.to_owned()], "").await
    }

    pub(crate) async fn call(&self, portal: &str, path: &str, body: &Value) -> Option<(u16, Value)> {
        let url = format!("{portal}/api/v1/{path}");
        let sent = self
            .http
            .post(url)
            .bearer_auth(&self.token)
            .json(body)
            .send()
            .await
            .ok()?;
        let status = sent.status().as_u16();
        Some((status, sent.json().await.ok()?))
    }

    /// The lines of JSON that a call answers with; it must succeed.
    pub(crate) async fn lines(&self, portal: &str, path: &str, body: &Value) -> Vec<Value> {
        let sent = self
            .http
            .post(format!("{portal}/api/v1/{path}"))
            .bearer_auth(&self.token)
            .json(body);
        let answer = sent.send().await.expect("an answer");
        let status = answer.status();
        let text = answer.text().await.expect("a text");
        assert_eq!(status, 200, "{path}: {text}");
        let lines = text.lines().map(|line| serde_json::from_str(line).expect("JSON"));
        lines.collect()
    }

    /// A call that must succeed.
    pub(crate) async fn post(&self, portal: &str, path: &str, body: Value) -> Value {
        let (status, answer) = self.call(portal, path, &body).await.expect("an answer");
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    pub(crate) async fn register(&self, portal: &str, id_number: &str) {
        let person = json!({ "id_number": id_number, "name": "张小三", "channel": "kiosk" });
        self.post(portal, "register", person).await;
    }

    pub(crate) async fn issue(&self, portal: &str, id_number: &str, kind: &str) -> Value {
        let order = json!({ "id_number": id_number, "kind": kind, "channel": "kiosk" });
        self.post(portal, "issue", order).await
    }

    /// `decision/reason` at a place.
    pub(crate) async fn decision(&self, portal: &str, place: &str, code: &str) -> String {
        let asked = json!({ "place": place, "code": code });
        match self.call(portal, "verify", &asked).await {
            Some((200, verdict)) => format!(
                "{}/{}",
                verdict["decision"].as_str().unwrap_or("?"),
                verdict["reason"].as_str().unwrap_or("?")
            ),
            other => format!("{other:?}"),
        }
    }
}

/// The value of a metric of a service (the first series, or the one named with its labels); NaN if it is absent.
pub(crate) async fn metric(service: &Running, name: &str) -> f64 {
    let answer = reqwest::get(format!("{}/metrics", service.url())).await;
    let text = answer.expect("an answer").text().await.expect("text");
    let value = text
        .lines()
        .find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{'])))
        .and_then(|line| line.rsplit(' ').next()?.parse().ok());
    value.unwrap_or(f64::NAN)
}

/// Waits until a verifier can register scans and count wrong ID cards. It is ready earlier, because the audit service
/// creates the streams of a new city's first day, and a verifier checks for them once a second.
pub(crate) async fn registers(verifier: &Running) {
    eventually("the verifier opens the day's registrations", 2 * DEADLINE, || async {
        metric(verifier, "citycode_verifier_record_open_days").await >= 1.0
    })
    .await;
}

/// The configuration of a server that accepts only TLS and the users of these secrets.
pub(crate) fn configured(secrets: &Path) -> String {
    format!(
        "{}\ntls {{ cert_file: {:?}, key_file: {:?} }}\n",
        std::fs::read_to_string(secrets.join("nats/accounts.conf")).expect("a file"),
        secrets.join("tls/nats.pem"),
        secrets.join("tls/nats.key"),
    )
}

/// A folder with everything that `citycode secrets` creates.
pub(crate) async fn secrets() -> TempDir {
    secrets_by(&[], &[]).await
}

async fn secrets_by(more: &[&str], clock: &[(String, String)]) -> TempDir {
    let folder = TempDir::new().expect("a folder");
    let secrets = folder.path().join("secrets");
    let words = ["secrets", "--partitions", "4", "--scan-retention-days", "3"];
    let words = words.iter().chain(more).map(AsRef::as_ref);
    let words: Vec<&OsStr> = words.chain(["--dir".as_ref(), secrets.as_os_str()]).collect();
    citycode_by(&words, clock).await;
    folder
}

/// Runs the command line, which must succeed, and returns its output.
pub(crate) async fn citycode(words: &[&OsStr]) -> Vec<u8> {
    citycode_by(words, &[]).await
}

async fn citycode_by(words: &[&OsStr], environment: &[(String, String)]) -> Vec<u8> {
    let mut command = tokio::process::Command::new(program("citycode"));
    command
        .args(words)
        .envs(environment.iter().map(|(name, value)| (name, value)));
    let ended = Process::output(&mut command).await.expect("it runs");
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    ended.stdout
}

pub(crate) fn issuer() -> PathBuf {
    program("citycode-issuer")
}

pub(crate) fn revocation() -> PathBuf {
    program("citycode-revocation")
}

pub(crate) fn verifier() -> PathBuf {
    program("citycode-verifier")
}

pub(crate) fn audit() -> PathBuf {
    program("citycode-audit")
}

pub(crate) fn portal() -> PathBuf {
    program("citycode-portal")
}

/// The configuration of the services that a portal uses.
pub(crate) fn behind(issuers: &[&str], revocations: &[&str], verifiers: &[&str], audits: &[&str]) -> String {
    format!(
        "[services]\nissuer = {issuers:?}\nrevocation = {revocations:?}\nverifier = {verifiers:?}\naudit = {audits:?}\n"
    )
}
