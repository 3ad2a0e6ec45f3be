//! A city of processes: its secrets, its servers, its services, and calls to its portals.

use std::path::{Path, PathBuf};
use std::time::Duration;

use citycode_service_kit::auth::{AUDIENCE, Grant, LocalAuthority, Role};
use citycode_service_kit::clock::{Clock as _, SystemClock};
use citycode_service_kit::entropy::{Draw as _, OsEntropy};
use citycode_testkit::{NatsCluster, NatsServer, Running, free_port};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Starting on a loaded machine of two cores.
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

/// A folder with everything but the processes, and how to start those.
pub(crate) struct City {
    pub(crate) folder: TempDir,
    nats: Option<Nats>,
    token: String,
    http: reqwest::Client,
}

impl City {
    pub(crate) async fn on_one() -> Self {
        Self::on(Nats::One(Box::new(NatsServer::start().await)), 1)
    }

    pub(crate) async fn on_three() -> Self {
        Self::on(Nats::Three(NatsCluster::start().await), 3)
    }

    fn on(nats: Nats, replicas: u8) -> Self {
        let folder = TempDir::new().expect("a folder");
        let secrets = folder.path().join("secrets");
        citycode_service_kit::files::create_private_dir(&secrets).expect("a folder");
        for name in ["vault-master.key", "id-check.key", "status-signing.key"] {
            let key: [u8; 32] = OsEntropy.array();
            citycode_service_kit::files::create_private(&secrets.join(name), &key).expect("a key");
        }
        let authority = LocalAuthority::ephemeral(&OsEntropy);
        std::fs::write(folder.path().join("jwks.json"), authority.jwks()).expect("a file");
        let grant = Grant {
            subject: "operator",
            roles: &[Role::Admin],
            card_reader: true,
            local_only: false,
            lifetime_seconds: 86_400,
        };
        let token = authority
            .mint(&grant, AUDIENCE, SystemClock::new().now())
            .expect("a token");
        let common = format!(
            "keys = {secrets:?}\nsnapshot_seconds = 1\ndrain_seconds = 1\n\
             [identity_provider]\nissuer = {:?}\njwks_file = {:?}\n\
             [log]\nservers = {:?}\nmonitors = {:?}\nreplicas = {replicas}\n",
            authority.issuer(),
            folder.path().join("jwks.json"),
            nats.urls(),
            nats.monitors(),
        );
        std::fs::write(folder.path().join("common.toml"), common).expect("a file");
        Self {
            folder,
            nats: Some(nats),
            token: token.to_string(),
            http: reqwest::Client::new(),
        }
    }

    /// The server that it was made on.
    pub(crate) fn server(&self) -> &NatsServer {
        match &self.nats {
            Some(Nats::One(server)) => server,
            _ => panic!("it was made on three, or they were taken"),
        }
    }

    /// The servers, to be killed and started again by whoever takes them.
    pub(crate) fn take_nats(&mut self) -> Nats {
        self.nats.take().expect("they are taken once")
    }

    /// Makes log and vault by the command line.
    pub(crate) async fn provision(&self) {
        let made = tokio::process::Command::new(env!("CARGO_BIN_EXE_citycode"))
            .args(["provision", "--partitions", "4", "--vault-pages", "64", "--config"])
            .arg(self.folder.path().join("common.toml"))
            .output()
            .await
            .expect("it runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }

    /// Starts a service under a name of its own, whose state it finds again under the same name.
    pub(crate) async fn start(&self, program: &Path, name: &str, more: &str) -> Running {
        self.launch(program, name, free_port(), more).await
    }

    /// The same on a port that is known beforehand.
    pub(crate) async fn launch(&self, program: &Path, name: &str, port: u16, more: &str) -> Running {
        let common = std::fs::read_to_string(self.folder.path().join("common.toml")).expect("a file");
        let state = self.folder.path().join("state").join(name);
        std::fs::create_dir_all(self.folder.path().join("state")).expect("a folder");
        let config = self.folder.path().join(format!("{name}.toml"));
        std::fs::write(&config, format!("state = {state:?}\n{common}\n{more}")).expect("a file");
        let listen = format!("127.0.0.1:{port}");
        let args = [
            "--config".as_ref(),
            config.as_os_str(),
            "--listen".as_ref(),
            listen.as_ref(),
        ];
        Running::start(program, &args, DEADLINE)
            .await
            .expect("the service starts")
    }

    /// Starts a service that reaches its servers by another address.
    pub(crate) async fn start_by_road(&self, program: &Path, name: &str, address: &str) -> Running {
        let server = self.server();
        let common = self.folder.path().join("common.toml");
        let straight = std::fs::read_to_string(&common).expect("a file");
        std::fs::write(&common, straight.replace(&server.url(), address)).expect("a file");
        let running = self.start(program, name, "").await;
        std::fs::write(&common, straight).expect("a file");
        running
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

pub(crate) fn issuer() -> PathBuf {
    env!("CARGO_BIN_EXE_citycode-issuer").into()
}

pub(crate) fn revocation() -> PathBuf {
    env!("CARGO_BIN_EXE_citycode-revocation").into()
}

pub(crate) fn verifier() -> PathBuf {
    env!("CARGO_BIN_EXE_citycode-verifier").into()
}

pub(crate) fn audit() -> PathBuf {
    env!("CARGO_BIN_EXE_citycode-audit").into()
}

pub(crate) fn portal() -> PathBuf {
    env!("CARGO_BIN_EXE_citycode-portal").into()
}

/// What a portal is told of the services behind it.
pub(crate) fn behind(issuers: &[&str], revocations: &[&str], verifiers: &[&str], audits: &[&str]) -> String {
    format!(
        "[services]\nissuer = {issuers:?}\nrevocation = {revocations:?}\nverifier = {verifiers:?}\naudit = {audits:?}\n"
    )
}
