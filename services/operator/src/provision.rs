//! `citycode provision`: creates a city's event log, vault, streams of scan records, register of used assertions, the
//! records of the portals' pages and stores of shared snapshots on its NATS servers, before its services start. It needs
//! only the keys of the scan records, of the register, of the queries and of sessions: the first issuer writes the vault's
//! keys into the vault.

mod lost;

use std::path::PathBuf;
use std::sync::Arc;

use citycode_access_records::jetstream::{self as pages, RecordsConfig};
use citycode_assertion_uses::UsesKey;
use citycode_assertion_uses::jetstream::{self as uses, NewRegister, UsesConfig};
use citycode_auth::LEEWAY_SECONDS;
use citycode_event_store::{EventStore as _, Layout, LogId, ReaderVersion};
use citycode_event_store_jetstream as jetstream;
use citycode_projection::snapshot::ProjectionKind;
use citycode_query_stream::jetstream::{self as queries, QueriesConfig};
use citycode_scan_records::day_of;
use citycode_scan_records::jetstream::keeper::{self, NewScans};
use citycode_scan_records::jetstream::{self as scans, KeeperSecrets, ScansConfig};
use citycode_service_kit::clock::Clock;
use citycode_service_kit::config::{self, Sources};
use citycode_service_kit::entropy::{Draw as _, Entropy};
use citycode_service_kit::files;
use citycode_service_kit::problem::Code;
use citycode_vault::jetstream::{self as vault, NewVault, Origin, VaultConfig};
use clap::Args;
use serde_json::json;
use zeroize::Zeroizing;

use crate::accounts::{self, Difference};
use citycode_runtime::distributed::{ASSERTION_USES_KEY, QUERIES_KEY, SESSION_KEY, ServiceSettings};
use citycode_runtime::up::BeginAnew;
use citycode_runtime::wiring::StartError;
use citycode_terminal::failure::Failure;
use citycode_terminal::output::{self, Output};

/// Note after the provisioning of a city with accounts.
const SEEDS_NO_LONGER_NEEDED: &str = "The city does not need the seeds of these users any more (provision.nk, \
    vault-provision.nk, scans-provision.nk, queries-provision.nk, pages-provision.nk): remove them from this machine until the next run. While a stream is \
    missing, a thief of these seeds could create it with other settings.";
/// Largest clock difference between the city's machines at which a register that is created for an existing log accepts
/// no assertion that another machine may have accepted already.
const MAX_CLOCK_SKEW_SECONDS: i64 = 60;
/// Note after the provisioning of a city without a register.
const NO_REGISTER: &str = "No register of used assertions was created: the folder `keys` has no assertion-uses.key, \
    and no [assertion_provider] is configured here. Before a channel requires assertions: run `citycode secrets`, \
    install the new accounts.conf on the servers, and run this again.";
/// Note after the provisioning of a city without a stream of queries.
const NO_QUERIES: &str = "No stream of queries was created: [queries] has no seed here, or the folder `keys` has no \
    queries.key. Audit services answer no questions about verdicts before it exists: run `citycode secrets`, install the \
    new accounts.conf on the servers, and run this again.";
/// Note after the provisioning of a city without records of pages.
const NO_PAGES: &str = "No records of pages were created: [page_records] has no seed here, or the folder `keys` has no \
    session.key. Portals serve no pages before they exist: run `citycode secrets`, install the new accounts.conf on the \
    servers, and run this again.";
/// Note after a lost log was replaced.
const LOG_REPLACED: &str = "The log was created in place of the lost one: every code of the lost log is dead, and its \
    signing keys sign nothing any more. Give every service an empty state folder before it starts; people are \
    registered again with the same ID number.";
/// The client name in the servers' monitoring.
const CLIENT: &str = "citycode provision";

