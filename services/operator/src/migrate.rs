//! `citycode migrate`: copies an event log to another engine, preserves every position and hash, and compares the whole
//! log at the end. A repeated run continues where the last one ended, so it can also archive a log in use.
//!
//! It does not copy the vault and the keys: those are files of the data folder and are copied separately as files, and
//! `citycode vault import` moves people into the vault of a city on servers.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use citycode_event_store::copy::{self, CopyError};
use citycode_event_store::{EventStore, Layout, LogId, ReaderVersion};
use citycode_event_store_embedded as embedded;
use citycode_event_store_jetstream as jetstream;
use citycode_service_kit::problem::Code;
use citycode_service_kit::telemetry;
use clap::Args;
use serde_json::json;

use crate::accounts;
use citycode_jetstream::OWN_API;

use citycode_runtime::distributed::LOG_READERS_API;
use citycode_terminal::failure::Failure;
use citycode_terminal::output::{Output, progress};

/// Flags of `migrate`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  citycode migrate --from ~/.local/share/citycode --to nats://10.0.0.1,nats://10.0.0.2 --monitor http://10.0.0.1:8222 --monitor http://10.0.0.2:8222\n  citycode migrate --from nats://10.0.0.1 --to /backup/log --unproven\n\nOnly the event log is copied. For a target folder, copy the folders `keys`, `vault` and `scans` next to it; for servers, move the people with `citycode vault import`. Nothing else may write to the target.\nOn servers with the accounts of `citycode secrets`, the user `archive` reads a log and the user `restore` writes one (--nkey-file)."
)]
pub struct MigrateArgs {
    #[command(flatten)]
    places: Places,
}

/// The source and target of a log, and how to connect to them.
#[derive(Args)]
pub(crate) struct Places {
    /// The source: a data folder, a log's folder, or NATS servers (nats://HOST:PORT, separated by commas).
    #[arg(long, value_name = "PLACE")]
    from: String,
    /// The target; created if absent.
    #[arg(long, value_name = "PLACE")]
    to: String,
    #[command(flatten)]
    reach: ServerArgs,
}

/// How to connect to a log on servers.
#[derive(Args)]
pub(crate) struct ServerArgs {
    /// Replicas of each partition.
    #[arg(long, default_value_t = 3)]
    replicas: u8,
    /// Monitoring URL of a NATS server, which shows whether it flushes before it acknowledges; one flag per server.
    #[arg(long, value_name = "URL", conflicts_with = "unproven")]
    monitor: Vec<String>,
    /// Accept NATS servers without proof that they flush before they acknowledge.
    #[arg(long)]
    unproven: bool,
    /// The NKEY seed of the NATS user; of the users that `citycode secrets` creates, `archive` reads a log and
    /// `restore` writes one.
    #[arg(long, value_name = "FILE")]
    nkey_file: Option<PathBuf>,
    /// Root certificates of the NATS servers (PEM).
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Prefix of the JetStream API in the user's account; default: as `citycode secrets` sets it up, where the source
    /// is read by a reader's account and the target is written by a user of the log's account.
    #[arg(long, value_name = "PREFIX")]
    api: Option<String>,
}

/// Copies a log to another engine, or restores it from an archive.
///
/// # Errors
/// [`Failure`] with advice.
pub async fn run(args: &MigrateArgs, output: Output) -> Result<(), Failure> {
    let telemetry = log_warnings();
    let moved = move_whole(args, output).await;
    if let Ok(telemetry) = telemetry {
        telemetry.shutdown().await;
    }
    moved
}

/// Enables the log of warnings. A NATS server does not answer a request for which the user lacks the permission, but
/// reports a permissions violation, which is only logged; the failure itself is a missing answer.
fn log_warnings() -> Result<telemetry::Telemetry, telemetry::TelemetryError> {
    let mut settings = telemetry::Settings::from_process("citycode-migrate", env!("CARGO_PKG_VERSION"));
    settings.filter.get_or_insert_with(|| "warn".to_owned());
    telemetry::init(&settings)
}

async fn move_whole(args: &MigrateArgs, output: Output) -> Result<(), Failure> {
    let (source, target) = args.places.open().await?;
    let commits = async |store: &Arc<dyn EventStore>| {
        let heads = store.heads().await.map_err(|error| failed(&CopyError::Read(error)))?;
        Ok::<_, Failure>(heads.commits())
    };
    let missing = commits(&source).await?.saturating_sub(commits(&target).await?);
    let bar = progress(missing, "commits");
    let counted = bar.clone();
    let copied = copy::copy(&source, &target, move |_| counted.inc(1)).await;
    let reached = copied.map_err(|error| failed(&error))?;
    bar.set_message("comparing");
    copy::compare(&*source, &*target, &reached)
        .await
        .map_err(|error| failed(&error))?;
    bar.finish_and_clear();
    let whole = json!({
        "log_id": source.log_id().to_string(),
        "copied": missing,
        "commits": reached.commits(),
        "partitions": reached.partitions(),
    });
    let facts = [
        ("log", source.log_id().to_string()),
        ("copied now", missing.to_string()),
        ("equal in both logs", format!("{} commits", reached.commits())),
    ];
    output.thing(&whole, &facts)
}

