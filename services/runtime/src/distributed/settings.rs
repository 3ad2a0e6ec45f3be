//! What a service is told: a TOML file and the environment over it (`CITYCODE__LOG__REPLICAS=3`).

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use citycode_event_store_jetstream::{self as jetstream, Connection, Credentials, Durability};
use citycode_jetstream::ClientIdentity;
use citycode_service_kit::config::{ConfigError, Validate};
use citycode_service_kit::files;
use citycode_service_kit::serve::Limits;
use citycode_service_kit::tls::MutualTls;
use serde::Deserialize;

use super::Role;
use crate::wiring::{IdentityProvider, StartError};

/// Address and port unless told otherwise: this machine only.
const DEFAULT_LISTEN: &str = "127.0.0.1:8080";
/// Of a city: three servers keep a copy of everything.
const DEFAULT_REPLICAS: u8 = 3;

/// Where the accounts that `citycode secrets` makes for readers have the API of the log's account.
pub const LOG_READERS_API: &str = "cc.log";
/// The same of the vault's.
pub const VAULT_READERS_API: &str = "cc.vault";

/// Everything that can be set. An unknown key is refused; a key that this service has no use for is left alone, so
/// that all services of a city may share one file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServiceSettings {
    /// Where to listen, for HTTP and gRPC alike.
    pub listen: SocketAddr,
    /// Where health and numbers are told, in plain HTTP and gRPC health, to probes and Prometheus; on `listen` too
    /// where nothing is said here. An inner address: whoever reaches it may read them.
    pub management: Option<SocketAddr>,
    /// Certificates between services: calls are taken from clients of this authority alone, and a portal calls only
    /// services that it knows. Needs `management`, as probes have no certificate.
    pub tls: Option<MutualTls>,
    /// The policy file; Shanghai's without it.
    pub policy: Option<PathBuf>,
    /// The folder of this instance's own state: snapshots, an issuer's signing keys, the auditors' index. No two
    /// processes share one.
    pub state: Option<PathBuf>,
    /// The folder of the city's secrets that this service may have, 32 bytes and mode 0600 each: of the vault's keys
    /// one (`vault-master.key`, `vault-revocation.key`, `vault-index.key`), `id-check.key`, `list-names.key`, `assertion-uses.key`,
    /// `status-signing.key`, `scan-records.key`, `scan-archive.key`; and those of shared snapshots: `snapshot-signing.pub`,
    /// `status-snapshot.key`, `register-snapshot.key`, and revocation's `snapshot-signing.key`.
    pub keys: Option<PathBuf>,
    /// Whose access tokens are taken.
    pub identity_provider: Option<IdentityProvider>,
    /// Whose assertions that a person was authenticated are taken, each once in the whole city.
    pub assertion_provider: Option<IdentityProvider>,
    /// The event log.
    pub log: Servers,
    /// The vault; what is not said of it is as for the log.
    pub vault: Servers,
    /// The records of scans; what is not said of them is as for the log.
    pub scans: Servers,
    /// Where the portal finds the others.
    pub services: Services,
    /// Seconds between snapshots of the projections.
    pub snapshot_seconds: u64,
    /// Snapshots that instances share through the servers.
    pub shared_snapshots: SharedSnapshotSettings,
    /// Days that scan records are kept.
    pub scan_retention_days: u16,
    /// Seconds between "no more calls, please" and the end of listening.
    pub drain_seconds: u64,
    /// What clients may hold, and for how long.
    pub limits: Limits,
}

/// Snapshots that instances share through the object store of the log's servers.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SharedSnapshotSettings {
    /// Start from one where it spares reading much of the log. Without it an instance starts from its own snapshot,
    /// or reads the whole log.
    pub start_from: bool,
    /// Seconds that one stands before a revocation service publishes the next.
    pub publish_seconds: u64,
}

impl Default for SharedSnapshotSettings {
    fn default() -> Self {
        Self {
            start_from: true,
            // At a thousand commits a second a new verifier then reads less than a million from the log, some four
            // seconds; and a city's two snapshots, some 2 GB, cost the servers little more than 2 MB a second.
            publish_seconds: 900,
        }
    }
}