/// Flags of `provision`.
#[derive(Args)]
#[command(
    after_help = "Example:\n  citycode provision --config /etc/citycode/provision.toml\n\nThe file has the same format as the services'; [log], [vault], [scans], [queries], [page_records] and `keys` are used. Safe to run at every start."
)]
pub struct ProvisionArgs {
    /// The configuration file (TOML).
    #[arg(long, value_name = "FILE", env = "CITYCODE_CONFIG")]
    config: Option<PathBuf>,
    /// Partitions of a new log; they cannot be changed later.
    #[arg(long, default_value_t = 16)]
    partitions: u16,
    /// Pages of each table of a new vault, a power of two; they cannot be changed later.
    #[arg(long, default_value_t = 65_536)]
    vault_pages: u32,
    /// Create no vault.
    #[arg(long)]
    no_vault: bool,
    /// Buckets of each day's registrations in new scan records, a power of two; they cannot be changed later.
    #[arg(long, default_value_t = 4_096)]
    scan_buckets: u32,
    /// Create a part that is lost and has no copy. `vault`: an empty one although the log has commits; the first issuer
    /// suspends every valid code before it serves calls. `log`: a new one beside the vault; every code of the lost log is
    /// dead, and people keep their holder ids. LOGID, the log's identity, confirms it.
    #[arg(long, value_name = "PART=LOGID", conflicts_with_all = ["no_vault", "import_follows"])]
    begin_anew: Option<BeginAnew>,
    /// Create an empty vault although the log has commits, because `citycode vault import` imports its people next. No
    /// issuer serves calls before that.
    #[arg(long, conflicts_with = "no_vault")]
    import_follows: bool,
    /// Create no register of used assertions, for servers whose accounts do not allow its stream.
    #[arg(long)]
    no_assertions: bool,
    /// Create no bucket of log segments: new services without a snapshot then read the log one commit at a time. Also
    /// for servers whose accounts do not allow its stream.
    #[arg(long)]
    no_segments: bool,
    /// Create no streams of scan records.
    #[arg(long)]
    no_scans: bool,
    /// Create no records of web pages, for a city whose portals serve none, and for servers whose accounts do not allow
    /// their streams.
    #[arg(long)]
    no_pages: bool,
    /// Create nothing, and raise the log's minimum reader version to this release: older programs then refuse to open
    /// the log. Do it once every service and the archive run this release; new kinds of events are not written before.
    /// With accounts, as the user `upgrade`.
    #[arg(long)]
    raise_minimum_reader: bool,
    /// Seconds to wait for servers that are not up yet or have no leader.
    #[arg(long, default_value_t = 60)]
    wait: u64,
}

/// Creates what a city needs on NATS servers, and checks what exists.
///
/// # Errors
/// [`Failure`] with advice.
pub async fn run(
    args: &ProvisionArgs,
    output: Output,
    clock: &dyn Clock,
    entropy: &Arc<dyn Entropy>,
) -> Result<(), Failure> {
    let settings = config::load::<ServiceSettings>(&Sources::from_process(args.config.clone()));
    let settings = settings.map_err(|error| StartError::Config(error).into_failure())?;
    if settings.log.servers.is_empty() {
        return Err(not_made("the servers are not configured", "name them in `log.servers`"));
    }
    let log = settings.log.log(CLIENT).map_err(StartError::into_failure)?;
    if args.raise_minimum_reader {
        return raise_minimum_reader(&log, output).await;
    }
    let layout = Layout::new(args.partitions, Layout::default().buckets_per_partition())
        .map_err(|error| not_made(error, "choose another number of partitions"))?;
    check_partitions(args, &log).await?;
    let lost = lost::refuse(args, &settings, &log, layout).await?;
    let new = jetstream::NewLog {
        replaces: lost.replaces,
        ..jetstream::NewLog::new(LogId(entropy.array()), layout)
    };
    let Log {
        log_id,
        parts,
        minimum_reader,
    } = provision_log(args, &log, &new).await?;
    provision_snapshots(args, &log).await?;
    if !args.no_vault {
        provision_vault(args, &settings, (parts, lost.vault), &**entropy).await?;
    }
    if !args.no_scans {
        provision_scans(args, &settings, parts, clock, entropy).await?;
    }
    let is_new = log_id == new.log_id;
    // A log that replaces a lost one is not the first: assertions were accepted before.
    let is_first = is_new && lost.replaces.is_none();
    let assertions = !args.no_assertions
        && provision_assertions(args, &settings, &log, (parts, is_first), (clock, &**entropy)).await?;
    let queries = provision_queries(args, &settings, parts).await?;
    let pages = !args.no_pages && provision_pages(args, &settings, &**entropy).await?;
    let whole = json!({
        "log_id": log_id.to_string(),
        "replaces": Some(parts).filter(|lost| *lost != log_id).map(|lost| lost.to_string()),
        "new": is_new,
        "minimum_reader": minimum_reader.0,
        "vault": !args.no_vault,
        "scans": !args.no_scans,
        "assertions": assertions,
        "queries": queries,
        "pages": pages,
    });
    let facts = [
        ("log", log_id.to_string()),
        ("made", made(is_new).to_owned()),
        ("minimum reader version", demanded(minimum_reader)),
    ];
    if settings.log.nkey_file.is_some() {
        output::note(SEEDS_NO_LONGER_NEEDED);
    }
    if lost.replaces.is_some() {
        output::note(LOG_REPLACED);
    }
    output.thing(&whole, &facts)
}