/// Properties that a newly created target takes from its source.
#[derive(Clone, Copy)]
pub(crate) struct New {
    log_id: LogId,
    layout: Layout,
    minimum_reader: ReaderVersion,
    replaces: Option<LogId>,
}

impl Places {
    /// Opens both logs; the target is created if it is absent.
    pub(crate) async fn open(&self) -> Result<(Arc<dyn EventStore>, Arc<dyn EventStore>), Failure> {
        let source = self.reach.open_at(&self.from, None, LOG_READERS_API).await?;
        let new = New {
            log_id: source.log_id(),
            layout: source.layout(),
            minimum_reader: source.minimum_reader(),
            replaces: Some(source.parts_log_id()).filter(|lost| *lost != source.log_id()),
        };
        let target = self.reach.open_at(&self.to, Some(new), OWN_API).await?;
        Ok((source, target))
    }
}

impl ServerArgs {
    /// Opens the log at a place. If it is absent and `new` is given, it is created with these properties. `api` is the
    /// prefix of the JetStream API for a user with a seed, unless a flag overrides it.
    pub(crate) async fn open_at(
        &self,
        place: &str,
        new: Option<New>,
        api: &str,
    ) -> Result<Arc<dyn EventStore>, Failure> {
        if place.starts_with("nats://") || place.starts_with("tls://") {
            return self.open_servers(place, new, api).await;
        }
        let folder = log_folder(Path::new(place));
        if new.is_some() {
            // The folder is private, like the one of `up`: no other user may read a city's log, even if it is sealed.
            let created = citycode_service_kit::files::create_private_dir(&folder);
            created.map_err(|error| Failure::file("make", &folder, error))?;
        }
        let config = embedded::Config {
            create: new.map(|new| embedded::NewLog {
                log_id: new.log_id,
                layout: new.layout,
                minimum_reader: new.minimum_reader,
                replaces: new.replaces,
            }),
            ..embedded::Config::default()
        };
        let opened = tokio::task::spawn_blocking(move || embedded::EmbeddedEventStore::open(&folder, &config)).await;
        let opened = opened.map_err(|error| cannot_open(place, &error))?;
        Ok(Arc::new(opened.map_err(|error| cannot_open(place, &error))?))
    }

    async fn open_servers(&self, place: &str, new: Option<New>, api: &str) -> Result<Arc<dyn EventStore>, Failure> {
        let durability = if self.unproven {
            jetstream::Durability::Unproven
        } else {
            let monitors = self.monitor.clone();
            jetstream::Durability::SyncAlways { monitors }
        };
        let servers = place.split(',').map(str::to_owned).collect();
        let mut config = jetstream::Config::new(servers, "citycode migrate", durability);
        config.replicas = self.replicas;
        config.connection.root_certificates = self.ca.clone();
        if let Some(path) = &self.nkey_file {
            let seed = citycode_service_kit::files::read_private(path);
            let seed = seed.map_err(|error| Failure::file("read", path, error))?;
            let seed = String::from_utf8_lossy(&seed).trim().to_owned();
            config.connection.credentials = jetstream::Credentials::NkeySeed(seed.into());
            config.connection.api = api.to_owned();
        }
        if let Some(api) = &self.api {
            config.connection.api.clone_from(api);
        }
        if let Some(new) = new {
            let new = jetstream::NewLog {
                log_id: new.log_id,
                layout: new.layout,
                minimum_reader: new.minimum_reader,
                replaces: new.replaces,
            };
            accounts::check_target(&config, new.layout, place).await?;
            let provisioned = jetstream::provision(&config, &new).await;
            provisioned.map_err(|error| cannot_open(place, &error))?;
        }
        let opened = jetstream::JetStreamEventStore::open(&config).await;
        Ok(Arc::new(opened.map_err(|error| cannot_open(place, &error))?))
    }
}

/// The folder itself, or its folder `log` if it is a data folder of `up`.
fn log_folder(folder: &Path) -> PathBuf {
    let inner = folder.join("log");
    if inner.join("manifest").exists() {
        inner
    } else {
        folder.to_owned()
    }
}

fn cannot_open(place: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure::of_code(
        Code::Unavailable,
        format_args!("the log at {place} cannot be used"),
        error,
        Some("fix the cause and run it again; it continues after the copied commits"),
    )
}

pub(crate) fn failed(error: &CopyError) -> Failure {
    Failure::local(
        "the log was not copied completely",
        error,
        "fix the cause and run it again; it continues after the copied commits",
    )
}