/// NATS servers, and who this service is to them.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Servers {
    /// e.g. `["tls://nats-1:4222", "tls://nats-2:4222", "tls://nats-3:4222"]`.
    pub servers: Vec<String>,
    /// The NKEY seed of this service's user.
    pub nkey_file: Option<PathBuf>,
    /// Certificates that the servers' rest on (PEM).
    pub ca_file: Option<PathBuf>,
    /// This service's own certificate (PEM), where the servers ask for one.
    pub certificate_file: Option<PathBuf>,
    /// Its private key (PEM).
    pub certificate_key_file: Option<PathBuf>,
    /// How many servers keep a copy; 3 without it.
    pub replicas: Option<u8>,
    /// Monitoring of every server, which says whether it flushes before it acknowledges.
    pub monitors: Vec<String>,
    /// Use servers that do not prove to flush before they acknowledge.
    pub unproven_durability: bool,
    /// Where this service's account has the JetStream API, if not where `citycode secrets` puts it.
    pub api: Option<String>,
}

/// Addresses of the services behind a portal, e.g. `["http://issuer-1:8081", "http://issuer-2:8081"]`. A name that
/// leads to several addresses stands for all of them.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Services {
    /// Issuers.
    pub issuer: Vec<String>,
    /// Revocation services.
    pub revocation: Vec<String>,
    /// Verifiers.
    pub verifier: Vec<String>,
    /// Audit services.
    pub audit: Vec<String>,
}

impl Services {
    /// Whether every address is of the scheme that goes with certificates, or without.
    fn all_speak(&self, tls: bool) -> bool {
        let scheme = if tls { "https://" } else { "http://" };
        let all = [&self.issuer, &self.revocation, &self.verifier, &self.audit];
        all.into_iter().flatten().all(|address| address.starts_with(scheme))
    }
}

impl Default for ServiceSettings {
    fn default() -> Self {
        Self {
            listen: DEFAULT_LISTEN.parse().expect("an address and a port"),
            management: None,
            tls: None,
            policy: None,
            state: None,
            keys: None,
            identity_provider: None,
            assertion_provider: None,
            log: Servers::default(),
            vault: Servers::default(),
            scans: Servers::default(),
            services: Services::default(),
            snapshot_seconds: 300,
            shared_snapshots: SharedSnapshotSettings::default(),
            scan_retention_days: 30,
            drain_seconds: 3,
            limits: Limits::default(),
        }
    }
}

impl Validate for ServiceSettings {
    fn validate(&self) -> Vec<String> {
        let wrong = [
            (self.snapshot_seconds == 0, "snapshot_seconds must be at least 1"),
            (
                self.shared_snapshots.publish_seconds == 0,
                "shared_snapshots.publish_seconds must be at least 1",
            ),
            (self.scan_retention_days == 0, "scan_retention_days must be at least 1"),
            (
                self.log.certificate_file.is_some() != self.log.certificate_key_file.is_some(),
                "log.certificate_file and log.certificate_key_file go together",
            ),
            (
                [self.log.replicas, self.vault.replicas, self.scans.replicas]
                    .iter()
                    .flatten()
                    .any(|replicas| ![1, 3, 5].contains(replicas)),
                "replicas are 1, 3 or 5",
            ),
        ];
        let wrong = wrong.into_iter().filter(|(wrong, _)| *wrong);
        let wrong = wrong.map(|(_, complaint)| complaint.to_owned());
        wrong.chain(self.limits.validate()).collect()
    }
}

