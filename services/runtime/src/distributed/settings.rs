//! The settings of a distributed service: a TOML file, overridden by the environment (`CITYCODE__LOG__REPLICAS=3`).

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use citycode_auth::PageRoles;
use citycode_event_store_jetstream::{self as jetstream, Connection, Credentials, Durability};
use citycode_jetstream::ClientIdentity;
use citycode_pages::SignInSettings;
use citycode_service_kit::config::{ConfigError, Validate};
use citycode_service_kit::files;
use citycode_service_kit::serve::Limits;
use citycode_service_kit::tls::MutualTls;
use serde::Deserialize;

use super::Role;
use crate::wiring::page_settings::PageSettings;
use crate::wiring::witnessed_log::WitnessedLogSettings;
use crate::wiring::{IdentityProvider, StartError};

/// The default address, reachable from this machine only.
const DEFAULT_LISTEN: &str = "127.0.0.1:8080";
/// The default number of replicas.
const DEFAULT_REPLICAS: u8 = 3;

/// Prefix of the log's JetStream API in the readers' accounts that `citycode secrets` creates.
pub const LOG_READERS_API: &str = "cc.log";
/// Prefix of the vault's JetStream API in these accounts.
pub const VAULT_READERS_API: &str = "cc.vault";
/// Prefix of the scan records' JetStream API in the account of revocation services.
pub const SCANS_READERS_API: &str = "cc.scans";

/// All settings. An unknown key is refused; a key that this service does not use is ignored, so that all services of a
/// city can share one file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServiceSettings {
    /// Address to listen on, for both HTTP and gRPC.
    pub listen: SocketAddr,
    /// Address of the health endpoints (HTTP and gRPC) and of `/metrics`, in plain text; `listen` serves them if it is
    /// not set. It should be an internal address, because it needs no authentication.
    pub management: Option<SocketAddr>,
    /// Mutual TLS between services: only clients with a certificate of this authority may call, and a portal calls only
    /// services with one. Needs `management`, because probes have no certificate.
    pub tls: Option<MutualTls>,
    /// The policy file; default: Shanghai's policy.
    pub policy: Option<PathBuf>,
    /// The folder of this instance's state: snapshots, an issuer's signing keys, the audit index. Two processes cannot
    /// share one.
    pub state: Option<PathBuf>,
    /// The folder of the city's secrets that this service needs, 32 bytes and mode 0600 each: one of the vault's keys
    /// (`vault-master.key`, `vault-revocation.key`, `vault-index.key`), `id-check.key`, `list-names.key`,
    /// `assertion-uses.key`, `status-signing.key`, `scan-records.key`, `scan-archive.key`, `log-signing.key`,
    /// `queries.key`; for portals with pages `session.key` and `page-tokens.key`; and for shared snapshots
    /// `snapshot-signing.pub`, `status-snapshot.key`, `register-snapshot.key`, and for revocation services
    /// `snapshot-signing.key`.
    pub keys: Option<PathBuf>,
    /// The issuer of accepted access tokens.
    pub identity_provider: Option<IdentityProvider>,
    /// The issuer of accepted assertions that a person was authenticated; each assertion is accepted once in the city.
    pub assertion_provider: Option<IdentityProvider>,
    /// The event log.
    pub log: Servers,
    /// The vault; unset values are those of the log.
    pub vault: Servers,
    /// The scan records; unset values are those of the log.
    pub scans: Servers,
    /// The stream of queries, for audit services and issuers; unset values are those of the log.
    pub queries: Servers,
    /// The addresses of the other services, for the portal.
    pub services: Services,
    /// The web pages, for portals. A portal without this section and `sign_in` serves the API only.
    pub pages: Option<PageSettings>,
    /// How people sign in to the pages, through an OpenID Connect provider.
    pub sign_in: Option<SignInSettings>,
    /// The records of the pages' sessions and devices, for portals; unset values are those of the log.
    pub page_records: Servers,
    /// The access tokens that portals sign for the calls of their pages, for the other services.
    pub page_tokens: Option<PageTokensSection>,
    /// Seconds between snapshots of the projections.
    pub snapshot_seconds: u64,
    /// Snapshots that instances share through the servers.
    pub shared_snapshots: SharedSnapshotSettings,
    /// Retention of scan records in days, unless the policy has one.
    pub scan_retention_days: u16,
    /// Addresses of the witnesses that cosign the log's checkpoints, for audit services.
    pub witnesses: Vec<String>,
    /// From which age on verifiers check codes only if witnesses vouch for the log; default: never. With this section,
    /// the snapshots of revocation services contain the trees that such verifiers need.
    pub witnessed_log: Option<WitnessedLogSettings>,
    /// Whether revocation services keep an index of the log, from which they sign status lists of earlier times.
    pub past_status_lists: bool,
    /// Retention of the purposes of queries in days, unless the policy has one.
    pub query_retention_days: u16,
    /// Seconds between the report "not ready" and the end of listening.
    pub drain_seconds: u64,
    /// Limits of clients' connections and requests.
    pub limits: Limits,
}