fn made(is_new: bool) -> &'static str {
    if is_new {
        "now"
    } else {
        "before; it was checked and is unchanged"
    }
}

/// Refuses a number of partitions that is not the log's, or not the one for which the servers' accounts were made.
async fn check_partitions(args: &ProvisionArgs, log: &jetstream::Config) -> Result<(), Failure> {
    let inspect = || accounts::inspect(log);
    let found = retried(args.wait, inspect, jetstream::OpenError::may_pass).await;
    let found = found.map_err(|error| unavailable("the event log cannot be inspected", &error))?;
    match accounts::difference(found, args.partitions) {
        None => Ok(()),
        Some(Difference::Refused(why, fix)) => Err(not_made(why, &fix)),
        Some(Difference::Unsafe(why)) => {
            output::note(why);
            Ok(())
        }
    }
}

/// The log on the servers.
struct Log {
    log_id: LogId,
    /// The log to which the parts beside it belong.
    parts: LogId,
    minimum_reader: ReaderVersion,
}

async fn provision_log(args: &ProvisionArgs, log: &jetstream::Config, new: &jetstream::NewLog) -> Result<Log, Failure> {
    let made = retried(
        args.wait,
        || jetstream::provision(log, new),
        jetstream::ProvisionError::may_pass,
    )
    .await;
    let log_id = made.map_err(|error| unavailable("the event log was not created", &error))?;
    // The log is opened as a service opens it, so that an error that would prevent its start is reported now.
    let opened = jetstream::JetStreamEventStore::open(log).await;
    let store = opened.map_err(|error| unavailable("the event log was created and cannot be used", &error))?;
    Ok(Log {
        log_id,
        parts: store.parts_log_id(),
        minimum_reader: store.minimum_reader(),
    })
}

async fn provision_snapshots(args: &ProvisionArgs, log: &jetstream::Config) -> Result<(), Failure> {
    for kind in [ProjectionKind::Status, ProjectionKind::Register] {
        let (connection, replicas) = (&log.connection, log.replicas);
        let provision = || citycode_shared_snapshot::provision(connection, kind, replicas);
        let may_pass = citycode_shared_snapshot::ProvisionError::may_pass;
        let made = retried(args.wait, provision, may_pass).await;
        made.map_err(|error| unavailable("the store of shared snapshots was not created", &error))?;
    }
    if !args.no_segments {
        let provision = || citycode_log_segments::provision(&log.connection, log.replicas);
        let made = retried(args.wait, provision, citycode_log_segments::ProvisionError::may_pass).await;
        made.map_err(|error| segments_not_made(&error))?;
    }
    Ok(())
}

fn segments_not_made(error: &dyn std::fmt::Display) -> Failure {
    Failure::of_code(
        Code::Unavailable,
        format_args!("the bucket of log segments was not created"),
        error,
        Some(
            "if accounts.conf is of an earlier release, run `citycode secrets` and install the new file on the servers, \
             or use --no-segments; then run this again",
        ),
    )
}