impl ServiceSettings {
    /// Refuses what this service cannot start without.
    pub(super) fn validate(&self, role: Role) -> Result<(), StartError> {
        let missing = |missing: bool, key: &str| missing.then(|| format!("{} needs `{key}`", role.program()));
        let portal = role == Role::Portal;
        let services = &self.services;
        let errors: Vec<String> = [
            missing(self.identity_provider.is_none(), "identity_provider"),
            missing(!portal && self.log.servers.is_empty(), "log.servers"),
            missing(
                !portal && self.log.monitors.is_empty() && !self.log.unproven_durability,
                "log.monitors (or log.unproven_durability = true)",
            ),
            missing(!portal && self.state.is_none(), "state"),
            missing(!portal && self.keys.is_none(), "keys"),
            missing(portal && services.issuer.is_empty(), "services.issuer"),
            missing(portal && services.revocation.is_empty(), "services.revocation"),
            missing(portal && services.verifier.is_empty(), "services.verifier"),
            missing(portal && services.audit.is_empty(), "services.audit"),
            missing(
                !portal && self.tls.is_some() && self.management.is_none(),
                "management (probes have no certificate)",
            ),
            missing(
                portal && !services.all_speak(self.tls.is_some()),
                "services at https:// addresses with [tls], at http:// addresses without",
            ),
        ]
        .into_iter()
        .flatten()
        .collect();
        if errors.is_empty() {
            Ok(())
        } else {
            Err(ConfigError::Invalid(errors).into())
        }
    }

    pub(super) fn snapshot_every(&self) -> Duration {
        Duration::from_secs(self.snapshot_seconds)
    }

    pub(super) fn publish_every(&self) -> Duration {
        Duration::from_secs(self.shared_snapshots.publish_seconds)
    }

    pub(super) fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_seconds)
    }

    /// The vault's servers, with the log's words where it has none of its own.
    pub fn vault(&self) -> Servers {
        self.vault.or(&self.log)
    }

    /// Those of scan records, likewise.
    pub fn scans(&self) -> Servers {
        self.scans.or(&self.log)
    }
}

impl Servers {
    /// Itself, with another's words where it has none of its own.
    fn or(&self, log: &Self) -> Self {
        let (own, log) = (self.clone(), log.clone());
        Self {
            servers: if own.servers.is_empty() {
                log.servers
            } else {
                own.servers
            },
            nkey_file: own.nkey_file.or(log.nkey_file),
            ca_file: own.ca_file.or(log.ca_file),
            certificate_file: own.certificate_file.or(log.certificate_file),
            certificate_key_file: own.certificate_key_file.or(log.certificate_key_file),
            replicas: own.replicas.or(log.replicas),
            monitors: if own.monitors.is_empty() {
                log.monitors
            } else {
                own.monitors
            },
            unproven_durability: own.unproven_durability || log.unproven_durability,
            api: own.api,
        }
    }

    /// These servers as a service knows them that only reads there: one with a seed lives in a reader's account.
    pub(super) fn of_reader(mut self, api: &str) -> Self {
        if self.api.is_none() && self.nkey_file.is_some() {
            self.api = Some(api.to_owned());
        }
        self
    }

    /// A connection under a name that the servers show.
    ///
    /// # Errors
    /// The seed's file cannot be read, or others may read it.
    pub fn connection(&self, client_name: &str) -> Result<Connection, StartError> {
        let mut connection = Connection::new(self.servers.clone(), client_name);
        if let Some(path) = &self.nkey_file {
            let seed = files::read_private(path)?;
            let seed = String::from_utf8_lossy(&seed).trim().to_owned();
            connection.credentials = Credentials::NkeySeed(seed.into());
        }
        if let Some(api) = &self.api {
            connection.api.clone_from(api);
        }
        connection.root_certificates.clone_from(&self.ca_file);
        let own = self.certificate_file.clone().zip(self.certificate_key_file.clone());
        connection.identity = own.map(|(certificate, key)| ClientIdentity { certificate, key });
        Ok(connection)
    }

    /// The log as it must be.
    ///
    /// # Errors
    /// As [`Servers::connection`].
    pub fn log(&self, client_name: &str) -> Result<jetstream::Config, StartError> {
        let durability = if self.unproven_durability {
            Durability::Unproven
        } else {
            Durability::SyncAlways {
                monitors: self.monitors.clone(),
            }
        };
        Ok(jetstream::Config {
            connection: self.connection(client_name)?,
            replicas: self.replicas(),
            ..jetstream::Config::new(Vec::new(), client_name, durability)
        })
    }

    pub fn replicas(&self) -> u8 {
        self.replicas.unwrap_or(DEFAULT_REPLICAS)
    }
}