/// Snapshots that instances share through the object store of the log's servers.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SharedSnapshotSettings {
    /// Whether an instance starts from a shared snapshot if that avoids replaying much of the log. Otherwise it starts
    /// from its own snapshot, or replays the whole log.
    pub start_from: bool,
    /// Seconds after which a revocation service replaces a shared snapshot.
    pub publish_seconds: u64,
}

impl Default for SharedSnapshotSettings {
    fn default() -> Self {
        Self {
            start_from: true,
            // At a thousand commits per second, a new verifier then replays less than a million commits, in about four
            // seconds; and a city's two snapshots, about 2 GB, cost the servers little more than 2 MB/s.
            publish_seconds: 900,
        }
    }
}

/// Access tokens that portals sign for the calls of their pages.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PageTokensSection {
    /// A JWKS file (RFC 7517) with the portals' public key.
    pub jwks_file: PathBuf,
    /// The kinds of roles that these tokens may have, such as `channel` and `verifier`; default: all that pages need.
    pub roles: Option<Vec<String>>,
}

impl PageTokensSection {
    /// The accepted roles.
    ///
    /// # Errors
    /// A word that is no kind of role.
    pub(super) fn roles(&self) -> Result<PageRoles, String> {
        let parsed = self.roles.as_deref().map(PageRoles::parse);
        let parsed = parsed.unwrap_or_else(|| Ok(PageRoles::all()));
        parsed.map_err(|problem| format!("page_tokens.roles: {problem}"))
    }
}

/// NATS servers, and this service's credentials.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Servers {
    /// e.g. `["tls://nats-1:4222", "tls://nats-2:4222", "tls://nats-3:4222"]`.
    pub servers: Vec<String>,
    /// The NKEY seed of this service's user.
    pub nkey_file: Option<PathBuf>,
    /// The servers' root certificates (PEM).
    pub ca_file: Option<PathBuf>,
    /// This service's client certificate (PEM), if the servers require one.
    pub certificate_file: Option<PathBuf>,
    /// Its private key (PEM).
    pub certificate_key_file: Option<PathBuf>,
    /// Number of replicas; default: 3.
    pub replicas: Option<u8>,
    /// Monitoring URL of every server, which shows whether it flushes before it acknowledges.
    pub monitors: Vec<String>,
    /// Whether to accept servers without proof that they flush before they acknowledge.
    pub unproven_durability: bool,
    /// Prefix of the JetStream API in this service's account; default: as `citycode secrets` configures it.
    pub api: Option<String>,
}