/// Raises the minimum reader version of an existing log, and creates nothing.
async fn raise_minimum_reader(log: &jetstream::Config, output: Output) -> Result<(), Failure> {
    let opened = jetstream::JetStreamEventStore::open(log).await;
    let store = opened.map_err(|error| unavailable("the event log cannot be used", &error))?;
    let before = store.minimum_reader();
    let raised = store.raise_minimum_reader(ReaderVersion::CURRENT).await;
    let now = raised.map_err(|error| {
        Failure::of_code(
            Code::Unavailable,
            format_args!("the log's minimum reader version was not raised"),
            error,
            Some(
                "run it again as a user with permission to change the log's streams (of `citycode secrets`: `upgrade`)",
            ),
        )
    })?;
    let log_id = store.log_id().to_string();
    let whole = json!({ "log_id": log_id, "minimum_reader": now.0, "before": before.0 });
    output.thing(&whole, &[("log", log_id), ("minimum reader version", demanded(now))])
}

/// The log's minimum reader version, and the next step if it can be raised.
fn demanded(minimum_reader: ReaderVersion) -> String {
    if minimum_reader < ReaderVersion::CURRENT {
        return format!("{minimum_reader} and later; once all services run this release: --raise-minimum-reader");
    }
    format!("{minimum_reader} and later")
}

async fn provision_vault(
    args: &ProvisionArgs,
    settings: &ServiceSettings,
    (log_id, origin): (LogId, Origin),
    entropy: &dyn Entropy,
) -> Result<(), Failure> {
    let servers = settings.vault();
    let config = VaultConfig {
        connection: servers.connection(CLIENT).map_err(StartError::into_failure)?,
        replicas: servers.replicas(),
        expected_log_id: Some(log_id.0),
        replaced_by: None,
    };
    let new = NewVault {
        vault_id: entropy.array(),
        log_id: log_id.0,
        pages: args.vault_pages,
        origin,
    };
    let provision = || vault::provision(&config, &new);
    let made = retried(args.wait, provision, vault::OpenError::may_pass).await;
    made.map_err(|error| unavailable("the vault was not created", &error))
}

/// Creates the register, and returns whether there is one. A register for an existing log accepts no assertions from
/// before its creation, because services of an earlier release recorded locally which were used.
///
/// A city from before the introduction of registers has neither the key nor permission for the stream; this is not an
/// error unless a provider is configured.
async fn provision_assertions(
    args: &ProvisionArgs,
    settings: &ServiceSettings,
    log: &jetstream::Config,
    (log_id, is_new): (LogId, bool),
    (clock, entropy): (&dyn Clock, &dyn Entropy),
) -> Result<bool, Failure> {
    let keys = settings.keys.as_ref();
    let has_key = keys.is_some_and(|folder| folder.join(ASSERTION_USES_KEY).exists());
    if !has_key && settings.assertion_provider.is_none() {
        output::note(NO_REGISTER);
        return Ok(false);
    }
    let key = UsesKey::new(secret(settings, ASSERTION_USES_KEY)?);
    let config = UsesConfig {
        connection: log.connection.clone(),
        replicas: log.replicas,
        log_id: log_id.0,
    };
    // The time is read at each attempt, because other machines accept assertions while this one waits.
    let provision = async || {
        let start = clock.now().plus(LEEWAY_SECONDS + MAX_CLOCK_SKEW_SECONDS).0;
        let new = NewRegister {
            id: entropy.array(),
            takes_from: if is_new { 0 } else { start },
        };
        uses::provision(&config, &key, &new).await
    };
    let made = retried(args.wait, provision, uses::OpenError::may_pass).await;
    made.map_err(|error| unavailable("the register of used assertions was not created", &error))?;
    Ok(true)
}

async fn provision_scans(
    args: &ProvisionArgs,
    settings: &ServiceSettings,
    log_id: LogId,
    clock: &dyn Clock,
    entropy: &Arc<dyn Entropy>,
) -> Result<(), Failure> {
    let secrets = KeeperSecrets {
        records: secret(settings, "scan-records.key")?,
        archive: secret(settings, "scan-archive.key")?,
    };
    let servers = settings.scans();
    let config = ScansConfig {
        connection: servers.connection(CLIENT).map_err(StartError::into_failure)?,
        replicas: servers.replicas(),
        expected_log_id: Some(log_id.0),
    };
    let new = NewScans {
        log_id: log_id.0,
        buckets: args.scan_buckets,
    };
    let entropy = Arc::clone(entropy);
    let random: citycode_vault::FillRandom = Arc::new(move |bytes| entropy.fill(bytes));
    let today = day_of(clock.now().0).map_err(|error| not_made(error, "set the clock"))?;
    // On servers with accounts this user may create only the stream of keys; audit services create the days' streams.
    let keys_only = servers.nkey_file.is_some();
    let provision = async || match keys_only {
        true => keeper::provision_keys(&config, &new, &secrets).await,
        false => keeper::provision(&config, &new, &secrets, random.clone(), today).await,
    };
    let made = retried(args.wait, provision, scans::OpenError::may_pass).await;
    made.map_err(|error| unavailable("the streams of scan records were not created", &error))
}

/// Creates the stream of queries, and returns whether there is one. A city of an earlier release has neither its key nor an
/// account for it.
async fn provision_queries(args: &ProvisionArgs, settings: &ServiceSettings, log_id: LogId) -> Result<bool, Failure> {
    let has_key = settings
        .keys
        .as_ref()
        .is_some_and(|folder| folder.join(QUERIES_KEY).exists());
    let Some(servers) = settings.queries().filter(|_| has_key) else {
        output::note(NO_QUERIES);
        return Ok(false);
    };
    let config = QueriesConfig {
        connection: servers.connection(CLIENT).map_err(StartError::into_failure)?,
        replicas: servers.replicas(),
        log_id: log_id.0,
    };
    let key = secret(settings, QUERIES_KEY)?;
    let provision = || queries::provision(&config, &key);
    let made = retried(args.wait, provision, queries::OpenError::may_pass).await;
    made.map_err(|error| unavailable("the stream of queries was not created", &error))?;
    Ok(true)
}

/// Creates the records of the portals' pages, and returns whether there are any. A city without pages, or of an earlier
/// release, has neither their key nor an account for them.
async fn provision_pages(
    args: &ProvisionArgs,
    settings: &ServiceSettings,
    entropy: &dyn Entropy,
) -> Result<bool, Failure> {
    let has_key = settings
        .keys
        .as_ref()
        .is_some_and(|folder| folder.join(SESSION_KEY).exists());
    let Some(servers) = settings.page_records().filter(|_| has_key) else {
        output::note(NO_PAGES);
        return Ok(false);
    };
    let config = RecordsConfig {
        connection: servers.connection(CLIENT).map_err(StartError::into_failure)?,
        replicas: servers.replicas(),
    };
    let (key, id) = (secret(settings, SESSION_KEY)?, entropy.array());
    let provision = || pages::provision(&config, &key, id);
    let made = retried(args.wait, provision, pages::OpenError::may_pass).await;
    made.map_err(|error| unavailable("the records of pages were not created", &error))?;
    Ok(true)
}

/// A secret of the city, by its file name.
fn secret(settings: &ServiceSettings, name: &str) -> Result<Zeroizing<[u8; 32]>, Failure> {
    let folder = settings.keys.as_ref();
    let folder =
        folder.ok_or_else(|| not_made("the folder of the city's keys is not configured", "name it in `keys`"))?;
    files::read_secret(&folder.join(name)).map_err(|error| StartError::File(error).into_failure())
}

/// Retries once a second while the error may be transient; no attempt starts after `seconds`.
async fn retried<T, E: std::fmt::Display>(
    seconds: u64,
    mut attempt: impl AsyncFnMut() -> Result<T, E>,
    may_pass: impl Fn(&E) -> bool,
) -> Result<T, E> {
    let second = std::time::Duration::from_secs(1);
    let mut deadline = std::pin::pin!(tokio::time::sleep(second * u32::try_from(seconds).unwrap_or(u32::MAX)));
    loop {
        let ended = attempt().await;
        let is_over = seconds == 0 || futures::poll!(&mut deadline).is_ready();
        match ended {
            Err(error) if may_pass(&error) && !is_over => tracing::info!(%error, "waiting for the servers"),
            ended => return ended,
        }
        tokio::time::sleep(second).await;
    }
}

fn not_made(why: impl std::fmt::Display, what_to_do: &str) -> Failure {
    Failure::local("nothing was created", why, what_to_do)
}

fn unavailable(what: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure::of_code(
        Code::Unavailable,
        format_args!("{what}"),
        error,
        Some("fix the cause and run it again; it is idempotent"),
    )
}