/// Addresses of the services that a portal calls, e.g. `["http://issuer-1:8081", "http://issuer-2:8081"]`. If a name
/// resolves to several addresses, all of them are used.
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
    /// Whether every address has the scheme for `tls`.
    fn all_have_scheme(&self, tls: bool) -> bool {
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
            queries: Servers::default(),
            services: Services::default(),
            pages: None,
            sign_in: None,
            page_records: Servers::default(),
            page_tokens: None,
            snapshot_seconds: 300,
            shared_snapshots: SharedSnapshotSettings::default(),
            scan_retention_days: 30,
            witnesses: Vec::new(),
            witnessed_log: None,
            past_status_lists: true,
            query_retention_days: 365,
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
                self.query_retention_days == 0,
                "query_retention_days must be at least 1",
            ),
            (
                self.log.certificate_file.is_some() != self.log.certificate_key_file.is_some(),
                "log.certificate_file and log.certificate_key_file go together",
            ),
            (
                [
                    self.log.replicas,
                    self.vault.replicas,
                    self.scans.replicas,
                    self.queries.replicas,
                    self.page_records.replicas,
                ]
                .iter()
                .flatten()
                .any(|replicas| ![1, 3, 5].contains(replicas)),
                "replicas are 1, 3 or 5",
            ),
        ];
        let wrong = wrong.into_iter().filter(|(wrong, _)| *wrong);
        let wrong = wrong.map(|(_, complaint)| complaint.to_owned());
        let demand = self.witnessed_log.iter().flat_map(WitnessedLogSettings::problems);
        let kiosks = self.pages.iter().flat_map(|pages| pages.kiosk.validate());
        let roles = self.page_tokens.as_ref().and_then(|section| section.roles().err());
        let pages = kiosks.chain(roles);
        wrong.chain(demand).chain(pages).chain(self.limits.validate()).collect()
    }
}

impl ServiceSettings {
    /// Checks that the settings that this service needs are present.
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
            missing(
                role == Role::Verifier
                    && self
                        .witnessed_log
                        .as_ref()
                        .is_some_and(|demand| demand.log.is_none() || demand.log_keys.is_none()),
                "witnessed_log.log and witnessed_log.log_keys",
            ),
            missing(portal && self.serves_pages() && self.keys.is_none(), "keys"),
            missing(
                portal && self.serves_pages() && self.page_records().is_none_or(|records| records.servers.is_empty()),
                "page_records.servers, and page_records.nkey_file with a seed of its own, to serve pages",
            ),
            missing(portal && services.issuer.is_empty(), "services.issuer"),
            missing(portal && services.revocation.is_empty(), "services.revocation"),
            missing(portal && services.verifier.is_empty(), "services.verifier"),
            missing(portal && services.audit.is_empty(), "services.audit"),
            missing(
                !portal && self.tls.is_some() && self.management.is_none(),
                "management (probes have no certificate)",
            ),
            missing(
                portal && !services.all_have_scheme(self.tls.is_some()),
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

    /// Whether a portal serves the web pages.
    pub(super) fn serves_pages(&self) -> bool {
        self.pages.is_some() || self.sign_in.is_some()
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

    /// The vault's servers, with the log's values where unset.
    pub fn vault(&self) -> Servers {
        self.vault.or(&self.log)
    }

    /// The scan records' servers, likewise.
    pub fn scans(&self) -> Servers {
        self.scans.or(&self.log)
    }

    /// The servers of the stream of queries, likewise. With accounts it needs a seed of its own: `None` without one.
    #[must_use]
    pub fn queries(&self) -> Option<Servers> {
        self.with_own_seed(&self.queries)
    }

    /// The servers of the pages' records, likewise.
    #[must_use]
    pub fn page_records(&self) -> Option<Servers> {
        self.with_own_seed(&self.page_records)
    }

    fn with_own_seed(&self, servers: &Servers) -> Option<Servers> {
        let has_seed = self.log.nkey_file.is_none() || servers.nkey_file.is_some();
        has_seed.then(|| servers.or(&self.log))
    }
}

impl Servers {
    /// These settings, with the log's values where unset.
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

    /// These servers for a service that only reads there: with a seed, its user is in a reader's account.
    pub(super) fn of_reader(mut self, api: &str) -> Self {
        if self.api.is_none() && self.nkey_file.is_some() {
            self.api = Some(api.to_owned());
        }
        self
    }

    /// The configuration of a connection; the servers' monitoring shows `client_name`.
    ///
    /// # Errors
    /// The seed's file cannot be read, or other users may read it.
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

    /// The configuration of the log.
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
